"""The shapes of work: what is created, when, and under which quota. Sizes can be scaled down for a quick look."""

from __future__ import annotations

from collections.abc import Iterator

from .work import Ability, Quota, Shape, Work

_QUEUES = frozenset({Ability.QUEUES})
_GRAPHS = frozenset({Ability.DEPENDENCIES})


def free(count: int = 2000) -> Shape:
    """All at once, room for all."""
    return Shape("free", f"{count} jobs at once, room for all", _many(count))


def quota(count: int = 2000, at_once: int = 100) -> Shape:
    """All at once, and room for a few."""
    title = f"{count} jobs at once, quota for {at_once}"
    return Shape("quota", title, _many(count), (Quota("bench", at_once),), _QUEUES)


def nodes(count: int = 2000) -> Shape:
    """All at once, and room for what the nodes have room for, which the queue follows by itself."""
    title = f"{count} jobs at once, quota from the nodes"
    return Shape("nodes", title, _many(count), (Quota("bench", from_nodes=True),), frozenset({Ability.NODE_QUOTAS}))


def logs(count: int = 2000) -> Shape:
    """All at once, room for all, and each pod's log is kept."""
    title = f"{count} jobs at once, each log read into history"
    return Shape("logs", title, _many(count), needs=frozenset({Ability.LOGS}), reads_logs=True)


def steady(per_second: float = 10, seconds: float = 30) -> Shape:
    """A trickle, for latency."""
    works = [Work(f"steady-{number}", at=number / per_second) for number in range(int(per_second * seconds))]
    return Shape("steady", f"{per_second:g} jobs a second for {seconds:g} s", works, looks_at_history=True)


# Of graphs whoever waits is made before whom it waits for: one that is removed as it finishes is gone for one that is
# made after that.
def chain(length: int = 200) -> Shape:
    """One after the other."""
    works = [Work(f"chain-{n}", depends_on=(f"chain-{n - 1}",) if n else ()) for n in range(length)]
    return Shape("chain", f"a chain of {length}", works[::-1], needs=_GRAPHS)


def fan(width: int = 1000) -> Shape:
    """One, then many, then one that waits for all of them."""
    middle = [Work(f"fan-{n}", depends_on=("fan-first",)) for n in range(width)]
    last = Work("fan-last", depends_on=tuple(each.name for each in middle))
    return Shape("fan", f"1 -> {width} -> 1", [last, *middle, Work("fan-first")], needs=_GRAPHS)


def diamonds(count: int = 100, width: int = 18) -> Shape:
    """Many small graphs of one, some, one."""
    return Shape("diamonds", f"{count} diamonds of {width + 2}", list(_diamonds(count, width))[::-1], needs=_GRAPHS)


def kueue_baseline(jobs_per_queue: int = 500) -> Shape:
    """The shape of Kueue's published performance test: 5 cohorts of 6 queues, each with jobs of three classes.

    Arrivals are those of 500 jobs to a queue; fewer keep the classes' proportions and their intervals.
    """
    share = jobs_per_queue / 500
    queues = [Quota(f"q-{cohort}-{number}", 20, f"cohort-{cohort}", 100) for cohort in range(5) for number in range(6)]
    works = [
        Work(f"{queue.name}-{kind}-{n}", at=n * every, seconds=seconds, cpu=cpu, queue=queue.name, priority=priority)
        for queue in queues
        for kind, count, every, seconds, cpu, priority in (
            ("small", 350, 0.1, 0.2, 1, 50),
            ("medium", 100, 0.5, 0.5, 5, 100),
            ("large", 50, 1.2, 1.0, 20, 200),
        )
        for n in range(max(1, round(count * share)))
    ]
    works.sort(key=lambda work: (work.at, work.name))
    title = f"Kueue's baseline, {jobs_per_queue} jobs in each of 30 queues of 5 cohorts"
    return Shape("kueue-baseline", title, works, queues)  # without queues, in the same order: what else bounds it


def _many(count: int) -> list[Work]:
    return [Work(f"many-{number}") for number in range(count)]


def _diamonds(count: int, width: int) -> Iterator[Work]:
    for each in range(count):
        yield Work(f"d{each}-first")
        names = tuple(f"d{each}-{n}" for n in range(width))
        yield from (Work(name, depends_on=(f"d{each}-first",)) for name in names)
        yield Work(f"d{each}-last", depends_on=names)
