"""Stopping an attempt for the user's reasons: cancel and suspend in each phase, and nodes that do not answer."""

from __future__ import annotations

import pytest

from builders import a_job
from taskjob.core.decisions import EndBy, SetStatus, Urgency
from taskjob.core.phases import Phase, PodPhase, Reason, Stopping
from world import World


# ------------------------------------------------------------------ cancel
def test_a_waiting_job_is_cancelled_without_a_pod(world: World) -> None:
    world.submit(a_job("a").after("nobody"))
    world.run()
    world.edit("a", cancel=True)
    world.run()
    assert world.phase("a") is Phase.CANCELLED
    assert world.status("a").reason is Reason.CANCELLED_BY_USER
    assert world.launched == []
    assert world.story("a") == ["0:  -> Pending (Queued)", "1: Pending -> Cancelled (CancelledByUser)"]


def test_a_job_cancelled_while_its_pod_is_created_is_stopped_when_the_pod_is_there(world: World) -> None:
    world.holding = True
    world.submit(a_job("a"))
    world.cycle()
    world.edit("a", cancel=True)
    made = world.cycle()
    assert made.decisions == (), "the create's answer comes first"
    world.answer()
    assert world.phase("a") is Phase.CANCELLED
    assert len(world.launched) == len(world.ended) == 1


def test_an_unscheduled_pod_is_deleted_after_the_reason_stands_in_the_status(world: World) -> None:
    world.nodes_work = False
    world.submit(a_job("a"))
    world.run()
    world.edit("a", cancel=True)
    world.holding = True
    (stop,) = world.cycle().decisions
    assert isinstance(stop, SetStatus)
    assert (stop.status.stopping, stop.status.reason, stop.urgency) == (
        Stopping.CANCELLED,
        Reason.STOPPING,
        Urgency.STOP,
    )
    world.answer()
    assert [end.by for end in world.ended] == [EndBy.DELETE]
    assert world.phase("a") is Phase.CANCELLED
    assert world.story("a")[1:] == ["1: Pending -> Starting (Launched)", "2: Starting -> Cancelled (CancelledByUser)"]


def test_a_running_pod_is_ended_by_its_deadline_so_that_its_log_remains(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.start("a")
    world.let_pass(5)
    world.edit("a", cancel=True)
    world.run()
    assert [end.by for end in world.ended] == [EndBy.DEADLINE]
    status = world.status("a")
    assert (status.phase, status.exit_code, status.stopping) == (Phase.CANCELLED, 143, None)
    assert len(world.logs) == 1


def test_a_job_that_is_backing_off_is_cancelled_at_once(world: World) -> None:
    world.submit(a_job("a").retrying(3))
    world.run()
    world.fail("a")
    assert world.status("a").reason is Reason.BACKING_OFF
    world.edit("a", cancel=True)
    world.run()
    assert world.phase("a") is Phase.CANCELLED
    assert world.story("a")[-1] == "4: Pending -> Cancelled (CancelledByUser)"
    world.let_pass(3600)
    assert len(world.launched) == 1


def test_a_pod_that_succeeded_before_the_stop_reached_it_counts_as_succeeded(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.start("a")
    world.holding = True
    world.edit("a", cancel=True)
    world.cycle()
    world.put_pod(world.pod("a"), phase=PodPhase.SUCCEEDED, finished_at=world.now, exit_code=0)
    world.answer()
    assert world.phase("a") is Phase.SUCCEEDED


def test_a_container_that_exits_with_zero_on_our_delete_is_cancelled_not_succeeded(world: World) -> None:
    world.nodes_work = False
    world.submit(a_job("a"))
    world.run()
    world.start("a")
    world.edit("a", cancel=True)
    world.run()
    world.let_pass(60)  # the kubelet does not answer: deleted
    assert [end.by for end in world.ended] == [EndBy.DEADLINE, EndBy.DELETE]
    assert world.phase("a") is Phase.CANCELLED


# ------------------------------------------------------------------ suspend
def test_a_suspended_job_waits_and_starts_when_resumed(world: World) -> None:
    world.submit(a_job("a").suspended())
    world.let_pass(100)
    assert world.status("a").reason is Reason.SUSPENDED
    world.edit("a", suspend=False)
    world.run()
    assert len(world.launched) == 1


@pytest.mark.parametrize("running", [False, True], ids=["starting", "running"])
def test_suspending_an_attempt_costs_no_retry_and_resuming_starts_the_next(world: World, running: bool) -> None:
    world.submit(a_job("a"))
    world.run()
    if running:
        world.start("a")
    world.edit("a", suspend=True)
    world.run()
    status = world.status("a")
    assert (status.phase, status.reason, status.retries, status.attempt) == (Phase.PENDING, Reason.SUSPENDED, 0, 1)
    world.let_pass(100)
    world.edit("a", suspend=False)
    world.run()
    world.finish("a")
    assert world.phase("a") is Phase.SUCCEEDED
    assert [attempt.attempt for attempt in world.launched] == [1, 2]


def test_a_job_suspended_while_backing_off_starts_its_retry_only_when_resumed(world: World) -> None:
    world.submit(a_job("a").retrying(1, initial_seconds=10))
    world.run()
    world.fail("a")
    world.edit("a", suspend=True)
    world.let_pass(60)
    assert world.status("a").reason is Reason.SUSPENDED
    world.edit("a", suspend=False)
    world.run()
    world.finish("a")
    assert (world.phase("a"), world.status("a").retries) == (Phase.SUCCEEDED, 1)


def test_resuming_before_the_pod_has_ended_starts_the_next_attempt_after_its_end(world: World) -> None:
    world.nodes_work = False
    world.submit(a_job("a"))
    world.run()
    world.start("a")
    world.edit("a", suspend=True)
    world.run()
    world.edit("a", suspend=False)
    world.run()
    assert len(world.launched) == 1
    world.let_pass(60)
    assert [attempt.attempt for attempt in world.launched] == [1, 2]
    assert world.status("a").retries == 0


# ------------------------------------------------------------------ stopping takes its time
def test_a_kubelet_that_does_not_answer_is_given_the_grace_period_then_the_pod_is_deleted_once(world: World) -> None:
    world.nodes_work = False
    world.submit(a_job("a"))
    world.run()
    world.start("a")
    world.edit("a", cancel=True)
    world.let_pass(39)
    assert [end.by for end in world.ended] == [EndBy.DEADLINE]
    world.let_pass(2)
    assert [end.by for end in world.ended] == [EndBy.DEADLINE, EndBy.DELETE]


def test_a_restarted_operator_still_deletes_a_pod_that_does_not_end(world: World) -> None:
    world.nodes_work = False
    world.submit(a_job("a"))
    world.run()
    world.start("a")
    world.edit("a", cancel=True)
    world.run()
    world.crash()
    world.let_pass(41)
    assert [end.by for end in world.ended] == [EndBy.DEADLINE, EndBy.DELETE]
    assert world.phase("a") is Phase.CANCELLED


def test_an_event_while_a_pod_is_being_ended_does_not_end_it_again(world: World) -> None:
    world.nodes_work = False
    world.submit(a_job("a"))
    world.run()
    world.edit("a", cancel=True)
    world.holding = True
    world.cycle()
    (stop,) = world.pending
    world.pending.clear()
    world.carry_out(stop)
    world.cycle()
    world.put(world.job("a"))
    world.cycle()
    assert len(world.pending) == 1


def test_an_end_that_could_not_be_asked_is_asked_again(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.start("a")
    world.edit("a", cancel=True)
    world.holding = True
    world.cycle()
    world.carry_out(world.pending.pop())
    world.cycle()
    world.pending.clear()
    world.state.end_asked(world.pod("a"), None)
    assert len(world.cycle().decisions) == 1


# ------------------------------------------------------------------ what comes while a pod takes its time to end
def deaf(world: World) -> None:
    """Job `a` runs, and its pod ends by its deletion alone, 40 s after it was told to."""
    world.submit(a_job("a").retrying(1, initial_seconds=1).timing_out(attempt=10))
    world.run()
    world.start("a")
    world.nodes_work = False


def test_a_timeout_while_a_suspended_attempt_ends_is_not_charged_though_the_job_was_resumed(world: World) -> None:
    deaf(world)
    world.edit("a", suspend=True)
    world.run()
    world.edit("a", suspend=False)
    world.let_pass(50)
    status = world.status("a")
    assert (status.attempt, status.retries) == (2, 0)


def test_a_timeout_while_a_cancelled_attempt_ends_does_not_revive_a_run_that_a_rerun_is_to_follow(world: World) -> None:
    deaf(world)
    world.edit("a", cancel=True)
    world.run()
    world.edit("a", cancel=False, rerun=1)
    world.let_pass(50)
    assert [attempt[1:] for attempt in world.launched] == [(0, 0, 1), (1, 0, 1)], "run, member, attempt"
    assert world.story("a")[3] == "3: Running -> Cancelled (CancelledByUser)"


def test_a_job_that_is_resumed_while_it_backs_off_says_so(world: World) -> None:
    world.submit(a_job("a").retrying(1, initial_seconds=100))
    world.run()
    world.fail("a")
    for suspend in (True, False):
        world.edit("a", suspend=suspend)
        world.run()
    status = world.status("a")
    assert (status.reason, status.message) == (Reason.BACKING_OFF, "the next attempt not before 12:01:41 UTC")


def test_the_pod_of_a_deleted_taskjob_is_removed_though_it_was_told_to_end_a_moment_ago(world: World) -> None:
    deaf(world)
    world.edit("a", suspend=True)
    world.run()
    world.delete("a")
    world.run()
    assert [end.by for end in world.ended] == [EndBy.DEADLINE, EndBy.DELETE]
    assert world.pods == {}
