"""Rules of admission over random clusters and traces: quotas, borrowing, order, claims, shares, explanations.

See `admission_walk.py` for what is checked at every step of a walk.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import chain, count, cycle, islice, repeat
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from admission_oracle import end, used
from admission_walk import WAITING, Asked, Walk, WalkOfPreemptors, asked, queues
from builders import a_job, a_queue, limits
from taskjob.core.cycle import plan
from taskjob.core.decisions import Launch
from taskjob.core.model import AttemptId, CohortName, QueueName
from taskjob.core.phases import Preempt, Stopping, StopPolicy, Strategy
from taskjob.core.state import State
from world import World


@pytest.mark.parametrize("walk", [Walk, WalkOfPreemptors])
def test_whatever_happens_admission_keeps_its_rules(walk: type[Walk]) -> None:
    walk.met.clear()
    bounds = settings(max_examples=150, stateful_step_count=30, derandomize=True, report_multiple_bugs=False)
    run_state_machine_as_test(walk, settings=settings(bounds, suppress_health_check=[HealthCheck.too_slow]))
    expected = {"admitted", "passed by", "reserved", *WAITING} | ({"evicted"} if walk.preempting else set())
    assert all(walk.met[each] > 20 for each in expected), f"little was judged: {walk.met}"


# ------------------------------------------------------------------ walks that found something
NAMES = ["a", "b", "c", "d", "e"]
FOUND = {
    47: "a lowered quota was given back only at the next event",
    59: "a queue was not looked at in time",
    127: "nobody looked at a cohort when its head had waited for its reservation",
    137: "victims took turns for ever: another queue's claim got what they left",
    216: "nobody looked at the queue that a job ran in, when its priority changed together with its queue",
    392: "victims took turns for ever, in another way",
}


@pytest.mark.parametrize("seed", FOUND, ids=list(FOUND.values()))
def test_a_walk_that_found_something_finds_it_no_more(seed: int) -> None:
    dice, walk = Random(seed), WalkOfPreemptors()
    walk.begin({name: random_terms(dice) for name in NAMES})
    for _ in range(60):
        step(walk, dice)


def random_terms(dice: Random) -> dict[str, Any]:
    """As `terms`, in the proportions in which these walks were found."""

    def some(most: int) -> Any:
        return limits(cpu=dice.randint(0, most), memory=dice.randint(0, most))

    its: dict[str, Any] = {
        "cohort": CohortName("one") if dice.random() < 0.8 else None,
        "borrowing_limit": some(3) if dice.random() < 0.3 else None,
        "lending_limit": some(4) if dice.random() < 0.3 else None,
        "weight": dice.randint(1, 3),
        "strategy": Strategy.STRICT_FIFO if dice.random() < 0.25 else Strategy.BEST_EFFORT_FIFO,
        "reserve_after_seconds": dice.choice([0, 20, 60]),
        "aging_seconds": dice.choice([0, 0, 30]),
        "max_running": dice.choice([0, 0, 0, 3]),
        "max_starts_per_second": dice.choice([0, 0, 0, 2]),
        "stop_policy": dice.choice([StopPolicy.NONE] * 5 + [StopPolicy.HOLD]),
        "preemption_within_queue": dice.choice(list(Preempt)),
        "preemption_reclaim": dice.choice(list(Preempt)),
        "min_runtime_seconds": dice.choice([0, 0, 10]),
    }
    quota = {"cpu": dice.randint(0, 6)} | ({"memory": dice.randint(0, 6)} if dice.random() < 0.5 else {})
    return {"quota": quota, **its}


def step(walk: Walk, dice: Random) -> None:
    match dice.choices(["submit", "end", "time", "queue", "edit", "crash"], [8, 6, 3, 1, 1, 0.3])[0]:
        case "submit":
            jobs = []
            for _ in range(dice.randint(1, 4)):
                queue, priority = dice.choice(NAMES), dice.choice([-100, 0, 100])
                jobs.append(Asked(queue, priority, dice.randint(0, 4), dice.choice([0, 0, 1, 3])))
            walk.go_on(jobs)
        case "end":
            live = walk.live()
            walk.go_on(ended=dice.sample(range(len(live)), min(len(live), dice.randint(1, 3))))
        case "time":
            walk.go_on(seconds=dice.choice([0.3, 1, 25, 70]))
        case "queue":
            name = dice.choice(NAMES)
            walk.change_queue(name, random_terms(dice))
        case "edit":
            if waiting := walk.waiting():
                number = dice.randrange(len(waiting))
                walk.edit(number, dice.choice([-100, 0, 100]), dice.choice(NAMES))
            else:
                walk.go_on()
        case "crash":
            walk.the_operator_dies()


# ------------------------------------------------------------------ victims that are slow to end
SETTLED = {"min_runtime_seconds": 0, "aging_seconds": 0, "max_starts_per_second": 0, "reserve_after_seconds": 3600}
"""Nothing of a queue by which time alone changes who may be evicted."""


@example(  # who is passed over takes the room that the first victim leaves; counted twice, it cost two victims more
    queues={
        "a": {"quota": {"cpu": 3}, "cohort": "one", "preemption_reclaim": Preempt.NEVER},
        "b": {"quota": {"cpu": 2}, "cohort": "one", "preemption_reclaim": Preempt.NEVER},
    },
    rules=[Preempt.LOWER_PRIORITY] * 2,
    running=[Asked("b", 0, 1, 0)] * 6,
    coming=[Asked("a", 0, 1, 0), Asked("a", 0, 1, 0), Asked("b", 0, 1, 0)],
    dies=True,
)
@settings(max_examples=300)
@given(
    queues=queues,
    rules=st.lists(st.sampled_from([Preempt.LOWER_PRIORITY, Preempt.ANY]), min_size=3, max_size=3),
    running=st.lists(asked, min_size=6, max_size=15),
    coming=st.lists(asked, min_size=1, max_size=4),
    dies=st.booleans(),
)
def test_a_victim_that_is_slow_to_end_costs_no_other_attempt(
    queues: dict[str, dict[str, Any]], rules: list[Preempt], running: list[Asked], coming: list[Asked], dies: bool
) -> None:
    world, names = World(pods_obey=False), count()

    def apply_queues(version: int) -> None:
        for rule, (name, its) in zip(rules, queues.items(), strict=True):
            world.put_queue(a_queue(name, version=version, **its | SETTLED | {"preemption_within_queue": rule}))

    def evicted() -> set[str]:
        return {job.name for job in world.jobs.values() if job.status.stopping is Stopping.PREEMPTED}

    apply_queues(1)
    for jobs, least in ((running, 0), (coming, 200)):
        for queue, priority, cpu, memory in jobs:
            job = a_job(f"j{next(names):02}").in_queue(queue).of_priority(least + priority)
            world.submit(job.asking(cpu=cpu, memory=memory))
        world.run()
    victims = evicted()
    if dies:
        world.crash()
    apply_queues(2)  # that all is looked at again
    world.let_pass(5)
    assert evicted() == victims


# ------------------------------------------------------------------ the order of events
@settings(max_examples=400)
@given(
    queues=queues,
    jobs=st.lists(st.tuples(asked, st.integers(0, 1)), min_size=10, max_size=40),
    room=st.sampled_from([5, 10**6]),
    data=st.data(),
)
def test_the_order_of_events_before_a_plan_does_not_matter(
    queues: dict[str, dict[str, Any]], jobs: list[tuple[Asked, int]], room: int, data: st.DataObject
) -> None:
    events: list[tuple[str, Any]] = [("put_queue", a_queue(name, **its)) for name, its in queues.items()]
    for number, (each, created) in enumerate(jobs):
        job = a_job(f"j{number:02}").in_queue(each.queue).of_priority(each.priority).created(created)
        events.append(("put_job", job.asking(cpu=each.cpu, memory=each.memory).build()))
    made: list[list[str]] = []
    for order in (events, data.draw(st.permutations(events))):
        state = State()
        for method, value in order:
            getattr(state, method)(value)
        made.append(sorted(map(repr, plan(state, World().now, room).decisions)))
    assert made[0] == made[1]


# ------------------------------------------------------------------ shares and starvation
@settings(max_examples=10)
@given(
    weights=st.lists(st.integers(1, 5), min_size=2, max_size=4),
    seconds=st.lists(st.integers(1, 9), min_size=1, max_size=12),
)
def test_shares_of_busy_queues_follow_their_weights(weights: list[int], seconds: list[int]) -> None:
    """1,000 jobs of one size, which run so many seconds in turn, are started by queues that always have more."""
    world = World()
    world.put_queue(a_queue("pool", {"cpu": 40}, cohort=CohortName("one")))
    names = [QueueName(f"q{number}") for number in range(len(weights))]
    for name, weight in zip(names, weights, strict=True):
        world.put_queue(a_queue(name, {"cpu": 0}, cohort=CohortName("one"), weight=weight))
        world.submit(*(a_job(f"{name}-{n:04}").in_queue(name).created(n) for n in range(40)))
    came, run, begun = count(40), {name: cycle(seconds) for name in names}, Counter[QueueName]()
    ends: list[tuple[datetime, AttemptId]] = []
    while begun.total() < 1000:
        world.run()
        for attempt in world.launched[begun.total() :]:
            name = world.jobs[attempt.uid].queue
            begun[name] += 1
            heappush(ends, (world.now + timedelta(seconds=next(run[name])), attempt))
            n = next(came)
            world.submit(a_job(f"{name}-{n:04}").in_queue(name).created(n))
        world.now = ends[0][0]
        while ends and ends[0][0] == world.now:
            end(world, world.pods[heappop(ends)[1]])
    for name, weight in zip(names, weights, strict=True):
        assert abs(begun[name] / begun.total() - weight / sum(weights)) <= 0.05, dict(begun)


@settings(max_examples=20)
@given(
    aging=st.sampled_from([5, 10]),
    levels=st.lists(st.sampled_from([0, -100, 100, 1000]), min_size=1, max_size=30),
    ended=st.lists(st.integers(0, 2), min_size=1, max_size=12),
)
def test_under_aging_nobody_starts_who_came_so_much_later_that_the_wait_outweighs_its_priority(
    aging: int, levels: list[int], ended: list[int]
) -> None:
    """Every second one comes, first of these priorities, then of the highest for ever, and every other second one
    ends: so nobody starves, either."""
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

    bound = 2 * (len(levels) + (1000 + 100) // 100 * aging)  # of the lowest, who came that much later goes after it
    which = cycle(ended)
    for tick, level in enumerate(chain(levels, repeat(1000, bound - len(levels)))):
        name = f"j{tick:05}"
        came[name] = (world.now, level)
        world.submit(a_job(name).in_queue("busy").of_priority(level).asking(cpu=1).created(tick))
        world.run()
        judge()
        if tick % 2:
            live = [pod for pod in world.pods.values() if not pod.phase.ended]
            world.finish(live[next(which) % len(live)].job_name)
            judge()
        world.let_pass(1)
        judge()
    assert not [name for name in list(came)[: len(levels)] if name not in started], "they starve"


@settings(max_examples=50)
@given(
    small=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([1, 2]), st.sampled_from([5, 10, 25])),
        min_size=1,
        max_size=12,
    ),
    at_once=st.integers(1, 4),
)
def test_a_large_job_that_stands_first_starts_in_bounded_time_whatever_else_comes(
    small: list[tuple[str, int, int]], at_once: int
) -> None:
    """It stands first in its queue, and has a reservation after 30 s: jobs run less than 30 s more, small ones keep
    coming, in its queue and in its cohort."""
    world = World()
    for name, cpu in (("a", 6), ("b", 4), ("c", 0)):
        world.put_queue(a_queue(name, {"cpu": cpu}, cohort=CohortName("one"), reserve_after_seconds=30))
    ends: dict[str, datetime] = {}
    run: dict[str, int] = {}
    coming = cycle(small)
    for tick in range(5 + (30 + 30) // 5 + 1):
        if tick == 5:
            world.submit(a_job("large").in_queue("a").of_priority(100).asking(cpu=6))
        for queue, cpu, seconds in islice(coming, at_once):
            name = f"s{len(run):04}"
            run[name] = seconds
            world.submit(a_job(name).in_queue(queue).asking(cpu=cpu))
        world.run()
        if "large" in world.names_launched():
            return
        for pod in [pod for pod in world.pods.values() if not pod.phase.ended]:
            due = ends.setdefault(pod.name, world.now + timedelta(seconds=run[pod.job_name]))
            if due <= world.now:
                world.finish(pod.job_name)
        world.let_pass(5)
    pytest.fail("it does not start")


def test_kueues_shape_is_admitted_to_the_last() -> None:
    """5 cohorts of 6 queues, 500 jobs each: 350 of 1, 100 of 5, 50 of 20; quota 20, borrowing up to 100 more."""
    world = World()
    for cohort in range(5):
        for number in range(6):
            terms: dict[str, Any] = {"cohort": CohortName(f"c{cohort}"), "borrowing_limit": limits(cpu=100)}
            name = f"c{cohort}-{number}"
            world.put_queue(a_queue(name, {"cpu": 20}, **terms))
            sizes = [("small", 1, 350, 0), ("medium", 5, 100, 50), ("large", 20, 50, 100)]
            for kind, cpu, number_of, priority in sizes:
                world.submit(
                    *(
                        a_job(f"{name}-{kind}-{n:03}").in_queue(name).asking(cpu=cpu).of_priority(priority).created(n)
                        for n in range(number_of)
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
