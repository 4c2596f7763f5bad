"""Preemption in whole: a first in line that does not fit has others evicted, and starts when they have ended."""

from __future__ import annotations

from typing import Any

from builders import JobBuilder, a_job, a_queue
from pod_objects import a_launch, as_created, made
from taskjob.core.decisions import EndBy, Launch, SetStatus
from taskjob.core.model import Queue
from taskjob.core.phases import Phase, PodPhase, Preempt, Reason, Stopping, Strategy
from taskjob.kube.pods import parse_pod
from world import World


def a_preempting_queue(cpu: float = 2, name: str = "default", **terms: Any) -> Queue:
    rules = {"preemption_within_queue": Preempt.LOWER_PRIORITY, "min_runtime_seconds": 0}
    return a_queue(name, {"cpu": cpu}, **{**rules, **terms})


def a_world(*queues: Queue, **terms: Any) -> World:
    world = World()
    for queue in queues or (a_preempting_queue(**terms),):
        world.put_queue(queue)
    return world


def low(name: str, cpu: float = 1) -> JobBuilder:
    return a_job(name).of_priority("Low").asking(cpu=cpu)


def high(name: str, cpu: float = 1) -> JobBuilder:
    return a_job(name).of_priority("High").asking(cpu=cpu)


def run_and_start(world: World, *names: str) -> None:
    world.run()
    world.start(*names)


def preempted(world: World) -> list[str]:
    return [end.pod.job_name for end in world.ended]


def test_pods_with_the_longest_grace_period_are_stopped_and_waited_for_like_any_other() -> None:
    spec = {"containers": [{"name": "main", "image": "x"}], "terminationGracePeriodSeconds": 2**62}
    grace = parse_pod(as_created(made(a_launch({"spec": spec})))).grace_seconds
    world = a_world(cpu=2)
    world.pods_obey = False
    world.submit(low("cancelled"), low("orphaned"))
    run_and_start(world, "cancelled", "orphaned")
    for name in ("cancelled", "orphaned"):
        world.put_pod(world.pod(name), grace_seconds=grace)
    world.edit("cancelled", cancel=True)
    world.delete("orphaned")
    world.submit(high("high", cpu=2))
    world.let_pass(3600)
    assert {end.pod.job_name: end.by for end in world.ended} == {
        "cancelled": EndBy.DEADLINE,
        "orphaned": EndBy.DELETE,
    }
    assert world.names_launched() == ["cancelled", "orphaned"]


# ------------------------------------------------------------------ the life of a victim
def test_a_job_of_low_priority_makes_room_comes_back_and_succeeds_uncharged() -> None:
    world = a_world(cpu=1)
    world.submit(low("low"))
    run_and_start(world, "low")
    world.let_pass(5)
    world.submit(high("high"))
    world.run()
    assert preempted(world) == ["low"]
    assert world.names_launched() == ["low", "high"]
    assert (world.phase("low"), world.status("low").retries) == (Phase.PENDING, 0)
    world.finish("high")
    world.finish("low")
    assert world.phases() == {"low": "Succeeded", "high": "Succeeded"}
    assert (world.status("low").attempt, world.status("low").retries) == (2, 0)
    assert world.story("low")[3:5] == ["3: Running -> Pending (Preempted)", "4: Pending -> Starting (Launched)"]


def test_history_and_status_say_by_whom() -> None:
    world = a_world(cpu=1)
    world.submit(low("low"))
    run_and_start(world, "low")
    world.submit(high("high"))
    world.run()
    (row,) = [row for entry in world.entries for row in entry.transitions if row.reason is Reason.PREEMPTED]
    assert row.message == 'preempted for a job of queue "default", priority High'


def test_the_reason_stands_in_the_status_before_the_pod_is_ended() -> None:
    world = a_world(cpu=1)
    world.submit(low("low"))
    run_and_start(world, "low")
    world.submit(high("high"))
    world.holding = True
    decided = world.cycle().decisions
    stops = [d for d in decided if isinstance(d, SetStatus) and d.status.stopping is Stopping.PREEMPTED]
    assert [stop.job.name for stop in stops] == ["low"]
    assert world.ended == []
    world.answer()
    assert [end.by for end in world.ended] == [EndBy.DEADLINE]


def test_nobody_is_evicted_unless_the_queue_says_so() -> None:
    world = a_world(cpu=1, preemption_within_queue=Preempt.NEVER)
    world.submit(low("low"))
    run_and_start(world, "low")
    world.submit(high("high"))
    world.let_pass(600)
    assert preempted(world) == []


def test_a_victim_that_is_done_before_it_is_told_has_succeeded() -> None:
    world = a_world(cpu=1)
    world.submit(low("low"))
    run_and_start(world, "low")
    world.submit(high("high"))
    world.holding = True
    world.cycle()
    world.put_pod(world.pod("low"), phase=PodPhase.SUCCEEDED, finished_at=world.now, exit_code=0)
    world.answer()
    assert (world.phase("low"), world.phase("high")) == (Phase.SUCCEEDED, Phase.PENDING)
    assert world.names_launched() == ["low", "high"]


# ------------------------------------------------------------------ the shortest runtime
def test_nobody_is_evicted_before_it_has_run_as_long_as_promised() -> None:
    world = a_world(cpu=1, min_runtime_seconds=60)
    world.submit(low("low"))
    world.run()
    world.let_pass(20)
    world.start("low")
    world.submit(high("high"))
    world.let_pass(59)
    assert preempted(world) == []
    world.let_pass(1)
    assert preempted(world) == ["low"]


def test_an_attempt_whose_pod_is_only_being_created_is_evicted_once_it_is_there() -> None:
    world = a_world(cpu=1)
    world.submit(low("low"))
    world.holding = True
    world.cycle()
    world.submit(high("high"))
    world.cycle()
    assert [d.job.name for d in world.pending if isinstance(d, Launch)] == ["low"]
    world.answer()
    assert (preempted(world), world.names_launched()) == (["low"], ["low", "high"]), "at once"


# ------------------------------------------------------------------ while victims end
def slow_to_end(world: World) -> World:
    world.nodes_work = False
    return world


def test_a_victim_that_takes_its_time_costs_nobody_else_his_attempt() -> None:
    world = slow_to_end(a_world(cpu=2))
    world.submit(low("a"), low("b"))
    run_and_start(world, "a", "b")
    world.submit(high("high"))
    world.let_pass(20)
    world.submit(a_job("other").asking(cpu=2))
    world.let_pass(5)
    assert len(preempted(world)) == 1
    assert world.names_launched() == ["a", "b"], "a pod that is being ended is charged until it is gone"


def test_what_one_victim_leaves_is_kept_until_the_others_have_ended_too() -> None:
    world = slow_to_end(a_world(cpu=2))
    world.submit(low("a"), low("b"))
    run_and_start(world, "a", "b")
    world.submit(high("high", cpu=2), a_job("small"))
    world.run()
    world.fail("a")
    world.let_pass(5)
    assert world.names_launched() == ["a", "b"], "small would fit, and is not let in"
    world.fail("b")
    assert world.names_launched() == ["a", "b", "high"]
    assert {world.status(name).retries for name in "ab"} == {0}


def test_after_a_restart_what_victims_leave_is_kept_and_nobody_more_is_evicted() -> None:
    world = slow_to_end(a_world(cpu=3))
    world.submit(low("a"), low("b"), low("c"))
    run_and_start(world, "a", "b", "c")
    world.submit(high("high", cpu=2), low("small"))
    world.run()
    first, second = preempted(world)
    world.put_pod(world.pod(first), phase=PodPhase.FAILED, finished_at=world.now)
    world.crash()
    world.let_pass(5)
    assert set(preempted(world)) == {first, second}
    assert world.names_launched() == ["a", "b", "c"]
    world.fail(second)
    assert world.names_launched() == ["a", "b", "c", "high"]


def test_a_preemptor_that_is_cancelled_leaves_what_it_waited_for_to_the_next() -> None:
    world = slow_to_end(a_world(cpu=1))
    world.submit(low("low"))
    run_and_start(world, "low")
    world.submit(high("high"))
    world.run()
    world.edit("high", cancel=True)
    world.run()
    world.fail("low")
    assert world.names_launched() == ["low", "low"]


def test_several_preemptors_at_once_have_as_many_victims_as_they_need() -> None:
    world = slow_to_end(a_world(cpu=4))
    world.submit(*(low(name) for name in "abcd"))
    run_and_start(world, *"abcd")
    world.submit(high("x"), high("y"), high("z", cpu=0.5))
    world.let_pass(5)
    assert len(preempted(world)) == 3
    for name in preempted(world):
        world.fail(name)
    assert world.names_launched()[4:] == ["x", "y", "z"]


def test_a_victim_whose_node_does_not_answer_is_waited_for_no_longer() -> None:
    world = slow_to_end(a_world(cpu=2))
    world.submit(low("a"), low("b"))
    run_and_start(world, "a", "b")
    world.submit(high("high"))
    world.run()
    (stuck,) = preempted(world)
    world.put_pod(world.pod(stuck), deleting=True)
    world.let_pass(120)
    assert set(preempted(world)) == {"a", "b"}


# ------------------------------------------------------------------ no storms
def test_a_victim_that_waits_again_evicts_nobody_and_keeps_its_place() -> None:
    world = a_world(cpu=2, preemption_within_queue=Preempt.ANY)
    world.submit(low("first"), low("second"))
    run_and_start(world, "first", "second")
    world.let_pass(5)
    world.submit(high("high"), low("third"))
    world.let_pass(300)
    assert preempted(world) == ["second"]
    world.finish("high")
    assert world.names_launched() == ["first", "second", "high", "second"]


def test_under_any_two_equals_do_not_take_turns() -> None:
    world = a_world(cpu=1, preemption_within_queue=Preempt.ANY)
    world.submit(a_job("early").created(0), a_job("late").created(1).suspended())
    world.edit("early", suspend=True)
    world.edit("late", suspend=False)
    run_and_start(world, "late")
    world.edit("early", suspend=False)
    world.let_pass(600)
    assert preempted(world) == ["late"]
    assert world.names_launched() == ["late", "early"]


def test_aging_lets_an_old_job_of_low_priority_be_evicted_by_none_that_stands_behind_it() -> None:
    world = a_world(cpu=1, aging_seconds=10)
    world.submit(low("old"))
    run_and_start(world, "old")
    world.let_pass(60)
    world.submit(high("new"))
    world.let_pass(600)
    assert preempted(world) == []


def test_a_running_job_whose_priority_is_lowered_makes_room_within_one_cycle() -> None:
    world = a_world(cpu=1)
    world.submit(a_job("running"))
    run_and_start(world, "running")
    world.submit(a_job("waiting"))
    world.run()
    world.edit("running", priority=-100)
    world.run()
    assert preempted(world) == ["running"]


# ------------------------------------------------------------------ cohorts
def test_a_queue_takes_back_what_others_borrowed() -> None:
    mine = a_preempting_queue(2, "mine", cohort="all", preemption_reclaim=Preempt.ANY)
    world = a_world(mine, a_queue("theirs", {"cpu": 2}, cohort="all", min_runtime_seconds=0))
    world.submit(*(a_job(f"t{n}").in_queue("theirs") for n in range(4)))
    run_and_start(world, "t0", "t1", "t2", "t3")
    world.submit(*(a_job(f"m{n}").in_queue("mine") for n in range(3)))
    world.let_pass(5)
    assert len(preempted(world)) == 2, "two are its own, the third would be borrowed"
    assert world.names_launched()[4:] == ["m0", "m1"]


def test_what_is_taken_back_is_not_lent_to_a_third_queue_meanwhile() -> None:
    mine = a_preempting_queue(2, "mine", cohort="all", preemption_reclaim=Preempt.ANY)
    theirs = a_queue("theirs", {"cpu": 2}, cohort="all", min_runtime_seconds=0)
    world = slow_to_end(a_world(mine, theirs, a_queue("third", {"cpu": 0}, cohort="all")))
    world.submit(*(a_job(f"t{n}").in_queue("theirs") for n in range(4)))
    run_and_start(world, "t0", "t1", "t2", "t3")
    world.submit(a_job("m").in_queue("mine").asking(cpu=2), a_job("x").in_queue("third").of_priority("Critical"))
    world.run()
    first, second = preempted(world)
    world.fail(first)
    assert world.names_launched()[4:] == []
    world.fail(second)
    assert world.names_launched()[4:] == ["m"]


def test_a_queue_that_has_what_is_its_own_meanwhile_makes_the_preemptor_take_back_more() -> None:
    mine = a_preempting_queue(2, "mine", cohort="all", preemption_reclaim=Preempt.ANY)
    theirs = a_queue("theirs", {"cpu": 1}, cohort="all", min_runtime_seconds=0)
    world = a_world(mine, theirs, a_queue("third", {"cpu": 1}, cohort="all"))
    world.submit(*(a_job(f"t{n}").in_queue("theirs") for n in range(4)))
    run_and_start(world, "t0", "t1", "t2", "t3")
    world.submit(a_job("m").in_queue("mine").asking(cpu=2), a_job("x").in_queue("third").of_priority("Critical"))
    world.let_pass(5)
    assert sorted(world.names_launched()[4:]) == ["m", "x"]
    assert len(preempted(world)) == 3


# ------------------------------------------------------------------ a quota that falls
def test_a_queue_whose_quota_was_lowered_gives_back_under_any_and_only_then() -> None:
    for rule, evicted in ((Preempt.ANY, ["c", "b"]), (Preempt.LOWER_PRIORITY, [])):
        world = a_world(cpu=3, preemption_within_queue=rule)
        world.submit(a_job("a"), a_job("b"), a_job("c"))
        run_and_start(world, "a", "b", "c")
        world.put_queue(a_preempting_queue(cpu=1, preemption_within_queue=rule))
        world.let_pass(60)
        assert sorted(preempted(world)) == sorted(evicted)
        assert world.phase("a") is Phase.RUNNING


def test_a_queue_whose_quota_was_lowered_gives_back_once_its_jobs_have_run_as_long_as_promised() -> None:
    world = a_world(cpu=2, preemption_within_queue=Preempt.ANY, min_runtime_seconds=60)
    world.submit(a_job("a"), a_job("b"))
    run_and_start(world, "a", "b")
    world.put_queue(a_preempting_queue(cpu=1, preemption_within_queue=Preempt.ANY, min_runtime_seconds=60))
    world.run()
    world.let_pass(59)
    assert preempted(world) == []
    world.let_pass(2)  # nothing else happens
    assert preempted(world) == ["b"]


def test_a_lowered_quota_makes_a_preemptor_need_more_victims() -> None:
    world = a_world(cpu=3)
    world.submit(low("a"), low("b"), low("c"))
    run_and_start(world, "a", "b", "c")
    world.put_queue(a_preempting_queue(cpu=1))
    world.submit(high("high"))
    world.run()
    assert sorted(preempted(world)) == ["a", "b", "c"]
    assert world.names_launched()[3:] == ["high"]


def test_in_a_strict_queue_those_behind_wait_for_the_preemptor() -> None:
    world = slow_to_end(a_world(cpu=2, strategy=Strategy.STRICT_FIFO))
    world.submit(low("a"))
    run_and_start(world, "a")
    world.submit(high("high", cpu=2), low("small"))
    world.run()
    assert (preempted(world), world.names_launched()) == (["a"], ["a"])
