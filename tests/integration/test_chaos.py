"""The short form of `make chaos`: one random schedule of faults on the real control plane. See docs/chaos.md."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from chaos.schedule import House, Schedule

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A control plane and a PostgreSQL of this test alone, which are killed; never a database that was named."""
    monkeypatch.delenv("TASKJOBS_DATABASE_URL", raising=False)
    with House(f"chaos-{os.getpid()}") as house:
        yield house


def test_no_invariant_breaks_in_a_random_schedule_of_faults(house: House) -> None:
    seed = int(os.environ.get("TASKJOBS_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
    print(f"TASKJOBS_SEED={seed} repeats it")
    verdict = Schedule(house, seed, jobs=24, strikes=4).play()
    assert not verdict.broken, f"{verdict.told()}\n{verdict.log}"
