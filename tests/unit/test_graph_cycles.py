"""Cycles of dependencies: found when they appear, told to all members, and what is none."""

from __future__ import annotations

from itertools import permutations

import pytest

from builders import JobBuilder, a_job, a_queue
from taskjob.core.decisions import Launch
from taskjob.core.dependencies import cycles_of, knots
from taskjob.core.model import JobKey, JobName, Namespace
from taskjob.core.phases import Condition, OnDependencyFailure, Phase, Reason
from world import World

TWO = (a_job("a").after("b"), a_job("b").after("a"))
THREE = (a_job("a").after("b"), a_job("b").after("c"), a_job("c").after("a"))
HUB = (a_job("x").after("p", "q"), a_job("p").after("x"), a_job("q").after("x"))
EIGHT = (a_job("m").after("l", "r"), a_job("l").after("m"), a_job("r").after("s"), a_job("s").after("m"))


@pytest.mark.parametrize("jobs", [TWO, THREE, HUB, EIGHT], ids=["two", "three", "hub", "eight"])
def test_all_members_of_a_cycle_fail_in_whatever_order_they_come(jobs: tuple[JobBuilder, ...]) -> None:
    outcomes = set()
    for order in permutations(jobs):
        world = World()
        world.put_queue(a_queue())
        for job in order:
            world.submit(job)
            world.state.graph.look_for_cycles()
        world.run()
        assert {(s.phase, s.reason) for _, s in world.written if s.phase.terminal} == {
            (Phase.FAILED, Reason.DEPENDENCY_CYCLE)
        }
        assert {job.status.phase for job in world.jobs.values()} == {Phase.FAILED}
        assert world.launched == []
        outcomes.add(tuple(sorted((str(job.name), job.status.message) for job in world.jobs.values())))
    assert len(outcomes) == 1, "the cycles are spelled the same"


def test_a_cycle_is_spelled_out(world: World) -> None:
    world.submit(*THREE)
    world.run()
    assert {s.message for _, s in world.written} == {"its dependencies form a cycle: a -> b -> c -> a"}


def test_a_job_that_names_itself_fails_as_a_cycle_of_one(world: World) -> None:
    world.submit(a_job("a").after("a"))
    world.run()
    assert (world.phase("a"), world.status("a").message) == (Phase.FAILED, "its dependencies form a cycle: a -> a")


def test_a_long_cycle_is_found_and_cut_in_the_middle(world: World) -> None:
    n = 3000
    world.submit(*(a_job(f"j{i:04}").after(f"j{(i + 1) % n:04}") for i in range(n)))
    world.run()
    assert set(world.phases().values()) == {"Failed"}
    assert world.status("j0007").message == (
        "its dependencies form a cycle: j0000 -> j0001 -> j0002 -> j0003 -> j0004 -> j0005 -> (2990 more) -> "
        "j2996 -> j2997 -> j2998 -> j2999 -> j0000"
    )


def test_dependents_outside_of_a_cycle_follow_their_own_policy(world: World) -> None:
    world.submit(
        *TWO,
        a_job("skips").after("a"),
        a_job("fails").after("a").on_dependency_failure(OnDependencyFailure.FAIL),
        a_job("runs").after("a", condition=Condition.FAILED),
        a_job("upstream"),
    )
    world.run()
    assert world.phase("skips") is Phase.SKIPPED
    assert (world.phase("fails"), world.status("fails").reason) == (Phase.FAILED, Reason.DEPENDENCY_NOT_SATISFIED)
    assert sorted(world.names_launched()) == ["runs", "upstream"]


def test_a_cycle_that_is_cut_before_it_was_written_lets_its_members_live(world: World) -> None:
    world.holding = True
    world.submit(*THREE)
    world.cycle()
    world.edit("c", depends_on=())
    made = world.cycle()
    assert [d.job.name for d in made.decisions if isinstance(d, Launch)] == ["c"]
    world.answer()
    world.finish("c")
    world.finish("b")
    assert world.names_launched() == ["c", "b", "a"]


@pytest.mark.parametrize("jobs", [TWO, THREE, HUB, EIGHT], ids=["two", "three", "hub", "eight"])
@pytest.mark.parametrize("condition", list(Condition))
def test_a_restart_between_the_writes_of_a_cycles_members_ends_the_others_in_the_same_way(
    jobs: tuple[JobBuilder, ...], condition: Condition
) -> None:
    for survivors in range(1, len(jobs)):
        world = World()
        world.put_queue(a_queue())
        world.submit(*jobs)
        for builder in jobs:
            job = world.job(builder.name)
            world.edit(builder.name, depends_on=tuple(type(d)(d.name, condition) for d in job.depends_on))
        world.holding = True
        world.cycle()
        for decision in world.pending[:survivors]:
            world.carry_out(decision)
        world.crash()
        world.answer()
        assert {(j.status.phase, j.status.reason) for j in world.jobs.values()} == {
            (Phase.FAILED, Reason.DEPENDENCY_CYCLE)
        }


def test_a_job_made_after_a_cycle_ended_is_no_member_of_it(world: World) -> None:
    world.submit(*TWO)
    world.run()
    world.delete("b")
    world.let_pass(5)
    world.submit(a_job("b").with_uid("uid-b2").after("a", condition=Condition.FINISHED))
    world.run()
    assert world.names_launched() == ["b2"]


def test_a_cycle_closed_by_a_retry_is_found(world: World) -> None:
    world.submit(a_job("a"), a_job("b").after("a").retrying(3, initial_seconds=1))
    world.run()
    world.finish("a")
    world.start("b")
    world.let_pass(3)
    world.delete("a")
    world.submit(a_job("a").with_uid("uid-a2").after("b"))
    world.run()
    assert world.phases() == {"b": "Running", "a": "Pending"}
    world.fail("b")
    assert world.phases() == {"b": "Failed", "a": "Failed"}


@pytest.mark.parametrize("patience", [0, 3])
def test_an_attempt_that_has_begun_waits_for_nobody_whatever_its_status_still_says(
    world: World, patience: float
) -> None:
    world.submit(a_job("a"), a_job("b").after("a").retrying(1, initial_seconds=1))
    world.run()
    world.finish("a")
    world.start("b")
    world.let_pass(patience)
    assert world.phase("b") is (Phase.RUNNING if patience else Phase.PENDING)
    world.delete("a")
    world.submit(a_job("a").with_uid("uid-a2").after("b"))
    world.run()
    assert world.status("a").reason is Reason.WAITING_FOR_DEPENDENCIES
    world.finish("b")
    assert world.names_launched() == ["a", "b", "a2"]


def test_a_cycle_is_closed_by_the_end_of_an_attempt_that_no_status_told_of(world: World) -> None:
    world.submit(a_job("a"), a_job("b").after("a").retrying(3, initial_seconds=1))
    world.run()
    world.finish("a")
    world.start("b")
    world.delete("a")
    world.submit(a_job("a").with_uid("uid-a2").after("b"))
    world.run()
    world.fail("b")
    assert {(job.status.phase, job.status.reason) for job in world.jobs.values()} == {
        (Phase.FAILED, Reason.DEPENDENCY_CYCLE)
    }


def test_a_cycle_is_closed_by_an_attempt_whose_pod_is_refused(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.finish("a")
    world.holding = True
    world.refusing[JobName("b")] = "forbidden"
    world.submit(a_job("b").after("a"))
    world.cycle()
    world.delete("a")
    world.submit(a_job("a").with_uid("uid-a2").after("b"))
    world.cycle()
    assert world.state.jobs[world.job("b").uid].launching is not None
    world.answer()
    assert world.phases() == {"b": "Failed", "a": "Failed"}


def test_a_cancelled_member_opens_the_cycle_the_same_for_a_restarted_operator() -> None:
    for crash in (False, True):
        world = World()
        world.put_queue(a_queue())
        world.submit(a_job("a").after("b").cancelled(), a_job("b").after("a"))
        world.holding = True
        world.cycle()
        (cancel,) = [d for d in world.pending if d.job.name == "a"]  # type: ignore[attr-defined]  # status writes
        world.carry_out(cancel)
        if crash:
            world.crash()
        world.cycle()
        world.answer()
        assert world.phases() == {"a": "Cancelled", "b": "Skipped"}


# ------------------------------------------------------------------ the algorithms
def keys(names: str) -> list[JobKey]:
    return [JobKey(Namespace("n"), JobName(name)) for name in names]


def test_knots_are_the_groups_that_wait_for_each_other() -> None:
    graph = {"a": "b", "b": "ac", "c": "d", "d": "", "e": "e", "f": "a"}

    def successors(key: JobKey) -> list[JobKey]:
        return keys(graph[key.name])

    found = knots(keys("fedcba"), successors)
    assert sorted(sorted(key.name for key in knot) for knot in found) == [["a", "b"], ["e"]]


def test_every_member_of_a_knot_gets_a_simple_cycle_through_itself() -> None:
    graph = {"a": "bc", "b": "d", "c": "d", "d": "ae", "e": "f", "f": "dc"}

    def successors(key: JobKey) -> list[JobKey]:
        return keys(graph[key.name])

    for knot in permutations(keys("abcdef")):
        cycles = cycles_of(knot, successors)
        assert set(cycles) == set(knot)
        for member, cycle in cycles.items():
            assert member in cycle
            assert len(set(cycle)) == len(cycle)
            for here, following in zip(cycle, (*cycle[1:], cycle[0]), strict=True):
                assert following in successors(here)
