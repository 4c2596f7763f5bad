"""When ended pods and finished TaskJobs go: never before history and their logs are safe."""

from __future__ import annotations

import pytest

from builders import a_job, a_queue
from taskjob.core.decisions import KeepLog
from taskjob.core.phases import Phase, PodRetention
from world import World


@pytest.mark.parametrize(
    ("retention", "removed"),
    [
        (PodRetention.DELETE, ["bad-1", "good-1"]),
        (PodRetention.KEEP_FAILED, ["good-1"]),
        (PodRetention.KEEP, []),
    ],
)
def test_ended_pods_go_as_the_job_says(world: World, retention: PodRetention, removed: list[str]) -> None:
    world.submit(a_job("good").kept_for(10**6, retention), a_job("bad").kept_for(10**6, retention))
    world.run()
    world.finish("good")
    world.fail("bad")
    assert sorted(world.removed) == removed
    assert {str(attempt.uid) for attempt in world.logs} == {"uid-good", "uid-bad"}, "every log is kept"


def test_the_pods_of_earlier_attempts_go_too_once_their_retry_is_recorded(world: World) -> None:
    world.submit(a_job("a").retrying(1, initial_seconds=1))
    world.run()
    world.fail("a")
    assert world.removed == ["a-1"]
    world.let_pass(2)
    world.finish("a")
    assert world.removed == ["a-1", "a-2"]


def test_a_pod_stays_until_history_holds_its_end(world: World) -> None:
    world.history_away = True
    world.submit(a_job("a"))
    world.run()
    world.finish("a")
    assert (world.phase("a"), world.removed) == (Phase.SUCCEEDED, []), "scheduling goes on without history"
    world.history_returns()
    assert world.removed == ["a-1"]


def test_a_pod_stays_until_its_log_is_kept(world: World) -> None:
    world.logs_away = True
    world.submit(a_job("a"))
    world.run()
    world.finish("a")
    assert world.removed == []
    world.logs_return()
    assert world.removed == ["a-1"]


def test_a_log_is_asked_for_once(world: World) -> None:
    world.logs_away = True
    world.submit(a_job("a"))
    world.run()
    world.finish("a")
    world.put(world.job("a"))
    world.run()
    assert len(world.logs) == 1


def test_a_pod_stays_until_the_status_shows_its_end(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.start("a")
    world.holding = True
    world.finish("a")
    for decision in [d for d in world.pending if isinstance(d, KeepLog)]:
        world.carry_out(decision)
    world.cycle()
    assert sorted(type(d).__name__ for d in world.pending) == ["KeepLog", "SetStatus"]


def test_a_removal_that_failed_is_asked_again(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    pod = world.pod("a")
    world.finish("a")
    assert world.removed == ["a-1"]
    world.put_pod(pod)
    world.holding = True
    world.cycle()
    world.pending.clear()
    world.state.pod_not_removed(pod)
    world.cycle()


# ------------------------------------------------------------------ the TaskJob itself
def test_a_finished_job_goes_when_its_time_is_over(world: World) -> None:
    world.submit(a_job("a").kept_for(60))
    world.run()
    world.finish("a")
    world.let_pass(59)
    assert "a" in world.phases()
    world.let_pass(1)
    assert world.phases() == {}
    assert world.entries[-1].gone_at == world.now
    assert world.story("a")[-1] == "3: Running -> Succeeded (Completed)"


def test_without_a_time_of_its_own_the_installations_holds() -> None:
    world = World(default_ttl_seconds=30)
    world.put_queue(a_queue())
    world.submit(a_job("a"))
    world.run()
    world.finish("a")
    world.let_pass(29)
    assert "a" in world.phases()
    world.let_pass(1)
    assert world.phases() == {}


def test_a_time_of_zero_removes_it_at_once_but_not_before_history_has_it(world: World) -> None:
    world.history_away = True
    world.submit(a_job("a").kept_for(0))
    world.run()
    world.finish("a")
    world.let_pass(1000)
    assert world.phases() == {"a": "Succeeded"}
    world.history_returns()
    assert world.phases() == {}


def test_a_finished_job_waits_for_its_logs(world: World) -> None:
    world.logs_away = True
    world.submit(a_job("a").kept_for(0))
    world.run()
    world.finish("a")
    world.let_pass(1000)
    assert world.phases() == {"a": "Succeeded"}
    world.logs_return()
    assert world.phases() == {}


def test_a_finished_job_waits_for_those_alive_that_name_it(world: World) -> None:
    world.submit(a_job("a").kept_for(10), a_job("b").after("a", "late"), a_job("c").after("a").kept_for(10**6))
    world.run()
    world.finish("a")
    world.finish("c")
    world.let_pass(1000)
    assert world.phases() == {"a": "Succeeded", "b": "Pending", "c": "Succeeded"}
    world.edit("b", cancel=True)
    world.run()
    assert world.phases() == {"b": "Cancelled", "c": "Succeeded"}


def test_a_job_may_go_when_the_last_that_named_it_was_deleted_or_names_another(world: World) -> None:
    world.submit(a_job("a").kept_for(10), a_job("b").after("a", "late"), a_job("c").after("a", "late"))
    world.run()
    world.finish("a")
    world.let_pass(100)
    world.delete("b")
    world.run()
    assert "a" in world.phases()
    world.edit("c", depends_on=())
    world.run()
    assert "a" not in world.phases()


def test_a_removal_refused_because_the_job_changed_is_decided_again(world: World) -> None:
    world.submit(a_job("a").kept_for(0))
    world.run()
    world.holding = True
    world.finish("a")
    while not any(type(d).__name__ == "RemoveJob" for d in world.pending):
        held, world.pending = world.pending, []
        for decision in held:
            world.carry_out(decision)
        world.cycle()
    world.pending.clear()
    world.state.job_not_removed(world.job("a").uid)
    assert [type(d).__name__ for d in world.cycle().decisions] == ["RemoveJob"]


def test_what_is_kept_by_retention_goes_with_its_taskjob(world: World) -> None:
    world.submit(a_job("a").kept_for(60, PodRetention.KEEP))
    world.run()
    world.finish("a")
    world.let_pass(60)
    assert (world.phases(), world.pods, world.state.pods) == ({}, {}, {})


def test_a_restarted_operator_removes_what_is_due(world: World) -> None:
    world.submit(a_job("a").kept_for(60))
    world.run()
    world.finish("a")
    world.crash()
    world.let_pass(60)
    assert world.phases() == {}
