"""queueTimeoutSeconds: how long a job may wait, once nothing but its queue holds it back."""

from __future__ import annotations

import pytest

from builders import a_job, a_queue
from taskjob.core.phases import FailureClass, Phase, Reason
from world import World


@pytest.fixture
def world() -> World:
    world = World()
    world.put_queue(a_queue(quota={"cpu": 1}))
    world.submit(a_job("holder").created(-10))
    world.run()
    return world


def let_the_backoff_pass(world: World, name: str) -> None:
    """Until the instant from which the job waits for its queue alone."""
    again_at = world.status(name).not_before
    assert again_at is not None
    world.let_pass((again_at - world.now).total_seconds())


def test_a_job_that_waits_too_long_fails_with_a_reason_of_its_own(world: World) -> None:
    world.submit(a_job("a").waiting_at_most(60))
    world.let_pass(59)
    assert world.phase("a") is Phase.PENDING
    world.crash()
    world.let_pass(1)
    status = world.status("a")
    assert (status.phase, status.reason) == (Phase.FAILED, Reason.QUEUE_TIMEOUT_EXCEEDED)
    assert status.message == "not started within 60 s of waiting (spec.queueTimeoutSeconds)"


def test_running_is_no_waiting(world: World) -> None:
    world.finish("holder")
    world.submit(a_job("a").waiting_at_most(60))
    world.run()
    world.start("a")
    world.let_pass(3600)
    assert world.phase("a") is Phase.RUNNING


def test_waiting_for_dependencies_does_not_count(world: World) -> None:
    world.submit(a_job("a").waiting_at_most(60).after("holder"), a_job("big").created(-5))
    world.let_pass(3600)
    world.finish("holder")
    assert world.names_launched() == ["holder", "big"]
    world.let_pass(59)
    assert world.phase("a") is Phase.PENDING
    world.crash()
    world.let_pass(1)
    assert world.status("a").reason is Reason.QUEUE_TIMEOUT_EXCEEDED


@pytest.mark.parametrize("crash", [False, True])
def test_suspension_does_not_count(world: World, crash: bool) -> None:
    world.submit(a_job("a").waiting_at_most(60).suspended())
    world.let_pass(3600)
    world.edit("a", suspend=False)
    world.run()
    if crash:
        world.crash()
    world.let_pass(59)
    assert world.phase("a") is Phase.PENDING
    world.let_pass(1)
    assert world.status("a").reason is Reason.QUEUE_TIMEOUT_EXCEEDED


@pytest.mark.parametrize("crash", [False, True])
def test_a_backoff_does_not_count(world: World, crash: bool) -> None:
    world.finish("holder")
    world.submit(a_job("a").waiting_at_most(60).retrying(1, initial_seconds=300))
    world.run()
    world.start("a")
    world.submit(a_job("next").of_priority("High"))
    world.fail("a")
    assert world.status("a").reason is Reason.BACKING_OFF
    if crash:
        world.crash()
    let_the_backoff_pass(world, "a")
    world.let_pass(59)
    assert world.phase("a") is Phase.PENDING
    world.let_pass(1)
    assert world.status("a").reason is Reason.QUEUE_TIMEOUT_EXCEEDED


def test_each_wait_counts_anew(world: World) -> None:
    world.finish("holder")
    world.submit(a_job("a").waiting_at_most(60).retrying(1, initial_seconds=1))
    world.run()
    world.start("a")
    world.let_pass(3600)
    world.submit(a_job("next").of_priority("High"))
    world.fail("a", failure=FailureClass.EVICTED)
    let_the_backoff_pass(world, "a")
    world.let_pass(59)
    assert world.phase("a") is Phase.PENDING
    world.let_pass(1)
    assert world.status("a").reason is Reason.QUEUE_TIMEOUT_EXCEEDED
