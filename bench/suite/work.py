"""What is to be run, independent of who runs it, and what was seen of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto


class Ability(Enum):
    """What not every peer knows."""

    QUEUES = auto()
    DEPENDENCIES = auto()
    NODE_QUOTAS = auto()
    LOGS = auto()


@dataclass(frozen=True, slots=True)
class Work:
    """One job of one pod. `at` is when it is created, in seconds after the first; `seconds` is how long it runs."""

    name: str
    at: float = 0.0
    seconds: float = 0.0
    cpu: int = 1
    queue: str = "bench"
    priority: int = 0
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Quota:
    """A queue: its own share and what it may borrow of its cohort, in CPUs; `None` means no limit.

    `from_nodes`: its share is what the nodes have, whatever `cpu` says.
    """

    name: str
    cpu: int = 0
    cohort: str | None = None
    borrow: int | None = None
    from_nodes: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """A named set of jobs and the queues that they share. The title says it for people."""

    name: str
    title: str
    works: Sequence[Work]
    queues: Sequence[Quota] = (Quota("bench", 1_000_000),)
    needs: frozenset[Ability] = frozenset()  # what a peer must know to run it
    reads_logs: bool = False  # whether the log of each pod is kept
    looks_at_history: bool = False  # whether a reader follows it meanwhile, which costs the machine a little

    def of_run(self, number: int) -> Shape:
        """The same work under names of that run alone.

        A simulated kubelet ends the pods of the run before by name, if need be when they are gone and others have it.
        """
        works = [
            replace(
                work,
                name=f"r{number}-{work.name}",
                depends_on=tuple(f"r{number}-{name}" for name in work.depends_on),
            )
            for work in self.works
        ]
        return replace(self, works=works)


@dataclass(slots=True)
class Seen:
    """When things were seen, by job name, in seconds of one monotonic clock: arrivals of one watch for each kind."""

    created: dict[str, float] = field(default_factory=dict)  # when the create was sent
    launched: dict[str, float] = field(default_factory=dict)  # the first sight of its pod
    ended: dict[str, float] = field(default_factory=dict)  # its pod is Succeeded or Failed
    finished: dict[str, float] = field(default_factory=dict)  # the object says that it is over
    recorded: dict[str, float] = field(default_factory=dict)  # history says so, where that is looked at
    pods: set[str] = field(default_factory=set)  # that exist
    objects: set[str] = field(default_factory=set)  # that exist
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, names: Iterable[str], *, nothing_left: bool) -> None:
        """Wait until these have finished and, if asked, until no object and no pod of them is left."""
        wanted = set(names)
        await self.until_true(
            lambda: wanted <= self.finished.keys() and not (nothing_left and (self.pods or self.objects))
        )

    async def until_true(self, happened: Callable[[], bool]) -> None:
        """Wait until what was seen makes it true."""
        while not happened():
            self.news.clear()
            await self.news.wait()


def percentile(values: Iterable[float], share: float) -> float | None:
    """The value below which that share of them lies (nearest rank); None of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


def between(begun: Mapping[str, float], ended: Mapping[str, float]) -> list[float]:
    """The time between, in milliseconds, of those that have both."""
    return [(ended[name] - at) * 1000 for name, at in begun.items() if name in ended]
