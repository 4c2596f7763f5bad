"""Dependencies: what satisfies them, what never will, and names that do not exist."""

from __future__ import annotations

import pytest

from builders import a_job, a_queue
from taskjob.core.phases import Condition, OnDependencyFailure, Phase, Reason
from world import World


def end(world: World, name: str, phase: Phase) -> None:
    """Bring a submitted job to this end."""
    match phase:
        case Phase.SUCCEEDED:
            world.finish(name)
        case Phase.FAILED:
            world.fail(name)
        case Phase.CANCELLED:
            world.edit(name, cancel=True)
            world.run()
        case _:
            raise ValueError(phase)


# ------------------------------------------------------------------ conditions
@pytest.mark.parametrize(
    ("condition", "ends", "starts"),
    [
        (Condition.SUCCEEDED, Phase.SUCCEEDED, True),
        (Condition.SUCCEEDED, Phase.FAILED, False),
        (Condition.SUCCEEDED, Phase.CANCELLED, False),
        (Condition.FAILED, Phase.SUCCEEDED, False),
        (Condition.FAILED, Phase.FAILED, True),
        (Condition.FAILED, Phase.CANCELLED, False),
        (Condition.FINISHED, Phase.SUCCEEDED, True),
        (Condition.FINISHED, Phase.FAILED, True),
        (Condition.FINISHED, Phase.CANCELLED, True),
    ],
)
def test_a_condition_is_met_or_never_will_be(world: World, condition: Condition, ends: Phase, starts: bool) -> None:
    world.submit(a_job("a"), a_job("b").after("a", condition=condition))
    world.run()
    world.start("a")
    assert world.status("b").reason is Reason.WAITING_FOR_DEPENDENCIES
    end(world, "a", ends)
    assert world.names_launched() == (["a", "b"] if starts else ["a"])
    assert world.phase("b") is (Phase.PENDING if starts else Phase.SKIPPED)


@pytest.mark.parametrize(
    ("policy", "phase"),
    [
        (OnDependencyFailure.SKIP, Phase.SKIPPED),
        (OnDependencyFailure.FAIL, Phase.FAILED),
        (OnDependencyFailure.WAIT, Phase.PENDING),
    ],
)
def test_what_becomes_of_a_job_that_waits_in_vain_is_its_own_policy(
    world: World, policy: OnDependencyFailure, phase: Phase
) -> None:
    world.submit(a_job("a"), a_job("b").after("a").on_dependency_failure(policy))
    world.run()
    world.fail("a")
    status = world.status("b")
    assert status.phase is phase
    assert status.message == 'dependency "a" ended Failed, and Succeeded was asked'
    assert status.reason is (
        Reason.WAITING_FOR_DEPENDENCIES if phase is Phase.PENDING else Reason.DEPENDENCY_NOT_SATISFIED
    )


def test_a_job_that_waits_in_vain_by_choice_starts_when_the_dependency_is_made_anew_and_succeeds(world: World) -> None:
    world.submit(a_job("a"), a_job("b").after("a").on_dependency_failure(OnDependencyFailure.WAIT))
    world.run()
    world.fail("a")
    world.delete("a")
    world.submit(a_job("a").with_uid("uid-a2"))
    world.run()
    assert world.names_launched() == ["a", "a2"]
    world.finish("a")
    assert world.names_launched() == ["a", "a2", "b"]


def test_skips_travel_down_the_graph_and_finished_is_met_by_them(world: World) -> None:
    world.submit(
        a_job("a"),
        a_job("b").after("a"),
        a_job("c").after("b"),
        a_job("d").after("c"),
        a_job("cleanup").after("d", condition=Condition.FINISHED),
    )
    world.run()
    world.fail("a")
    assert [world.phase(name) for name in "abcd"] == [Phase.FAILED, Phase.SKIPPED, Phase.SKIPPED, Phase.SKIPPED]
    assert world.names_launched() == ["a", "cleanup"]


def test_all_dependencies_must_be_met(world: World) -> None:
    world.submit(a_job("x"), a_job("y"), a_job("both").after("x", "y"))
    world.run()
    world.finish("x")
    assert "both" not in world.names_launched()
    world.finish("y")
    assert world.names_launched()[-1] == "both"


def test_a_retry_of_the_dependency_is_not_its_end(world: World) -> None:
    world.submit(a_job("a").retrying(1, initial_seconds=5), a_job("b").after("a"))
    world.run()
    world.fail("a")
    assert world.phase("b") is Phase.PENDING
    world.let_pass(6)
    world.finish("a")
    assert world.names_launched() == ["a", "a", "b"]


def test_a_dependency_named_twice_must_meet_both_conditions(world: World) -> None:
    world.submit(
        a_job("a"),
        a_job("fine").after("a").after("a", condition=Condition.FINISHED),
        a_job("never").after("a").after("a", condition=Condition.FAILED),
    )
    world.run()
    world.finish("a")
    assert world.names_launched() == ["a", "fine"]
    assert world.phase("never") is Phase.SKIPPED
    world.delete("fine")
    world.delete("never")
    assert world.state.graph.dependents == {}


# ------------------------------------------------------------------ names
def test_a_name_that_does_not_exist_is_waited_for(world: World) -> None:
    world.submit(a_job("b").after("a", "x"))
    world.let_pass(1000)
    assert world.status("b").message == 'waits for "a", "x" (not created yet: "a", "x")'
    world.submit(a_job("a"), a_job("x"))
    world.run()
    world.finish("a", "x")
    assert world.names_launched() == ["a", "x", "b"]


def test_a_job_of_another_namespace_is_another_job(world: World) -> None:
    world.submit(a_job("a").in_namespace("other"), a_job("b").after("a"))
    world.run()
    world.finish("a")
    assert world.names_launched() == ["a"]


def test_a_succeeded_dependency_that_is_deleted_before_its_dependent_started_is_waited_for_again(world: World) -> None:
    world.submit(a_job("a"), a_job("b").after("a", "later"))
    world.run()
    world.finish("a")
    world.delete("a")
    world.submit(a_job("later"))
    world.run()
    world.finish("later")
    assert world.names_launched() == ["a", "later"]
    world.submit(a_job("a").with_uid("uid-a2"))
    world.run()
    world.finish("a")
    assert world.names_launched() == ["a", "later", "a2", "b"]


def test_a_job_that_waits_for_quota_leaves_the_queue_when_its_dependency_is_deleted() -> None:
    world = World()
    world.put_queue(a_queue(quota={"cpu": 1}))
    world.submit(a_job("a"), a_job("full"), a_job("b").after("a"))
    world.run()
    world.finish("a")
    assert world.status("b").reason is Reason.WAITING_FOR_QUOTA
    world.delete("a")
    world.finish("full")
    assert world.names_launched() == ["a", "full"]
    assert world.status("b").reason is Reason.WAITING_FOR_DEPENDENCIES


def test_dependencies_may_be_changed_while_the_job_waits(world: World) -> None:
    world.submit(a_job("a"), a_job("b").after("nobody"))
    world.run()
    world.edit("b", depends_on=a_job("b").after("a").build().depends_on)
    world.run()
    assert world.status("b").message == 'waits for "a"', "a new spec is answered, though the reason is the same"
    world.finish("a")
    assert world.names_launched() == ["a", "b"]


def test_what_it_waits_for_is_written_once_however_many_come_and_end(world: World) -> None:
    names = [f"d{i}" for i in range(50)]
    world.holding = True
    world.submit(a_job("all").after(*names))
    world.cycle()
    for name in names:
        world.submit(a_job(name))
        world.cycle()
    world.answer()
    for name in names[:-1]:
        world.finish(name)
    assert [name for name, _ in world.written].count("all") == 1


def test_the_message_names_three_and_counts_the_rest(world: World) -> None:
    world.submit(a_job("a"), a_job("z").after("a", "b", "c", "d", "e"))
    world.run()
    assert world.status("z").message == (
        'waits for "a", "b", "c" and 2 more (not created yet: "b", "c", "d" and 1 more)'
    )
