"""Rules of admission over random clusters and traces: quotas, borrowing, order, claims, shares, explanations."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest

from admission_walk import NAMES, Walk, end, random_queue, used
from builders import a_job, a_queue, limits
from taskjob.core.cycle import plan
from taskjob.core.decisions import Launch
from taskjob.core.model import CohortName, QueueName
from taskjob.core.state import State
from world import World

WALKS = 40
STEPS = 60


@pytest.mark.parametrize("seed", range(WALKS))
def test_whatever_happens_admission_keeps_its_rules(seed: int) -> None:
    walk = Walk(seed)
    for _ in range(STEPS):
        walk.step()


FOUND = [47, 59, 127, 137, 216, 392]
"""Seeds that found something once: victims that took turns for ever, and queues that nobody looked at in time."""


@pytest.mark.parametrize("seed", [*range(WALKS), *FOUND])
def test_whatever_happens_nobody_is_evicted_against_the_rules(seed: int) -> None:
    walk = Walk(seed, preempting=True)
    for _ in range(STEPS):
        walk.step()


def test_the_walks_evict() -> None:
    """Else they would judge nothing."""
    walks = [Walk(seed, preempting=True) for seed in range(6)]
    for walk in walks:
        for _ in range(STEPS):
            walk.step()
    assert sum(walk.evicted for walk in walks) > 10


@pytest.mark.parametrize("seed", range(WALKS))
def test_the_order_of_events_before_a_plan_does_not_matter(seed: int) -> None:
    dice = Random(seed)
    queues = [random_queue(dice, name) for name in NAMES]
    jobs = [
        a_job(f"j{n:02}")
        .in_queue(dice.choice(NAMES))
        .of_priority(dice.choice([-100, 0, 100]))
        .created(dice.randint(0, 9))
        .asking(cpu=dice.randint(0, 4), memory=dice.choice([0, 1, 3]))
        .build()
        for n in range(40)
    ]
    events: list[tuple[str, Any]] = [("put_queue", each) for each in queues] + [("put_job", each) for each in jobs]
    room = dice.choice([5, 10**6])
    made: list[list[str]] = []
    for _ in range(2):
        state = State()
        for method, value in events:
            getattr(state, method)(value)
        made.append(sorted(map(repr, plan(state, World().now, room).decisions)))
        dice.shuffle(events)
    assert made[0] == made[1]


# ------------------------------------------------------------------ shares and starvation
@pytest.mark.parametrize("weights", [(1, 1), (1, 2), (1, 3, 4), (2, 3, 5)])
def test_shares_of_busy_queues_follow_their_weights(weights: tuple[int, ...]) -> None:
    """1,000 equal jobs, each of a random length, are started by queues that always have more."""
    dice = Random(sum(weights))
    world = World()
    world.put_queue(a_queue("pool", {"cpu": 40}, cohort=CohortName("one")))
    for number, weight in enumerate(weights):
        world.put_queue(a_queue(f"q{number}", {"cpu": 0}, cohort=CohortName("one"), weight=weight))
        world.submit(*(a_job(f"q{number}-{n:04}").in_queue(f"q{number}").created(n) for n in range(1000)))
    world.run()
    while len(world.launched) < 1000:
        live = [pod for pod in world.pods.values() if not pod.phase.ended]
        world.finish(dice.choice(live).job_name)
    begun = Counter(world.jobs[attempt.uid].queue for attempt in world.launched[:1000])
    for number, weight in enumerate(weights):
        assert abs(begun[QueueName(f"q{number}")] / 1000 - weight / sum(weights)) <= 0.05


@pytest.mark.parametrize("seed", range(10))
def test_under_aging_nobody_starts_who_came_so_much_later_that_the_wait_outweighs_its_priority(seed: int) -> None:
    """In queues that always have more than they can start: so the lowest starts, too, however many higher ones come."""
    dice = Random(seed)
    aging = dice.choice([5, 10])
    world = World()
    world.put_queue(a_queue("busy", {"cpu": 3}, aging_seconds=aging))
    came: dict[str, tuple[datetime, int]] = {}
    started: set[str] = set()

    def judge() -> None:
        for name in [name for name in world.names_launched() if name not in started]:
            started.add(name)
            at, level = came[name]
            for other in came.keys() - started:
                before, its_level = came[other]
                ahead = timedelta(seconds=(level - its_level) / 100 * aging)
                assert at <= before + ahead, f"{name} starts before {other}, which has waited too long for that"

    for tick in range(40 * aging):
        name = f"j{tick:05}"
        came[name] = (world.now, dice.choices([1000, 100, 0, -100], [6, 3, 1, 1])[0])
        world.submit(a_job(name).in_queue("busy").of_priority(came[name][1]).asking(cpu=1).created(tick))
        world.run()
        judge()
        if tick % 2:
            world.finish(dice.choice([pod for pod in world.pods.values() if not pod.phase.ended]).job_name)
            judge()
        world.let_pass(1)
        judge()
    lowest = sum(came[name][1] == -100 for name in started)
    assert lowest, "none of the lowest priority came to start"


@pytest.mark.parametrize("seed", range(10))
def test_a_large_job_starts_in_bounded_time_whatever_else_comes(seed: int) -> None:
    """Under reservation: jobs run at most 30 s, small ones keep coming, in its queue and in its cohort."""
    dice = Random(seed)
    world = World()
    for name, cpu in (("a", 6), ("b", 4), ("c", 0)):
        world.put_queue(a_queue(name, {"cpu": cpu}, cohort=CohortName("one"), reserve_after_seconds=30))
    ends: dict[str, datetime] = {}
    names = 0
    for tick in range(60):
        if tick == 5:
            world.submit(a_job("large").in_queue("a").asking(cpu=6))
        for _ in range(4):
            names += 1
            world.submit(a_job(f"s{names:04}").in_queue(dice.choice("abc")).asking(cpu=dice.choice([1, 1, 2])))
        world.run()
        if "large" in world.names_launched():
            break
        for pod in list(world.pods.values()):
            if not pod.phase.ended:
                due = ends.setdefault(pod.name, world.now + timedelta(seconds=dice.choice([5, 10, 25])))
                if due <= world.now:
                    world.finish(pod.job_name)
        world.let_pass(5)
    assert "large" in world.names_launched()
    assert tick <= 5 + (30 + 2 * 30) // 5


def test_kueues_shape_is_admitted_to_the_last() -> None:
    """5 cohorts of 6 queues, 500 jobs each: 350 of 1, 100 of 5, 50 of 20; quota 20, borrowing up to 100 more."""
    world = World()
    for cohort in range(5):
        for number in range(6):
            terms: dict[str, Any] = {"cohort": CohortName(f"c{cohort}"), "borrowing_limit": limits(cpu=100)}
            name = f"c{cohort}-{number}"
            world.put_queue(a_queue(name, {"cpu": 20}, **terms))
            sizes = [("small", 1, 350, 0), ("medium", 5, 100, 50), ("large", 20, 50, 100)]
            for kind, cpu, count, priority in sizes:
                world.submit(
                    *(
                        a_job(f"{name}-{kind}-{n:03}").in_queue(name).asking(cpu=cpu).of_priority(priority).created(n)
                        for n in range(count)
                    )
                )
    begun = idle = 0
    while begun < 15_000:
        made = world.cycle()
        started = sum(isinstance(decision, Launch) for decision in made.decisions)
        begun, idle = begun + started, 0 if started else idle + 1
        assert idle < 5, f"{15_000 - begun} jobs are never admitted"
        held = used(world)
        for cohort in range(5):
            assert sum(usage["cpu"] for name, usage in held.items() if name.startswith(f"c{cohort}")) <= 120_000
        for pod in [pod for pod in world.pods.values() if not pod.phase.ended]:
            end(world, pod)
