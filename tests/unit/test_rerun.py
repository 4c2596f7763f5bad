"""`spec.rerun`: a finished job runs again, under a greater run."""

from __future__ import annotations

import pytest

from builders import a_job, a_queue, at
from taskjob.core.model import AttemptId, Uid
from taskjob.core.phases import Condition, Phase, Reason
from world import World


@pytest.fixture
def world() -> World:
    world = World()
    world.put_queue(a_queue(quota={"cpu": 1}))
    return world


def runs(world: World, name: str) -> list[tuple[int, int]]:
    """The attempts that were launched, as (run, attempt)."""
    return [(attempt.run, attempt.attempt) for attempt in world.launched if attempt.uid == f"uid-{name}"]


def test_raising_it_starts_a_finished_job_again_with_attempts_of_its_own(world: World) -> None:
    world.submit(a_job("a").retrying(1, initial_seconds=0))
    world.run()
    world.fail("a")
    world.fail("a")
    assert world.phase("a") is Phase.FAILED
    world.let_pass(100)
    world.edit("a", rerun=1)
    world.run()
    status = world.status("a")
    assert (status.phase, status.run, status.attempt, status.retries) == (Phase.PENDING, 1, 0, 0)
    assert (status.previous_phase, status.run_at, status.finished_at) == (Phase.FAILED, at(100), None)
    world.fail("a")
    world.finish("a")
    assert runs(world, "a") == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert (world.phase("a"), world.status("a").run, world.status("a").retries) == (Phase.SUCCEEDED, 1, 1)


def test_history_is_told_of_both_runs_in_one_row_of_numbers(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.finish("a")
    world.edit("a", rerun=1)
    world.run()
    world.fail("a")
    assert world.story("a") == [
        "0:  -> Pending (Queued)",
        "1: Pending -> Starting (Launched)",
        "2: Starting -> Running (Started)",
        "3: Running -> Succeeded (Completed)",
        "4: Succeeded -> Pending (Queued)",
        "5: Pending -> Starting (Launched)",
        "6: Starting -> Running (Started)",
        "7: Running -> Failed (AttemptFailed)",
    ]
    rows = {row.n: row.attempt for entry in world.entries for row in entry.transitions}
    uid = Uid("uid-a")
    assert (rows[3], rows[4], rows[5]) == (AttemptId(uid, 0, 0, 1), AttemptId(uid, 1, 0, 0), AttemptId(uid, 1, 0, 1))


def test_an_operator_that_starts_in_the_middle_tells_the_rerun_as_the_one_before_would_have(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.finish("a")
    world.edit("a", rerun=1)
    world.history_away = True  # from here on the first operator's rows are lost with it
    world.run()
    world.start("a")
    world.crash()
    world.history_away = False
    world.finish("a")
    assert world.story("a")[4:] == [
        "4: Succeeded -> Pending (Queued)",
        "5: Pending -> Starting (Launched)",
        "6: Starting -> Running (Started)",
        "7: Running -> Succeeded (Completed)",
    ]


def test_a_rerun_waits_until_history_holds_how_the_run_before_ended(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.history_away = True
    world.finish("a")
    world.edit("a", rerun=1)
    world.run()
    assert world.phase("a") is Phase.SUCCEEDED
    world.history_returns()
    assert runs(world, "a") == [(0, 1), (1, 1)]


def test_a_rerun_of_a_job_that_has_not_finished_begins_when_it_ends(world: World) -> None:
    world.submit(a_job("a").retrying(1, initial_seconds=5))
    world.run()
    world.start("a")
    world.edit("a", rerun=3)
    world.run()
    world.fail("a")
    assert world.status("a").reason is Reason.BACKING_OFF, "its retry belongs to the run that is under way"
    world.let_pass(10)
    world.fail("a")
    assert runs(world, "a") == [(0, 1), (0, 2), (3, 1)], "raised by three it runs once more, not three times"
    world.finish("a")
    world.let_pass(1000)
    assert (world.phase("a"), world.status("a").run) == (Phase.SUCCEEDED, 3)


def test_a_job_of_which_nothing_has_begun_just_takes_the_number(world: World) -> None:
    world.submit(a_job("first"), a_job("a").to_run_again(2))
    world.run()
    world.edit("a", rerun=4)
    world.finish("first")
    world.finish("a")
    world.let_pass(1000)
    assert runs(world, "a") == [(4, 1)]
    assert (world.phase("a"), world.status("a").previous_phase) == (Phase.SUCCEEDED, None)


def test_raised_while_a_later_run_waits_it_runs_once_more(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.finish("a")
    world.submit(a_job("blocker"))
    world.run()
    world.edit("a", rerun=1)
    world.run()
    world.edit("a", rerun=2)
    world.run()
    world.finish("blocker")
    world.finish("a")
    world.finish("a")
    assert runs(world, "a") == [(0, 1), (1, 1), (2, 1)]


def test_a_rerun_of_a_cancelled_job_runs(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.edit("a", cancel=True)
    world.run()
    assert world.phase("a") is Phase.CANCELLED
    world.edit("a", cancel=False, rerun=1)
    world.run()
    world.finish("a")
    assert world.phase("a") is Phase.SUCCEEDED


def test_its_deadline_and_its_place_in_the_queue_count_from_the_rerun(world: World) -> None:
    world.submit(a_job("a").timing_out(job=60))
    world.run()
    world.finish("a")
    world.let_pass(100)
    world.submit(a_job("blocker"), a_job("waiting"))
    world.run()
    world.let_pass(1)
    world.edit("a", rerun=1)
    world.run()
    world.finish("blocker")
    world.finish("waiting")
    assert world.names_launched() == ["a", "blocker", "waiting", "a"]
    world.let_pass(59)
    world.start("a")
    assert world.status("a").stopping is None
    world.let_pass(2)
    assert (world.phase("a"), world.status("a").message) == (
        Phase.FAILED,
        "not finished within 60 s of its rerun (spec.deadlineSeconds)",
    )


# ------------------------------------------------------------------ dependents
def test_finished_dependents_stay_and_waiting_ones_wait_for_the_new_run(world: World) -> None:
    world.submit(a_job("a"), a_job("x").asking(cpu=0), a_job("done").after("a"), a_job("both").after("a", "x"))
    world.run()
    world.finish("a")
    world.finish("done")
    world.edit("a", rerun=1)
    world.run()
    world.finish("x")
    assert (world.phase("done"), world.phase("both")) == (Phase.SUCCEEDED, Phase.PENDING)
    world.finish("a")
    assert world.names_launched() == ["a", "x", "done", "a", "both"]


def test_a_dependent_that_waits_sees_the_rerun_at_once_not_when_it_begins(world: World) -> None:
    world.submit(a_job("a"), a_job("x").asking(cpu=0), a_job("b").after("a", "x"))
    world.run()
    world.finish("a")
    world.history_away = True  # so that the new run does not begin
    world.edit("a", rerun=1)
    world.finish("x")
    assert "b" not in world.names_launched()
    world.history_returns()
    world.finish("a")
    assert world.names_launched() == ["a", "x", "a", "b"]


def test_a_rerun_asked_for_before_the_failure_keeps_dependents_waiting(world: World) -> None:
    world.submit(a_job("a"), a_job("b").after("a"))
    world.run()
    world.edit("a", rerun=1)
    world.fail("a")
    assert world.phase("b") is Phase.PENDING
    world.finish("a")
    world.finish("b")
    assert world.phase("b") is Phase.SUCCEEDED


def test_a_skipped_dependent_stays_so_unless_it_is_rerun_itself(world: World) -> None:
    world.submit(a_job("a"), a_job("b").after("a"))
    world.run()
    world.fail("a")
    world.edit("a", rerun=1)
    world.run()
    world.finish("a")
    assert world.phase("b") is Phase.SKIPPED
    world.edit("b", rerun=1)
    world.run()
    world.finish("b")
    assert world.phase("b") is Phase.SUCCEEDED
    assert world.story("b")[:2] == ["0:  -> Pending (Queued)", "1: Pending -> Skipped (DependencyNotSatisfied)"]


def test_a_rerun_of_both_waits_in_their_order(world: World) -> None:
    world.submit(a_job("a"), a_job("b").after("a"))
    world.run()
    world.fail("a")
    world.edit("b", rerun=1)
    world.edit("a", rerun=1)
    world.run()
    assert world.phase("b") is Phase.PENDING
    world.finish("a")
    assert world.names_launched() == ["a", "a", "b"]


def test_a_condition_failed_that_was_met_is_waited_for_again(world: World) -> None:
    world.submit(a_job("a"), a_job("x").asking(cpu=0), a_job("b").after("a", condition=Condition.FAILED).after("x"))
    world.run()
    world.fail("a")
    world.edit("a", rerun=1)
    world.run()
    world.finish("x")
    world.finish("a")
    assert world.phase("b") is Phase.SKIPPED


# ------------------------------------------------------------------ removal
def test_a_job_that_is_to_run_again_is_not_removed(world: World) -> None:
    world.default_ttl_seconds = world.state.default_ttl_seconds = 50
    world.submit(a_job("a"))
    world.run()
    world.finish("a")
    world.holding = True
    world.let_pass(50)
    assert [type(decision).__name__ for decision in world.pending] == ["RemoveJob"]
    world.edit("a", rerun=1)  # in the last moment: the delete names the version before it
    world.answer()
    world.run()
    assert "a" not in world.removed
    world.finish("a")
    assert world.phase("a") is Phase.SUCCEEDED
    world.let_pass(50)
    assert "a" in world.removed


def test_its_dependencies_stay_while_it_is_to_run_again(world: World) -> None:
    world.submit(a_job("a").kept_for(5), a_job("b").after("a"))
    world.run()
    world.finish("a")
    world.edit("b", rerun=1)
    world.finish("b")
    world.let_pass(60)
    assert {job.name for job in world.jobs.values()} == {"a", "b"}
    world.finish("b")
    world.let_pass(60)
    assert world.status("b").run == 1
    assert {job.name for job in world.jobs.values()} == {"b"}
