"""Dependencies: what an edge is worth, and cycles."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum

from taskjob.core.model import JobKey
from taskjob.core.phases import Condition, Phase


class Edge(Enum):
    """The state of one dependency."""

    WAITING = "waiting"  # not there, or not ended
    MET = "met"
    IMPOSSIBLE = "impossible"  # ended, and not as asked


def edge(condition: Condition, phase: Phase | None) -> Edge:
    """What a dependency in `phase` is worth; None is a job that does not exist: a reason to wait.

    | dependency ended as | `Succeeded` | `Failed`   | `Finished` |
    |---------------------|-------------|------------|------------|
    | Succeeded           | met         | impossible | met        |
    | Failed              | impossible  | met        | met        |
    | Cancelled, Skipped  | impossible  | impossible | met        |
    """
    if phase is None or not phase.terminal:
        return Edge.WAITING
    met = (
        condition is Condition.FINISHED
        or (condition is Condition.SUCCEEDED and phase is Phase.SUCCEEDED)
        or (condition is Condition.FAILED and phase is Phase.FAILED)
    )
    return Edge.MET if met else Edge.IMPOSSIBLE


def find_cycle(start: JobKey, successors: Callable[[JobKey], Iterable[JobKey]]) -> tuple[JobKey, ...] | None:
    """A path from `start` back to itself, `start` at both ends, or None.

    `successors` names what a job waits for. Walks only what `start` can reach, without recursion: a chain of
    100,000 is no problem. Successors are tried in their order, so the same graph gives the same path.
    """
    parents: dict[JobKey, JobKey] = {}
    stack = [start]
    seen = {start}
    while stack:
        here = stack.pop()
        for following in successors(here):
            if following == start:
                path = [start]
                while here != start:
                    path.append(here)
                    here = parents[here]
                path.append(start)
                return tuple(reversed(path))
            if following not in seen:
                seen.add(following)
                parents[following] = here
                stack.append(following)
    return None


def spell(cycle: Iterable[JobKey]) -> str:
    """A cycle for people: `a -> b -> a`."""
    return " -> ".join(key.name for key in cycle)
