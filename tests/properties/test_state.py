"""Rules that hold whatever happens, in whatever order, and wherever the operator dies: see `anything.py`."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from anything import KEYS, NAMES, QUEUES, Anything
from taskjob.core.model import Dependency, JobName
from taskjob.core.phases import Condition, OnDependencyFailure, Preempt, StopPolicy

WALKS = 60
WEIGHTS = {
    "submit": 4.0,
    "suspend": 1.0,
    "cancel": 0.3,
    "rerun": 0.7,
    "spoil": 0.5,
    "delete": 0.7,
    "change_queue": 0.7,
    "drop_queue": 0.2,
    "pod_goes_on": 5.0,
    "admission_enlarges": 0.3,
    "time_passes": 2.0,
    "operate": 4.0,
    "a_request_is_answered": 4.0,
    "all_requests_are_answered": 2.0,
    "the_operator_dies": 0.7,
}


def walk(machine: Anything, dice: Random, steps: int, *, crowded: bool = False) -> Iterator[str]:
    """Random steps, weighted so that much happens; each is yielded in words before it is taken.

    `crowded`: in queues that preempt, jobs without dependencies that run long.
    """
    rules = [Preempt.LOWER_PRIORITY, Preempt.ANY] if crowded else list(Preempt)
    machine.begin(cpu=dice.randint(2, 5))
    machine.change_queue("two", dice.randint(1, 4), dice.choice(rules))
    kinds = list(WEIGHTS)
    for kind in dice.choices(kinds, list(WEIGHTS.values()), k=steps):
        arguments: dict[str, Any] = {}
        match kind:
            case "submit":
                name = dice.choice(NAMES)
                others = [*NAMES, "nobody"] if dice.random() < 0.15 else NAMES[: NAMES.index(name)]
                others = [] if crowded else others
                arguments = {
                    "name": name,
                    "queue": dice.choice(QUEUES),
                    "priority": dice.randint(-1, 1),
                    "cpu": dice.randint(1, 3),
                    "depends_on": tuple(
                        Dependency(JobName(dice.choice(others)), dice.choice(list(Condition)))
                        for _ in range(dice.choice([0, 0, 1, 1, 2, 3]) if others else 0)
                    ),
                    "policy": dice.choice(list(OnDependencyFailure)),
                    "retries": dice.randint(0, 3),
                    "deadline": dice.choice([None, None, 30]),
                    "timeout": dice.choice([None, None, 10]),
                    "patience": dice.choice([None, None, 20]),
                    "concurrency": dice.choice(KEYS),
                }
            case "suspend":
                arguments = {"name": dice.choice(NAMES), "suspend": dice.random() < 0.4}
            case "cancel":
                arguments = {"name": dice.choice(NAMES)}
            case "rerun":
                arguments = {"name": dice.choice(NAMES), "by": dice.randint(1, 2)}
            case "spoil":
                arguments = {"name": dice.choice(NAMES), "problem": dice.choice([None, None, "it is wrong"])}
            case "delete":
                arguments = {"name": dice.choice(NAMES), "with_pods": dice.random() < 0.5}
            case "change_queue":
                arguments = {
                    "name": dice.choice(QUEUES),
                    "cpu": dice.randint(0, 5),
                    "preempt": dice.choice(rules),
                    "promised": dice.choice([0, 5]),
                    "stop": StopPolicy.NONE if crowded else dice.choice([StopPolicy.NONE] * 3 + list(StopPolicy)),
                }
            case "drop_queue":
                arguments = {"name": dice.choice(QUEUES)}
            case "pod_goes_on":
                ends = ["succeed", "fail", "fail", "break", "delete", "lose"]
                what = dice.choice(["start"] * (30 if crowded else 2) + ends)
                arguments = {"number": dice.randint(0, 9), "what": what}
            case "admission_enlarges":
                arguments = {"name": dice.choice(NAMES), "cpu": dice.randint(1, 6)}
            case "time_passes":
                arguments = {"seconds": dice.choice([0.25, 1, 3.7, 15, 60])}
            case "a_request_is_answered":
                arguments = {"number": dice.randint(0, 99), "fails": dice.random() < 0.2}
            case "the_operator_dies":
                arguments = {"landed": dice.randint(0, 4)}
        yield f"{kind}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
        if kind != "a_request_is_answered" or machine.world.pending:
            getattr(machine, kind)(**arguments)
        machine.the_state_is_what_a_rebuild_gives()
        machine.who_may_start_is_what_a_rebuild_says()
        machine.a_job_has_one_live_pod_at_most_and_attempts_rise()


@pytest.mark.parametrize("seed", range(WALKS))
def test_whatever_happens_the_rules_hold(seed: int) -> None:
    taken: list[str] = []
    try:
        for step in walk(Anything(), Random(seed), 150, crowded=seed % 3 == 2):
            taken.append(step)
    except AssertionError as error:
        error.add_note("after:\n  " + "\n  ".join(taken))
        raise


Anything.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestAnything = Anything.TestCase
"""The same rules driven by Hypothesis: fewer steps, but what it finds it shrinks."""
