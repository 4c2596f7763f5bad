"""A few jobs of every kind, and how each must end, drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from cluster_api import Object
from kill_story import Planned, random_graph

NARROW: Final = "narrow"  # pods: so many at a time
RANKED: Final = "ranked"  # two pods; the higher priority has the lower evicted
QUOTA: Final = {NARROW: 8, RANKED: 2}
KEY: Final = "licence"
KEY_LIMIT: Final = 2


@dataclass(slots=True)
class Task(Planned):
    """One job of a schedule."""

    queue: str = NARROW
    priority: str = "Normal"
    key: str = ""
    timeout: int = 0  # seconds of one attempt; its pods run until they are stopped
    rerun: bool = False  # run once more when it has ended
    fleeting: bool = False  # removed as soon as it has ended

    @property
    def last_run(self) -> int:
        """The run that it ends in."""
        return int(self.rerun)

    @property
    def may_be_stopped(self) -> bool:
        """Whether attempts of it may be ended from outside and come back uncharged."""
        return self.suspend or self.queue == RANKED

    def manifest(self, queue: str) -> Object:
        """The TaskJob, in the queue of that name."""
        found = Planned.manifest(self, queue)
        spec: dict[str, Any] = found["spec"]
        spec["priority"] = self.priority
        if self.key:
            spec["concurrency"] = {"key": self.key, "limit": KEY_LIMIT}
        if self.timeout:
            spec["timeoutSeconds"] = self.timeout
        if self.fleeting:
            spec["ttlSecondsAfterFinished"] = 0
        return found


def random_work(seed: int, size: int) -> list[Task]:
    """So many jobs: three in five a graph, the others one of each kind in turn. Dependencies come before dependents."""
    draw = random.Random(f"work {seed}")
    in_graph = size * 3 // 5
    work = [Task(**{name: getattr(job, name) for name in Planned.__slots__}) for job in random_graph(seed, in_graph)]
    for number in range(size - in_graph):
        work.append(_KINDS[number % len(_KINDS)](f"k{number:03d}", draw))
    return work


def _ranked(name: str, draw: random.Random) -> Task:
    priority = draw.choice(("Low", "Normal", "High", "Critical"))
    return Task(name, [0], 0, round(draw.uniform(0.5, 2), 2), 0, queue=RANKED, priority=priority)


def _keyed(name: str, draw: random.Random) -> Task:
    return Task(name, [0], 0, round(draw.uniform(0.2, 1), 2), 0, key=KEY)


def _timed(name: str, draw: random.Random) -> Task:
    return Task(name, [143], draw.randint(0, 1), 600, 0, timeout=draw.randint(1, 2))


def _again(name: str, draw: random.Random) -> Task:
    return Task(name, [draw.choice((0, 5))], draw.randint(0, 1), 0.1, 0, rerun=True)


def _fleeting(name: str, draw: random.Random) -> Task:
    return Task(name, [draw.choice((0, 1))], 0, round(draw.random(), 2), 0, fleeting=True)


_KINDS: Final[tuple[Callable[[str, random.Random], Task], ...]] = (_ranked, _ranked, _keyed, _timed, _again, _fleeting)


def in_some_order(work: Iterable[Task], draw: random.Random) -> list[Task]:
    """In any order: a job may be made before what it depends on."""
    shuffled = list(work)
    draw.shuffle(shuffled)
    return shuffled
