"""The sentences: figures and names as people write them."""

from __future__ import annotations

import pytest

from taskjob.core import sentences
from taskjob.core.model import Dependency, JobKey, JobName, Namespace, QueueName
from taskjob.core.phases import Condition, Phase, Reason
from taskjob.core.why import Why

QUEUE = QueueName("gpu")


def named(*names: str, condition: Condition = Condition.SUCCEEDED) -> list[Dependency]:
    return [Dependency(JobName(name), condition) for name in names]


@pytest.mark.parametrize(
    ("waiting", "missing", "sentence"),
    [
        (named("a"), [], 'waits for "a"'),
        (named("a", "b"), named("b"), 'waits for "a", "b" (not created yet: "b")'),
        (named("a", condition=Condition.FAILED), [], 'waits for "a" to fail'),
        (named("a", condition=Condition.FINISHED), [], 'waits for "a" to finish'),
        (named(*"abcdef"), [], 'waits for "a", "b", "c" and 3 more'),
    ],
)
def test_what_is_waited_for(waiting: list[Dependency], missing: list[Dependency], sentence: str) -> None:
    assert sentences.waiting_for(waiting, missing) == sentence


def test_what_will_never_be() -> None:
    assert sentences.impossible(named("a")[0], Phase.CANCELLED) == (
        'dependency "a" ended Cancelled, and Succeeded was asked'
    )


def test_a_cycle_begins_with_its_first_member_by_name_whoever_is_told() -> None:
    keys = [JobKey(Namespace("n"), JobName(name)) for name in "cab"]
    for turn in range(3):
        assert sentences.cycle(keys[turn:] + keys[:turn]) == "its dependencies form a cycle: a -> b -> c -> a"


def test_figures_are_written_as_quantities() -> None:
    short = Why(Reason.WAITING_FOR_QUOTA, QUEUE, "cpu", 1000, 500, 20_000)
    assert sentences.waiting(short) == 'needs cpu 1; queue "gpu" has 500m of 20 left'
    exceeding = Why(Reason.EXCEEDS_QUOTA, QUEUE, "memory", 2**40, 2**36, 2**36)
    assert sentences.waiting(exceeding) == (
        'asks for memory 1Ti, more than all of the quota of queue "gpu" (64Gi): ask for less, or raise the quota'
    )


def test_what_exceeds_the_nodes_may_fit_when_there_are_more_of_them() -> None:
    exceeding = Why(Reason.EXCEEDS_QUOTA, QUEUE, "cpu", 3000, 2000, 2000, from_nodes=True)
    assert sentences.waiting(exceeding) == (
        'asks for cpu 3, more than queue "gpu" can have of what the nodes give now (2): '
        "it waits until they give more; or ask for less"
    )


def test_a_queue_that_is_not_there_or_cannot_be_used() -> None:
    assert sentences.waiting(Why(Reason.QUEUE_NOT_FOUND, QUEUE)) == (
        'there is no TaskQueue "gpu": create it, or set spec.queue to one that exists'
    )
    assert sentences.waiting(Why(Reason.QUEUE_NOT_FOUND, QUEUE, problem="spec.quota: is wrong")) == (
        'TaskQueue "gpu" cannot be used: spec.quota: is wrong'
    )
