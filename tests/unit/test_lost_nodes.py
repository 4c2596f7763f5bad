"""A node that does not answer: what ran there is charged and not doubled, unless the job allows it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from builders import JobBuilder, a_job, a_queue
from taskjob.core.model import Pod
from taskjob.core.phases import FailureClass, Phase, PodPhase, Reason, Stopping
from world import World

GRACE = timedelta(seconds=30)


@pytest.fixture
def world() -> World:
    world = World()
    world.put_queue(a_queue(quota={"cpu": 1}))
    return world


def a_lost(world: World, job: JobBuilder) -> Pod:
    """The job runs, its node goes silent, and the taint manager asks for its deletion, which nobody confirms."""
    world.submit(job)
    world.run()
    world.start("a")
    world.let_pass(60)
    return world.put_pod(
        world.pod("a"),
        deleting=True,
        gone_by=world.now + GRACE,
        trouble=FailureClass.EVICTED,
        message="DeletionByTaintManager: deleting due to NoExecute taint",
    )


def test_the_attempt_counts_as_running_and_charged_until_its_pod_is_gone_and_says_why(world: World) -> None:
    a_lost(world, a_job("a").retrying(5, initial_seconds=1))
    world.submit(a_job("b").created(1))
    world.let_pass(39)
    assert world.status("a").reason is Reason.STARTED
    writes = len(world.written)
    world.let_pass(24 * 3600)
    status = world.status("a")
    assert (status.phase, status.reason, status.attempt) == (Phase.RUNNING, Reason.NODE_LOST, 1)
    assert "node.kubernetes.io/out-of-service" in status.message
    assert world.names_launched() == ["a"]
    assert len([name for name, _ in world.written[writes:] if name == "a"]) == 1, "said once"


def test_when_the_pod_is_gone_the_next_attempt_is_free(world: World) -> None:
    a_lost(world, a_job("a").retrying(0, initial_seconds=1))
    world.let_pass(600)
    world.lose_pod(world.pod("a"))
    world.let_pass(3)
    assert [attempt.attempt for attempt in world.launched] == [1, 2]
    assert world.status("a").retries == 0


def test_a_node_that_comes_back_with_its_pod_still_running_ends_it_and_nothing_is_doubled(world: World) -> None:
    pod = a_lost(world, a_job("a").retrying(1, initial_seconds=1))
    world.let_pass(600)
    world.crash()
    world.let_pass(60)
    done = world.put_pod(
        pod, phase=PodPhase.FAILED, finished_at=world.now, failure=FailureClass.EVICTED, exit_code=143, trouble=None
    )
    world.run()
    assert world.status("a").reason is Reason.BACKING_OFF
    world.lose_pod(done)
    world.let_pass(3)
    assert [attempt.attempt for attempt in world.launched] == [1, 2]


def test_a_node_that_comes_back_before_its_pods_were_given_up_changes_nothing(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.start("a")
    world.let_pass(3600)  # whatever the node's conditions said meanwhile
    world.finish("a")
    assert (world.phase("a"), len(world.launched)) == (Phase.SUCCEEDED, 1)


@pytest.mark.parametrize("crash", [False, True])
def test_with_allow_overlap_the_next_attempt_starts_and_the_lost_one_stays_charged(world: World, crash: bool) -> None:
    world.put_queue(a_queue(quota={"cpu": 2}))
    lost = a_lost(world, a_job("a").retrying(0, initial_seconds=1).overlapping())
    world.submit(a_job("b").created(100))
    world.let_pass(39)
    assert len(world.launched) == 2, "a and b: not before the node had its time"
    world.finish("b")
    if crash:
        world.crash()
    world.let_pass(4)
    assert [attempt.attempt for attempt in world.launched if attempt.uid == lost.attempt.uid] == [1, 2]
    assert len(world.state.queues.charges) == 2, "both count"
    assert world.status("a").retries == 0
    world.put_pod(lost, phase=PodPhase.SUCCEEDED, finished_at=world.now, exit_code=0)  # the node is back
    world.let_pass(15)
    assert world.phase("a") is Phase.STARTING, "the outcome of a lost attempt is not that of its job"
    world.finish("a")
    assert (world.phase("a"), world.status("a").attempt) == (Phase.SUCCEEDED, 2)
    assert world.state.queues.charges == {}


def test_a_cancelled_job_on_a_lost_node_ends_at_once_if_it_allows_overlap(world: World) -> None:
    a_lost(world, a_job("a").overlapping())
    world.edit("a", cancel=True)
    world.let_pass(41)
    assert world.phase("a") is Phase.CANCELLED
    assert len(world.state.queues.charges) == 1


def test_an_unscheduled_pod_is_on_no_node_that_could_be_lost(world: World) -> None:
    pod = a_lost(world, a_job("a").overlapping())
    world.put_pod(replace(pod, node=None))
    world.let_pass(600)
    assert world.status("a").attempt == 1
    assert len(world.launched) == 1


def test_a_deadline_that_passes_after_the_timeout_of_a_lost_attempt_is_seen_when_it_passes(world: World) -> None:
    a_lost(world, a_job("a").timing_out(100, 200))
    world.let_pass(100)
    assert world.status("a").stopping is Stopping.TIMEOUT
    world.let_pass(40)
    assert world.status("a").stopping is Stopping.DEADLINE_EXCEEDED
