"""Fixtures that several files of unit tests share."""

from __future__ import annotations

import pytest

from builders import a_queue
from world import World


@pytest.fixture
def world() -> World:
    """With one queue, "default", which has no limits."""
    world = World()
    world.put_queue(a_queue())
    return world
