"""Graphs with known outcomes, played to their end while the operator dies between any two steps.

A simple oracle knows from the graph alone how each job must end, to the last row of history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import NOON, a_job, a_queue
from taskjob.core.decisions import Plan
from taskjob.core.dependencies import Edge, worst
from taskjob.core.facts import under_way
from taskjob.core.model import Job
from taskjob.core.phases import Condition, FailureClass, OnDependencyFailure, Phase, PodPhase
from world import World


@dataclass(frozen=True)
class Node:
    """A job whose attempts end as listed: `True` succeeds, `False` fails, `None` fails before it starts."""

    depends_on: tuple[tuple[int, Condition], ...]
    policy: OnDependencyFailure
    limit: int
    outcomes: tuple[bool | None, ...]  # one for each allowed attempt


@st.composite
def nodes(draw: st.DrawFn, number: int) -> Node:
    on = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
    limit = draw(st.integers(0, 2))
    return Node(
        tuple((i, draw(st.sampled_from(Condition))) for i in sorted(on)),
        draw(st.sampled_from(OnDependencyFailure)),
        limit,
        tuple(draw(st.lists(st.sampled_from([True, False, None]), min_size=limit + 1, max_size=limit + 1))),
    )


graphs = st.integers(1, 7).flatmap(lambda size: st.tuples(*(nodes(number) for number in range(size))))

Row = tuple[int, str, str, int]
"""n, from, to, attempt"""


def oracle(graph: tuple[Node, ...]) -> list[tuple[Phase, list[Row]]]:
    """How each job must end, and all that history must know of it."""
    ends: list[tuple[Phase, list[Row]]] = []
    for node in graph:
        edges = {worst([condition], ends[i][0]) for i, condition in node.depends_on}
        rows: list[Row] = [(0, "", Phase.PENDING, 0)]
        if edges <= {Edge.MET}:
            phase = Phase.PENDING
            for attempt, outcome in enumerate(node.outcomes, start=1):
                path = [Phase.PENDING, Phase.STARTING, *([] if outcome is None else [Phase.RUNNING])]
                phase = Phase.SUCCEEDED if outcome else Phase.FAILED if attempt > node.limit else Phase.PENDING
                for before, after in zip(path, [*path[1:], phase], strict=True):
                    rows.append((len(rows), before, after, attempt))
                if outcome:
                    break
        else:
            phase = Phase.PENDING
            if Edge.IMPOSSIBLE in edges and node.policy is not OnDependencyFailure.WAIT:
                phase = Phase.SKIPPED if node.policy is OnDependencyFailure.SKIP else Phase.FAILED
                rows.append((1, Phase.PENDING, phase, 0))
        ends.append((phase, rows))
    return ends


class Play:
    """Plays a graph; between any two steps the operator may die, and history may take its time."""

    def __init__(self, graph: tuple[Node, ...], order: list[int], chances: list[int]) -> None:
        self.graph = graph
        self.chances = chances  # consumed in order: what happens besides
        self.used = 0
        self.world = World(holding=True, history_away=True)
        self.world.put_queue(a_queue(quota={"cpu": 2}))
        self.plans: list[Plan] = []
        for number in order:
            node = graph[number]
            job = a_job(f"j{number}").retrying(node.limit, initial_seconds=1).on_dependency_failure(node.policy)
            for i, condition in node.depends_on:
                job = job.after(f"j{i}", condition=condition)
            self.world.submit(job)
            if self._chance() == 1:
                self._operate()

    def _chance(self) -> int:
        self.used += 1
        # In the end luck is good, or it would never come to one.
        return self.chances[self.used % len(self.chances)] if self.used < 400 else 3

    def _operate(self) -> None:
        self.plans.append(self.world.cycle())
        held, self.world.pending = self.world.pending, []
        for decision in held:
            self.world.carry_out(decision)
            match self._chance():
                case 2:
                    self.world.crash()
                    return
                case 3:
                    self.world.confirm()

    def play(self) -> World:
        world = self.world
        for _ in range(1000):
            self._operate()
            moved = self._pods_go_on()
            if self._chance() == 4:
                world.crash()
            world.confirm() if self._chance() == 3 else None
            if not moved and not world.state.dirty_jobs:
                made = world.cycle()
                self.plans.append(made)
                if world.pending:
                    self._carry()
                    continue
                if made.wake_at is None or made.wake_at.year > NOON.year:
                    if world.confirmed < len(world.entries):
                        world.confirm()
                        continue
                    return world
                world.now = max(made.wake_at, world.now)
        raise AssertionError(f"it does not come to an end: {world.phases()}")

    def _carry(self) -> None:
        held, self.world.pending = self.world.pending, []
        for decision in held:
            self.world.carry_out(decision)

    def _pods_go_on(self) -> bool:
        moved = False
        for attempt, pod in list(self.world.pods.items()):
            if pod.phase.ended or self._chance() == 5:
                moved = moved or not pod.phase.ended
                continue
            moved = True
            outcome = self.graph[int(pod.job_name.removeprefix("j"))].outcomes[attempt.attempt - 1]
            now = self.world.now.replace(microsecond=0)
            if outcome is None:
                failure = FailureClass.START_ERROR
                self.world.put_pod(pod, phase=PodPhase.FAILED, finished_at=now, failure=failure, message="no")
            elif pod.started_at is None and self._chance() != 6:
                self.world.put_pod(pod, phase=PodPhase.RUNNING, started_at=now)
            else:
                phase = PodPhase.SUCCEEDED if outcome else PodPhase.FAILED
                failed = None if outcome else FailureClass.EXIT_CODE
                started_at = pod.started_at or now
                self.world.put_pod(pod, phase=phase, started_at=started_at, finished_at=now, failure=failed)
        return moved


chances = st.lists(st.integers(0, 12), min_size=1, max_size=60)


def rows_of(world: World, job: Job) -> list[Row]:
    rows = {
        (row.n, row.from_phase or "", row.to_phase, row.attempt.attempt)
        for entry in world.entries
        if entry.job.uid == job.uid
        for row in entry.transitions
    }
    return sorted(rows)


@settings(max_examples=250, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(graphs, st.randoms(use_true_random=False), chances)
def test_every_job_ends_as_it_must_wherever_the_operator_dies(
    graph: tuple[Node, ...], dice: Any, luck: list[int]
) -> None:
    order = list(range(len(graph)))
    dice.shuffle(order)
    world = Play(graph, order, luck).play()
    for number, (phase, rows) in enumerate(oracle(graph)):
        job = world.job(f"j{number}")
        assert job.status.phase is phase, f"{job.name} after {world.crashes} crashes"
        assert rows_of(world, job) == rows
        launched = [attempt.attempt for attempt in world.launched if attempt.uid == job.uid]
        assert launched == list(range(1, len(launched) + 1))
        assert not under_way(job, None)
    assert not any(not pod.phase.ended for pod in world.pods.values())
    assert world.state.queues.charges == {}


@settings(max_examples=40, derandomize=True)
@given(graphs, chances)
def test_the_same_events_give_the_same_plans(graph: tuple[Node, ...], luck: list[int]) -> None:
    order = list(range(len(graph)))
    one, other = Play(graph, order, luck), Play(graph, order, luck)
    one.play()
    other.play()
    assert one.plans == other.plans
