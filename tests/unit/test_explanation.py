"""Why a job is where it is: reasons, figures, places and holders, as the state has them at that moment."""

from __future__ import annotations

from builders import JobBuilder, a_job, a_queue
from taskjob.core import sentences
from taskjob.core.explanation import NAMED_MAX, Awaited, Explanation, Holder, Lack, Place, explanation
from taskjob.core.model import JobKey, JobName, Namespace
from taskjob.core.phases import ConcurrencyScope, Condition, OnDependencyFailure, Phase, Reason, Strategy
from world import World

TEAM = Namespace("team")


def a_world(*builders: JobBuilder, cpu: float = 2) -> World:
    world = World()
    world.put_queue(a_queue(quota={"cpu": cpu}))
    world.submit(*builders)
    world.run()
    return world


def why(world: World, name: str) -> Explanation:
    return explanation(world.state, world.state.jobs[world.job(name).uid], world.now)


def test_a_job_that_lacks_quota_is_told_how_much_who_holds_it_and_its_place() -> None:
    world = a_world(
        a_job("small").asking(cpu=0.5),
        a_job("first").asking(cpu=2),
        a_job("second").asking(cpu=2),
        a_job("urgent").asking(cpu=1).of_priority("High").created(1),
    )
    assert world.names_launched() == ["urgent", "small"]
    told = why(world, "second")
    assert (told.status.phase, told.status.reason) == (Phase.PENDING, Reason.WAITING_FOR_QUOTA)
    assert told.lack == Lack("cpu", 2000, 500, 2000)
    assert told.place == Place(2, 2)
    assert [(holder.job, holder.amount) for holder in told.holders] == [
        (JobKey(TEAM, JobName("urgent")), 1000),
        (JobKey(TEAM, JobName("small")), 500),
    ]
    assert told.holders_total == 2


def test_places_follow_the_order_of_admission() -> None:
    world = a_world(a_job("now").asking(cpu=2))
    world.submit(
        a_job("normal").asking(cpu=2).created(2),
        a_job("low").asking(cpu=1).of_priority("Low").created(1),
        a_job("high").asking(cpu=1).of_priority("High").created(3),
        a_job("later").after("now"),
        a_job("huge").asking(cpu=3),
    )
    world.run()
    assert [why(world, name).place for name in ("high", "normal", "low")] == [Place(1, 3), Place(2, 3), Place(3, 3)]
    assert why(world, "later").place is None


def test_only_the_largest_holders_are_named_and_all_are_counted() -> None:
    world = a_world(*(a_job(f"j{n:02}").asking(cpu=1) for n in range(NAMED_MAX + 5)), cpu=NAMED_MAX + 3)
    told = why(world, f"j{NAMED_MAX + 4:02}")
    assert (len(told.holders), told.holders_total) == (NAMED_MAX, NAMED_MAX + 3)


def test_a_pod_whose_taskjob_is_gone_still_holds() -> None:
    world = a_world(a_job("ghost").asking(cpu=2), a_job("next").asking(cpu=1))
    world.holding = True
    world.delete("ghost")
    world.run()
    told = why(world, "next")
    assert told.lack == Lack("cpu", 1000, 0, 2000)
    assert told.holders == (Holder(None, world.job("next").queue, 2000),)


def test_a_request_beyond_the_quota_or_an_unknown_queue_has_no_place() -> None:
    world = a_world(a_job("huge").asking(cpu=3), a_job("lost").in_queue("nowhere"))
    assert (why(world, "huge").status.reason, why(world, "huge").place) == (Reason.EXCEEDS_QUOTA, None)
    assert (why(world, "lost").status.reason, why(world, "lost").place) == (Reason.QUEUE_NOT_FOUND, None)


def test_dependencies_are_named_with_their_phases() -> None:
    world = a_world(
        a_job("a").asking(cpu=1),
        a_job("b").asking(cpu=1),
        a_job("c").after("a").after("b", "d", condition=Condition.FINISHED),
    )
    world.start("a")
    world.finish("b")
    told = why(world, "c")
    assert told.status.reason is Reason.WAITING_FOR_DEPENDENCIES
    assert told.awaited == (
        Awaited(JobName("a"), Condition.SUCCEEDED, world.phase("a")),
        Awaited(JobName("d"), Condition.FINISHED, None),
    )
    assert told.awaited_total == 2
    assert '"b"' not in told.status.message, "figures of this moment, not of when the status was written"


def test_of_many_dependencies_the_first_are_named() -> None:
    names = [f"d{n}" for n in range(NAMED_MAX + 7)]
    told = why(a_world(a_job("c").after(*names)), "c")
    assert [each.name for each in told.awaited] == names[:NAMED_MAX]
    assert told.awaited_total == NAMED_MAX + 7


def test_a_dependency_that_can_never_be_met_is_waited_for_if_that_is_wanted() -> None:
    world = a_world(a_job("a"), a_job("b").after("a").on_dependency_failure(OnDependencyFailure.WAIT))
    world.start("a")
    world.fail("a")
    told = why(world, "b")
    assert told.awaited == (Awaited(JobName("a"), Condition.SUCCEEDED, Phase.FAILED),)


def test_a_job_that_backs_off_is_told_until_when() -> None:
    world = a_world(a_job("a").retrying(1))
    world.start("a")
    world.fail("a")
    told = why(world, "a")
    assert told.status.reason is Reason.BACKING_OFF
    assert told.until == world.status("a").not_before


def test_what_the_server_said_of_a_pod_is_passed_on() -> None:
    world = World()
    world.put_queue(a_queue())
    world.refusing[JobName("a")] = "exceeded quota: compute"
    world.submit(a_job("a"))
    world.run()
    told = why(world, "a")
    assert (told.status.reason, told.status.message) == (Reason.POD_REFUSED, "exceeded quota: compute")
    assert told.until is not None
    assert told.until > world.now


def test_a_job_that_was_just_admitted_is_not_said_to_wait() -> None:
    world = World(holding=True)
    world.put_queue(a_queue())
    world.submit(a_job("a"))
    world.run()
    assert why(world, "a").status.message == "admitted: its pod is being created"


def test_running_and_ended_jobs_are_told_as_their_pods_show_them() -> None:
    world = a_world(a_job("runs").asking(cpu=1), a_job("done").asking(cpu=1))
    world.start("runs")
    world.finish("done")
    assert why(world, "runs").status.phase is Phase.RUNNING, "also before its status says so"
    assert why(world, "done").status.reason is Reason.COMPLETED


def test_a_job_whose_concurrency_key_is_taken_is_told_who_has_it() -> None:
    world = a_world(a_job("a").holding("db").asking(cpu=1), a_job("b").holding("db").asking(cpu=1))
    told = why(world, "b")
    assert told.status.reason is Reason.CONCURRENCY_LIMIT
    assert told.holders == (Holder(JobKey(TEAM, JobName("a")), world.job("a").queue, 1),)
    assert told.told()["holders"] == [{"namespace": TEAM, "name": "a", "queue": "default", "amount": "1"}]


def test_what_is_said_of_a_queues_key_or_of_a_preemption_names_nobody_of_another_namespace() -> None:
    """The status, and history, are read by all who may read the job."""
    shared = ConcurrencyScope.QUEUE
    world = a_world(
        a_job("theirs").in_namespace("other").holding("db", scope=shared).asking(cpu=1),
        a_job("ours").holding("db", scope=shared).asking(cpu=1).created(1),
    )
    assert world.status("ours").reason is Reason.CONCURRENCY_LIMIT
    assert world.status("ours").message == 'concurrency key "db" of queue "default" is held by 1 job (limit 1)'
    assert "theirs" not in sentences.preempted(world.job("theirs"))


def test_a_job_for_which_something_is_kept_is_named() -> None:
    world = World()
    world.put_queue(a_queue(quota={"cpu": 2}, strategy=Strategy.STRICT_FIFO))
    world.submit(a_job("a").asking(cpu=1), a_job("b").asking(cpu=2), a_job("c").asking(cpu=1))
    world.run()
    told = why(world, "c")
    assert (told.status.reason, told.lack, told.behind) == (
        Reason.WAITING_FOR_QUOTA,
        None,
        JobKey(TEAM, JobName("b")),
    )
    assert told.place == Place(2, 2)


def test_as_json_amounts_are_quantities_and_instants_end_in_z() -> None:
    world = a_world(a_job("a").asking(cpu=1.5), a_job("b").asking(cpu=1).retrying(1))
    told = why(world, "b").told()
    assert told["lacking"] == {"resource": "cpu", "asked": "1", "available": "500m", "limit": "2"}
    assert told["holders"] == [{"namespace": TEAM, "name": "a", "queue": "default", "amount": "1500m"}]
    assert told["place"] == {"position": 1, "of": 1}
    assert world.state.jobs[world.job("a").uid].job.key == JobKey(TEAM, JobName("a"))
    world.finish("a")
    world.start("b")
    world.fail("b")
    assert str(why(world, "b").told()["until"]).endswith("Z")
