"""Who starts, and when: order, quota, room, what is told to those that wait."""

from __future__ import annotations

from datetime import timedelta

from builders import a_job, a_queue, amounts, at
from taskjob.core.decisions import Launch
from taskjob.core.model import CohortName
from taskjob.core.phases import Phase, Reason
from world import World


def a_world(cpu: float = 2, **settings: int) -> World:
    world = World(**settings)  # type: ignore[arg-type]  # settings by name
    world.put_queue(a_queue(quota={"cpu": cpu}))
    return world


# ------------------------------------------------------------------ cost
def test_success_costs_one_launch_and_two_status_writes() -> None:
    world = a_world()
    world.submit(a_job("a"))
    world.run()
    world.start("a")
    world.let_pass(60)
    world.finish("a")
    assert world.names_launched() == ["a"]
    assert [status.phase for _, status in world.written] == [Phase.RUNNING, Phase.SUCCEEDED]


def test_a_pod_that_ends_before_anybody_looks_costs_one_status_write() -> None:
    world = a_world()
    world.submit(a_job("a"))
    world.run()
    world.finish("a")
    assert [status.phase for _, status in world.written] == [Phase.SUCCEEDED]
    assert world.story("a") == [
        "0:  -> Pending (Queued)",
        "1: Pending -> Starting (Launched)",
        "2: Starting -> Running (Started)",
        "3: Running -> Succeeded (Completed)",
    ]


def test_a_pod_that_is_slow_to_start_is_shown_as_starting() -> None:
    world = a_world()
    world.submit(a_job("a"))
    world.let_pass(9.9)
    assert world.written == []
    world.let_pass(0.1)
    assert world.phase("a") is Phase.STARTING


def test_looking_again_at_the_same_instant_decides_nothing() -> None:
    world = a_world()
    world.submit(a_job("a"), a_job("b").asking(cpu=2), a_job("c").after("a"), a_job("d").asking(cpu=9))
    world.holding = True
    world.cycle()
    again = world.cycle()
    assert (again.decisions, again.entries) == ((), ())


# ------------------------------------------------------------------ order
def test_the_higher_priority_starts_first_then_the_older_then_the_first_by_name() -> None:
    world = a_world(cpu=1)
    world.submit(
        a_job("low").of_priority("Low").created(0),
        a_job("b").created(5),
        a_job("a").created(5),
        a_job("older").created(4),
        a_job("high").of_priority("High").created(9),
        a_job("critical").of_priority("Critical").created(9),
    )
    for _ in range(6):
        world.run()
        world.finish(world.names_launched()[-1])
    assert world.names_launched() == ["critical", "high", "older", "a", "b", "low"]


def test_the_order_in_which_jobs_arrive_does_not_matter() -> None:
    one, other = a_world(cpu=1), a_world(cpu=1)
    jobs = [a_job("c").after("a"), a_job("b"), a_job("a").of_priority("High"), a_job("d").after("b", "c")]
    one.submit(*jobs)
    other.submit(*reversed(jobs))
    for world in (one, other):
        for _ in jobs:
            world.run()
            world.finish(world.names_launched()[-1])
    assert one.names_launched() == other.names_launched() == ["a", "b", "c", "d"]


def test_what_is_larger_may_be_passed_by_what_is_smaller() -> None:
    world = a_world(cpu=2)
    world.submit(a_job("running").asking(cpu=1))
    world.run()
    world.submit(a_job("large").asking(cpu=2).of_priority("High"), a_job("small").asking(cpu=1))
    world.run()
    assert world.names_launched() == ["running", "small"]
    assert world.status("large").reason is Reason.WAITING_FOR_QUOTA


def test_a_job_whose_priority_is_raised_while_it_waits_goes_first() -> None:
    world = a_world(cpu=1)
    world.submit(a_job("running"), a_job("a").created(1), a_job("z").created(2))
    world.run()
    world.edit("z", priority=1000)
    world.run()
    world.finish("running")
    assert world.names_launched() == ["running", "z"]


def test_with_little_room_priority_decides_over_all_queues_and_cycles() -> None:
    world = World(room=1)
    world.put_queue(a_queue("a"))
    world.put_queue(a_queue("z"))
    world.holding = True
    world.submit(a_job("1").in_queue("a"), a_job("2").in_queue("a"), a_job("3").in_queue("z").of_priority("High"))
    launches = []
    for _ in range(2):
        launches += [d.job.name for d in world.cycle().decisions if isinstance(d, Launch)]
    world.submit(a_job("urgent").in_queue("z").of_priority("Critical"))
    for _ in range(3):
        launches += [d.job.name for d in world.cycle().decisions if isinstance(d, Launch)]
    assert launches == ["3", "1", "urgent", "2"]


def test_with_little_room_a_flood_of_one_queue_does_not_come_before_a_later_job_of_another() -> None:
    world = World(room=1)
    world.put_queue(a_queue("flooded"))
    world.put_queue(a_queue("other"))
    world.submit(*(a_job(f"flood-{number}").in_queue("flooded") for number in range(100)))
    for _ in range(10):
        world.cycle()
    world.now += timedelta(seconds=5)
    world.submit(*(a_job(f"few-{number}").in_queue("other") for number in range(2)))
    for _ in range(5):
        world.cycle()
    assert [name.split("-")[0] for name in world.names_launched()[10:]] == ["few", "flood", "few", "flood", "flood"]


def test_with_little_room_the_queues_of_a_cohort_share_one_turn() -> None:
    world = World(room=1)
    world.put_queue(a_queue("left", cohort=CohortName("both")))
    world.put_queue(a_queue("right", cohort=CohortName("both")))
    world.put_queue(a_queue("alone"))
    for name in ("left", "right", "alone"):
        world.submit(*(a_job(f"{name}-{number}").in_queue(name) for number in range(4)))
    for _ in range(8):
        world.cycle()
    queues = [name.split("-")[0] for name in world.names_launched()]
    assert queues == ["alone", "left"] * 4


def test_without_room_nothing_starts_and_nobody_is_told_a_wrong_reason() -> None:
    world = a_world()
    world.room = 0
    world.submit(a_job("a"))
    world.cycle()
    assert world.names_launched() == []
    assert world.status("a").reason is Reason.QUEUED
    world.room = 1
    world.cycle()
    assert world.names_launched() == ["a"]


# ------------------------------------------------------------------ quota
def test_quota_is_never_exceeded_by_admission() -> None:
    world = a_world(cpu=2)
    world.submit(*(a_job(f"j{i}").asking(cpu=0.7) for i in range(5)))
    world.run()
    assert len(world.launched) == 2
    world.finish("j0")
    assert len(world.launched) == 3


def test_quota_is_reserved_before_the_pod_is_created() -> None:
    world = a_world(cpu=1)
    world.holding = True
    world.submit(a_job("a"))
    world.cycle()
    world.submit(a_job("b"))
    world.cycle()
    assert [d.job.name for d in world.pending if isinstance(d, Launch)] == ["a"]


def test_a_pod_that_admission_made_larger_is_charged_as_created() -> None:
    world = a_world(cpu=3)
    world.admitted_as["a"] = amounts(cpu=3)  # type: ignore[index]  # a name
    world.submit(a_job("a").asking(cpu=1))
    world.run()
    world.submit(a_job("b").asking(cpu=1))
    world.run()
    assert world.names_launched() == ["a"]
    world.finish("a")
    assert world.names_launched() == ["a", "b"]
    assert world.state.queues.by_name[world.job("b").queue].ledger.usage == dict(amounts(cpu=1))


def test_quota_is_free_when_the_pod_disappears() -> None:
    world = a_world(cpu=1)
    world.submit(a_job("a"), a_job("b"))
    world.run()
    world.lose_pod(world.pod("a"))
    world.run()
    assert world.names_launched() == ["a", "b"]


def test_a_terminating_pod_is_charged_until_it_is_gone() -> None:
    world = a_world(cpu=1)
    world.submit(a_job("a"), a_job("b"))
    world.run()
    world.start("a")
    world.put_pod(world.pod("a"), deleting=True)
    world.let_pass(10)
    assert world.names_launched() == ["a"]
    world.lose_pod(world.pod("a"))
    world.run()
    assert world.names_launched() == ["a", "b"]


def test_the_pod_of_a_deleted_taskjob_is_charged_until_it_is_gone() -> None:
    world = a_world(cpu=1)
    world.submit(a_job("a"), a_job("b"))
    world.run()
    world.start("a")
    world.holding = True
    world.delete("a")
    world.cycle()
    assert [d for d in world.pending if isinstance(d, Launch)] == []
    world.answer()
    assert world.ended[-1].why == "no attempt of a TaskJob needs it"
    assert world.names_launched() == ["a", "b"]


def test_a_taskjob_deleted_while_its_pod_is_created_keeps_the_reservation_until_the_answer() -> None:
    world = a_world(cpu=1)
    world.holding = True
    world.submit(a_job("a"), a_job("b").created(1))
    world.cycle()
    (launch,) = [d for d in world.pending if isinstance(d, Launch)]
    world.pending.clear()
    world.delete("a")
    world.cycle()
    assert not any(isinstance(d, Launch) for d in world.pending)
    world.state.not_launched(launch.attempt, None, world.now)
    assert [d.job.name for d in world.cycle().decisions if isinstance(d, Launch)] == ["b"]


def test_a_resource_that_the_quota_does_not_name_is_not_limited() -> None:
    world = a_world(cpu=2)
    world.submit(a_job("a").asking(cpu=1, memory=10**15))
    world.run()
    assert world.names_launched() == ["a"]


def test_what_can_never_fit_is_told_so_at_once_even_when_the_queue_is_empty() -> None:
    world = a_world(cpu=2)
    world.submit(a_job("a").asking(cpu=3))
    world.run()
    assert world.status("a").reason is Reason.EXCEEDS_QUOTA
    assert world.status("a").message == (
        'asks for cpu 3, more than all of the quota of queue "default" (2): ask for less, or raise the quota'
    )


def test_a_raised_quota_starts_what_waited_and_a_lowered_one_takes_nothing_back() -> None:
    world = a_world(cpu=1)
    world.submit(a_job("a"), a_job("b"), a_job("big").asking(cpu=3))
    world.run()
    assert world.names_launched() == ["a"]
    world.put_queue(a_queue(quota={"cpu": 4}))
    world.run()
    assert world.names_launched() == ["a", "b"]
    assert world.status("big").reason is Reason.WAITING_FOR_QUOTA
    world.put_queue(a_queue(quota={"cpu": 1}))
    world.run()
    assert world.status("big").reason is Reason.EXCEEDS_QUOTA
    world.start("a", "b")
    world.let_pass(3)
    assert world.phases() == {"a": "Running", "b": "Running", "big": "Pending"}


def test_an_unknown_queue_holds_the_job_until_the_queue_appears() -> None:
    world = World()
    world.submit(a_job("a").in_queue("nowhere"))
    world.run()
    assert world.status("a").reason is Reason.QUEUE_NOT_FOUND
    assert "nowhere" in world.status("a").message
    world.put_queue(a_queue("nowhere"))
    world.run()
    assert world.names_launched() == ["a"]


def test_a_job_moved_to_another_queue_waits_there() -> None:
    world = World()
    world.put_queue(a_queue("full", quota={"cpu": 0}))
    world.put_queue(a_queue("free"))
    world.submit(a_job("a").in_queue("full"))
    world.run()
    assert world.status("a").reason is Reason.EXCEEDS_QUOTA
    world.edit("a", queue="free")
    world.run()
    assert world.names_launched() == ["a"]
    assert not world.state.queues.by_name[world.job("a").queue].line


def test_a_deleted_queue_leaves_what_runs_and_tells_what_waits() -> None:
    world = a_world(cpu=1)
    world.submit(a_job("a"), a_job("b"))
    world.run()
    world.start("a")
    world.delete_queue("default")
    world.let_pass(3)
    assert world.phase("a") is Phase.RUNNING
    assert world.status("b").reason is Reason.QUEUE_NOT_FOUND
    world.put_queue(a_queue(quota={"cpu": 1}))
    world.run()
    assert world.status("b").reason is Reason.WAITING_FOR_QUOTA, "what runs is still charged"
    world.finish("a")
    assert world.names_launched() == ["a", "b"]


def test_a_queue_that_cannot_be_used_holds_its_jobs_and_says_why() -> None:
    world = World()
    queue = a_queue()
    world.put_queue(type(queue)(queue.name, problem='spec.quota.cpu: "x" is not a quantity'))
    world.submit(a_job("a"))
    world.run()
    assert world.status("a").reason is Reason.QUEUE_NOT_FOUND
    assert '"x" is not a quantity' in world.status("a").message


# ------------------------------------------------------------------ what those that wait are told
def test_why_it_waits_is_written_once_per_reason_whatever_happens_meanwhile() -> None:
    world = a_world(cpu=1)
    world.submit(a_job("a"), a_job("b"), *(a_job(f"c{i}") for i in range(5)))
    world.run()
    written = len(world.written)
    world.finish("a")
    assert [name for name, _ in world.written[written:]] == ["a"]


def test_an_explanation_whose_write_failed_is_asked_for_again() -> None:
    world = a_world(cpu=1)
    world.submit(a_job("a"), a_job("b"))
    world.holding = True
    (write,) = [d for d in world.cycle().decisions if not isinstance(d, Launch)]
    world.state.not_written(write)  # type: ignore[arg-type]  # the only other decision
    assert [type(d) for d in world.cycle().decisions] == [type(write)]


def test_an_explanation_survives_that_the_taskjob_changed_before_it_was_written() -> None:
    world = a_world(cpu=1)
    world.submit(a_job("a"), a_job("b"))
    world.holding = True
    world.cycle()
    world.put(world.job("b"))  # a label, say: a new version
    world.cycle()
    world.answer()
    assert world.status("b").reason is Reason.WAITING_FOR_QUOTA


def test_figures_of_a_wait_name_what_is_left() -> None:
    world = a_world(cpu=2)
    world.submit(a_job("a").asking(cpu=1.5), a_job("b").asking(cpu=1))
    world.run()
    assert world.status("b").message == 'needs cpu 1; queue "default" has 500m of 2 left'


# ------------------------------------------------------------------ invalid objects
def test_an_invalid_object_is_held_with_its_problem_and_harms_nobody() -> None:
    world = a_world()
    world.submit(a_job("bad").with_problem("spec.queue: is missing"), a_job("good"), a_job("after").after("bad"))
    world.run()
    world.finish("good")
    assert world.status("bad").reason is Reason.INVALID_SPEC
    assert world.status("bad").message == "spec.queue: is missing"
    assert world.status("after").reason is Reason.WAITING_FOR_DEPENDENCIES
    world.edit("bad", problem="spec.image: is missing")
    world.run()
    assert world.status("bad").message == "spec.image: is missing"
    world.edit("bad", problem=None)
    world.run()
    world.finish("bad")
    assert world.names_launched() == ["good", "bad", "after"]


def test_a_job_that_cannot_be_decided_about_is_reported_and_the_others_go_on() -> None:
    world = a_world()
    world.submit(a_job("odd").timing_out(job=10**30), a_job("good"))
    world.room = 10
    from taskjob.core.cycle import plan  # the world asserts that there are no faults

    made = plan(world.state, at(0), 10)
    assert [fault.uid for fault in made.faults] == ["uid-odd"]
    assert [d.job.name for d in made.decisions if isinstance(d, Launch)] == ["good"]
