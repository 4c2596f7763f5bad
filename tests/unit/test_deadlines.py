"""Timeouts of an attempt, the deadline of a job: who enforces them, and what they end in."""

from __future__ import annotations

from datetime import timedelta

import pytest

from builders import a_job, a_queue, at
from taskjob.core.deadlines import active_deadline_seconds, earliest
from taskjob.core.decisions import EndBy
from taskjob.core.phases import FailureClass, Phase, Reason, Stopping
from world import World


@pytest.mark.parametrize(
    ("attempt", "job", "after", "told"),
    [
        (None, None, 0, None),
        (30, None, 7, 30),
        (None, 100, 60, 40),
        (30, 100, 60, 30),
        (60, 100, 60, 40),
        (None, 100, 60.5, 39),
        (None, 100, 99.9, 1),
        (None, 100, 500, 1),
    ],
)
def test_a_pod_is_told_the_least_of_its_timeout_and_what_is_left_of_the_deadline(
    attempt: int | None, job: int | None, after: float, told: int | None
) -> None:
    assert active_deadline_seconds(a_job("a").timing_out(attempt, job).build(), at(after)) == told


def test_earliest_is_the_first_of_those_known() -> None:
    assert earliest(None, at(3), at(2), None) == at(2)
    assert earliest(None, None) is None


# ------------------------------------------------------------------ an attempt's timeout
def test_the_kubelet_enforces_the_timeout_and_a_retry_follows(world: World) -> None:
    world.submit(a_job("a").timing_out(attempt=30).retrying(1, initial_seconds=5))
    world.run()
    assert world.pod("a").active_deadline_seconds == 30
    world.start("a")
    world.let_pass(30)
    world.fail("a", failure=FailureClass.TIMEOUT)
    status = world.status("a")
    assert (status.phase, status.reason, status.retries) == (Phase.PENDING, Reason.BACKING_OFF, 1)
    assert status.message == (
        "attempt 1 failed (Timeout): it ran longer than 30 s (spec.timeoutSeconds); "
        "retry 1 of 1 not before 12:00:36 UTC"
    )
    world.let_pass(36)
    world.fail("a", failure=FailureClass.TIMEOUT)
    assert (world.phase("a"), world.status("a").reason) == (Phase.FAILED, Reason.ATTEMPT_FAILED)


def test_a_kubelet_that_does_not_enforce_the_timeout_is_helped_ten_seconds_later(world: World) -> None:
    world.submit(a_job("a").timing_out(attempt=30))
    world.run()
    world.start("a")
    world.let_pass(39)
    assert world.status("a").stopping is None
    world.let_pass(1)
    assert [end.by for end in world.ended] == [EndBy.DEADLINE]
    assert (world.phase("a"), world.status("a").reason) == (Phase.FAILED, Reason.ATTEMPT_FAILED)
    assert "Timeout" in world.status("a").message


def test_a_pod_that_waits_for_a_node_uses_up_nothing_of_its_timeout(world: World) -> None:
    """Seed 8211 of the chaos: the scheduler had been away for longer than the attempt's timeout."""
    world.nodes_work = False
    world.submit(a_job("a").timing_out(attempt=30))
    world.let_pass(300)
    assert world.status("a").stopping is None
    world.start("a")
    world.let_pass(39)
    assert world.status("a").stopping is None
    world.let_pass(1)
    assert world.status("a").stopping is Stopping.TIMEOUT


def test_a_pod_lost_while_it_was_stopped_for_its_timeout_timed_out(world: World) -> None:
    world.nodes_work = False
    world.submit(a_job("a").timing_out(attempt=30))
    world.run()
    world.start("a")
    world.let_pass(200)
    assert [end.by for end in world.ended] == [EndBy.DEADLINE, EndBy.DELETE]
    assert (world.phase("a"), world.status("a").reason) == (Phase.FAILED, Reason.ATTEMPT_FAILED)


# ------------------------------------------------------------------ the job's deadline
def test_a_job_still_waiting_at_its_deadline_fails(world: World) -> None:
    world.submit(a_job("a").after("nobody").timing_out(job=60))
    world.let_pass(59)
    assert world.phase("a") is Phase.PENDING
    world.let_pass(1)
    status = world.status("a")
    assert (status.phase, status.reason, status.finished_at) == (Phase.FAILED, Reason.DEADLINE_EXCEEDED, at(60))
    assert status.message == "not finished within 60 s of its creation (spec.deadlineSeconds)"


@pytest.mark.parametrize("waits", ["quota", "queue", "suspended", "backoff", "refused"])
def test_the_deadline_ends_every_kind_of_waiting(waits: str) -> None:
    world = World()
    job = a_job("a").timing_out(job=60).retrying(1, initial_seconds=500)
    match waits:
        case "quota":
            world.put_queue(a_queue(quota={"cpu": 0.5}))
        case "suspended":
            world.put_queue(a_queue())
            job = job.suspended()
        case "backoff":
            world.put_queue(a_queue())
        case "refused":
            world.put_queue(a_queue())
            world.refusing["a"] = "no"  # type: ignore[index]  # a name
    world.submit(job)
    world.run()
    if waits == "backoff":
        world.fail("a")
    world.let_pass(60)
    assert (world.phase("a"), world.status("a").reason) == (Phase.FAILED, Reason.DEADLINE_EXCEEDED)
    world.let_pass(1000)
    assert len(world.launched) == (1 if waits == "backoff" else 0)


def test_a_running_job_is_stopped_at_its_deadline_and_not_retried(world: World) -> None:
    world.submit(a_job("a").timing_out(job=60).retrying(5))
    world.run()
    world.start("a")
    world.let_pass(60)
    stops = [status for _, status in world.written if status.stopping]
    assert [status.stopping for status in stops] == [Stopping.DEADLINE_EXCEEDED]
    assert (world.phase("a"), world.status("a").reason) == (Phase.FAILED, Reason.DEADLINE_EXCEEDED)
    assert len(world.launched) == 1


def test_the_kubelets_own_deadline_exceeded_at_the_jobs_deadline_is_the_deadline(world: World) -> None:
    world.now = at(0.7)
    world.submit(a_job("a").created(0).timing_out(job=60).retrying(5))
    world.run()
    assert world.pod("a").active_deadline_seconds == 59
    world.start("a")
    world.let_pass(58.5)  # 12:00:59.2: the kubelet is first
    world.fail("a", failure=FailureClass.TIMEOUT)
    assert (world.phase("a"), world.status("a").reason) == (Phase.FAILED, Reason.DEADLINE_EXCEEDED)


def test_an_ordinary_failure_just_before_the_deadline_is_an_ordinary_failure(world: World) -> None:
    world.submit(a_job("a").timing_out(job=60))
    world.run()
    world.start("a")
    world.let_pass(59)
    world.fail("a")
    assert world.status("a").reason is Reason.ATTEMPT_FAILED


def test_deadlines_hold_across_restarts(world: World) -> None:
    world.submit(a_job("a").timing_out(job=60), a_job("b").after("nobody").timing_out(job=60))
    world.run()
    world.start("a")
    world.let_pass(30)
    world.crash()
    world.let_pass(30)
    assert world.phases() == {"a": "Failed", "b": "Failed"}
    assert {status.reason for _, status in world.written if status.phase.terminal} == {Reason.DEADLINE_EXCEEDED}


def test_no_wake_up_is_ever_asked_for_in_the_past(world: World) -> None:
    """Instants between seconds: refusals, ends asked, jitter. `let_pass` asserts it at every step."""
    world.now = at(0.333)
    world.refusing["r"] = "no"  # type: ignore[index]  # a name
    world.nodes_work = False
    world.submit(
        a_job("r"), a_job("s").timing_out(job=7), a_job("t").timing_out(attempt=3).retrying(2, jitter_percent=50)
    )
    world.run()
    world.now += timedelta(milliseconds=123)
    world.start("s", "t")
    world.let_pass(300)
    assert world.phase("s") is Phase.FAILED
