"""A queue that is held admits nothing; one that is drained also ends what it runs, and nobody is charged for that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builders import a_job, a_queue
from taskjob.core.decisions import EndBy, SetStatus
from taskjob.core.phases import Phase, PodPhase, Reason, Stopping, StopPolicy
from world import World


@pytest.fixture
def world() -> World:
    world = World()
    world.put_queue(a_queue(quota={"cpu": 2}))
    return world


def stop(world: World, policy: StopPolicy) -> None:
    world.put_queue(replace(a_queue(quota={"cpu": 2}), stop_policy=policy))


def test_a_held_queue_starts_nothing_and_says_so_while_what_runs_goes_on(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.start("a")
    stop(world, StopPolicy.HOLD)
    world.submit(a_job("b"))
    world.let_pass(5)
    assert world.names_launched() == ["a"]
    assert world.status("b").reason is Reason.QUEUE_HELD
    assert "spec.stopPolicy" in world.status("b").message
    world.finish("a")
    assert world.phase("a") is Phase.SUCCEEDED


def test_a_queue_that_is_released_admits_at_once(world: World) -> None:
    stop(world, StopPolicy.HOLD)
    world.submit(a_job("a"))
    world.run()
    stop(world, StopPolicy.NONE)
    world.run()
    assert world.names_launched() == ["a"]


def test_draining_writes_the_reason_before_it_ends_the_pod(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.start("a")
    stop(world, StopPolicy.HOLD_AND_DRAIN)
    world.holding = True
    (told,) = world.cycle().decisions
    assert isinstance(told, SetStatus)
    assert (told.status.phase, told.status.stopping) == (Phase.RUNNING, Stopping.QUEUE_HELD)
    world.answer()
    assert [end.by for end in world.ended] == [EndBy.DEADLINE]


def test_a_drained_job_is_queued_again_without_a_charge_and_starts_when_the_queue_is_released(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.start("a")
    stop(world, StopPolicy.HOLD_AND_DRAIN)
    world.run()
    status = world.status("a")
    assert (status.phase, status.reason, status.retries, status.attempt) == (Phase.PENDING, Reason.QUEUE_HELD, 0, 1)
    assert (status.stopping, status.exit_code) == (None, None)
    world.let_pass(100)
    assert len(world.launched) == 1
    stop(world, StopPolicy.NONE)
    world.run()
    world.finish("a")
    assert (world.phase("a"), world.status("a").retries) == (Phase.SUCCEEDED, 0)
    assert world.story("a") == [
        "0:  -> Pending (Queued)",
        "1: Pending -> Starting (Launched)",
        "2: Starting -> Running (Started)",
        "3: Running -> Pending (QueueHeld)",
        "4: Pending -> Starting (Launched)",
        "5: Starting -> Running (Started)",
        "6: Running -> Succeeded (Completed)",
    ]


def test_a_job_that_is_done_before_the_drain_reaches_it_has_succeeded(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.start("a")
    world.holding = True
    stop(world, StopPolicy.HOLD_AND_DRAIN)
    world.cycle()
    world.put_pod(world.pod("a"), phase=PodPhase.SUCCEEDED, finished_at=world.now, exit_code=0)
    world.answer()
    assert world.phase("a") is Phase.SUCCEEDED


def test_a_timeout_that_comes_while_a_drained_pod_ends_is_not_the_jobs_failure(world: World) -> None:
    world.nodes_work = False
    world.submit(a_job("a").timing_out(attempt=5))
    world.run()
    world.start("a")
    stop(world, StopPolicy.HOLD_AND_DRAIN)
    world.let_pass(60)
    assert (world.phase("a"), world.status("a").reason) == (Phase.PENDING, Reason.QUEUE_HELD)


def test_a_cancel_wins_over_a_drain(world: World) -> None:
    world.nodes_work = False
    world.submit(a_job("a"))
    world.run()
    world.start("a")
    stop(world, StopPolicy.HOLD_AND_DRAIN)
    world.run()
    world.edit("a", cancel=True)
    world.let_pass(60)
    assert world.phase("a") is Phase.CANCELLED


def test_after_a_crash_a_drain_goes_on(world: World) -> None:
    world.nodes_work = False
    world.submit(a_job("a"))
    world.run()
    world.start("a")
    stop(world, StopPolicy.HOLD_AND_DRAIN)
    world.run()
    world.crash()
    world.let_pass(60)
    assert (world.phase("a"), world.status("a").retries) == (Phase.PENDING, 0)
    assert len(world.launched) == 1
