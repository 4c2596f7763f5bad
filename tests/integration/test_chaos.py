"""The short form of `make chaos`: one schedule of faults on the real control plane, always the same: docs/chaos.md."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from chaos.schedule import House, Schedule
from seeds import a_seed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]
SEED = a_seed(3218)
"""Two operators; each part of the control plane, PostgreSQL and the leader are killed once, and requests lied about."""


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A control plane and a PostgreSQL of this test alone, which are killed; never a database that was named."""
    monkeypatch.delenv("TASKJOBS_DATABASE_URL", raising=False)
    with House(f"chaos-{os.getpid()}") as house:
        yield house


def test_no_invariant_breaks_in_a_schedule_of_faults(house: House) -> None:
    print(f"TASKJOBS_SEED={SEED} repeats it")
    verdict = Schedule(house, SEED, jobs=24, strikes=4).play()
    assert not verdict.broken, f"TASKJOBS_SEED={SEED}\n{verdict.told()}\n{verdict.log}"
