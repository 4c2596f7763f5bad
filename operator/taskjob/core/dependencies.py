"""Dependencies: what an edge is worth, and cycles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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


def worst(conditions: Iterable[Condition], phase: Phase | None) -> Edge:
    """What a dependency named several times is worth, each time with a condition: all of them must be met."""
    values = {edge(condition, phase) for condition in conditions}
    return next((value for value in (Edge.IMPOSSIBLE, Edge.WAITING) if value in values), Edge.MET)


Successors = Callable[[JobKey], Sequence[JobKey]]
"""Names what a job waits for, always in the same order."""


def knots(starts: Iterable[JobKey], successors: Successors) -> list[list[JobKey]]:
    """The groups of jobs that wait for each other in circles, of all that `starts` can reach.

    Tarjan's strongly connected components, those with a cycle in them. Each job is visited once however many
    starts there are, without recursion: a chain of 100,000 is no problem.
    """
    index: dict[JobKey, int] = {}
    low: dict[JobKey, int] = {}
    path: dict[JobKey, None] = {}  # in the order of visits
    found: list[list[JobKey]] = []
    for start in starts:
        if start in index:
            continue
        index[start] = low[start] = len(index)
        path[start] = None
        work: list[tuple[JobKey, Iterator[JobKey]]] = [(start, iter(successors(start)))]
        while work:
            here, following = work[-1]
            for other in following:
                if other not in index:
                    index[other] = low[other] = len(index)
                    path[other] = None
                    work.append((other, iter(successors(other))))
                    break
                if other in path:
                    low[here] = min(low[here], index[other])
            else:
                work.pop()
                if work:
                    above = work[-1][0]
                    low[above] = min(low[above], low[here])
                if low[here] == index[here]:
                    members = [path.popitem()[0]]
                    while members[-1] != here:
                        members.append(path.popitem()[0])
                    if len(members) > 1 or here in successors(here):
                        found.append(members)
    return found


def cycles_of(knot: Iterable[JobKey], successors: Successors) -> dict[JobKey, tuple[JobKey, ...]]:
    """For each member of a knot a cycle that it is on, each job of the cycle once, in the order of waiting.

    Depends on the knot alone, not on the order in which its members came. Members on one cycle share the tuple.
    """
    members = sorted(knot)
    inside = set(members)
    waiters: dict[JobKey, list[JobKey]] = {member: [] for member in members}
    for member in members:
        for other in successors(member):
            if other in inside:
                waiters[other].append(member)
    root = members[0]
    came_from = _spread(root, lambda key: [other for other in successors(key) if other in inside])
    goes_to = _spread(root, waiters.__getitem__)
    cycles: dict[JobKey, tuple[JobKey, ...]] = {}
    for member in members:
        if member not in cycles:
            if member == root:
                direct = set(waiters[root])
                last = next(key for key in came_from if key in direct)
                cycle = tuple(reversed(_climb(last, root, came_from)))
            else:
                walk = [*_climb(member, root, goes_to), *reversed(_climb(member, root, came_from)[1:-1])]
                cycle = _without_detours(walk)
            for key in cycle:
                cycles.setdefault(key, cycle)
    return cycles


def _spread(root: JobKey, neighbours: Successors) -> dict[JobKey, JobKey]:
    """Breadth first from the root: for each job reached, the one it was reached from."""
    reached = {root: root}
    front = [root]
    while front:
        further: list[JobKey] = []
        for here in front:
            for other in neighbours(here):
                if other not in reached:
                    reached[other] = here
                    further.append(other)
        front = further
    return reached


def _climb(key: JobKey, root: JobKey, tree: dict[JobKey, JobKey]) -> list[JobKey]:
    path = [key]
    while path[-1] != root:
        path.append(tree[path[-1]])
    return path


def _without_detours(walk: list[JobKey]) -> tuple[JobKey, ...]:
    """A closed walk, its first job not repeated at the end, cut to a simple cycle through that job."""
    kept: dict[JobKey, None] = {}
    for key in walk:
        if key in kept:
            while next(reversed(kept)) != key:
                kept.popitem()
        else:
            kept[key] = None
    return tuple(kept)
