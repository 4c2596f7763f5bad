"""The seed of a test that draws: always the same, so that a failure comes again; TASKJOBS_SEED chooses another."""

from __future__ import annotations

import os


def a_seed(default: int = 20261130) -> int:
    """The one to draw from."""
    return int(os.environ.get("TASKJOBS_SEED") or default)
