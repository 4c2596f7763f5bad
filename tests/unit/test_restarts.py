"""An operator dies, or history is away: what the next one finds, and how long a job waits for history."""

from __future__ import annotations

from builders import a_job, a_queue, at
from taskjob.core.pending import HISTORY_PATIENCE
from taskjob.core.phases import FailureClass, Phase, PodPhase
from world import World


def test_an_operator_that_died_after_the_create_goes_on_with_the_pod(world: World) -> None:
    world.submit(a_job("a"))
    world.cycle()
    world.crash()
    world.run()
    world.start("a")
    world.crash()
    world.finish("a")
    assert (world.phase("a"), len(world.launched)) == (Phase.SUCCEEDED, 1)


def test_an_operator_that_died_before_it_wrote_the_retry_counts_it_once(world: World) -> None:
    world.submit(a_job("a").retrying(2, initial_seconds=10))
    world.run()
    world.start("a")
    world.holding = True
    world.fail("a")
    world.crash()
    world.answer()
    assert (world.status("a").retries, world.status("a").not_before) == (1, at(11))
    world.crash()
    world.let_pass(10)
    assert len(world.launched) == 1
    world.let_pass(1)
    assert [attempt.attempt for attempt in world.launched] == [1, 2]


def test_history_is_complete_when_it_was_away_and_the_operator_died(world: World) -> None:
    world.history_away = True
    world.submit(a_job("a").retrying(2, initial_seconds=1))
    world.run()
    world.fail("a", started=False)
    world.let_pass(2)
    world.start("a")
    world.fail("a")
    world.let_pass(3)
    world.finish("a")
    told = world.story("a")
    world.crash()
    world.run()
    assert world.story("a") == told
    assert told == [
        "0:  -> Pending (Queued)",
        "1: Pending -> Starting (Launched)",
        "2: Starting -> Pending (BackingOff)",
        "3: Pending -> Starting (Launched)",
        "4: Starting -> Running (Started)",
        "5: Running -> Pending (BackingOff)",
        "6: Pending -> Starting (Launched)",
        "7: Starting -> Running (Started)",
        "8: Running -> Succeeded (Completed)",
    ]
    assert world.removed == [], "no pod goes before history has confirmed"


def test_a_retry_is_told_after_a_restart_even_if_its_pod_is_gone(world: World) -> None:
    world.submit(a_job("a").retrying(2, initial_seconds=100))
    world.run()
    world.start("a")
    world.lose_pod(world.pod("a"))
    world.holding = True
    world.cycle()
    for decision in world.pending:
        world.carry_out(decision)
    world.crash()
    world.run()
    assert world.story("a") == [
        "0:  -> Pending (Queued)",
        "1: Pending -> Starting (Launched)",
        "2: Starting -> Running (Started)",
        "3: Running -> Pending (BackingOff)",
    ]


# ------------------------------------------------------------------ how long history is waited for
def without_history_an_attempt_loses_its_pod() -> World:
    """Its end stands in the status alone, and the next attempt may begin at once."""
    world = World(history_away=True)
    world.put_queue(a_queue())
    world.submit(a_job("a").retrying(1, initial_seconds=0))
    world.run()
    world.start("a")
    world.lose_pod(world.pod("a"))
    world.run()
    assert world.phase("a") is Phase.PENDING
    return world


def test_the_next_attempt_waits_until_history_holds_the_end_of_one_whose_pod_is_gone() -> None:
    world = without_history_an_attempt_loses_its_pod()
    assert world.names_launched() == ["a"]
    world.history_returns()
    world.run()
    assert world.names_launched() == ["a", "a"]


def test_while_history_is_away_it_does_not_wait_for_long() -> None:
    world = without_history_an_attempt_loses_its_pod()
    world.let_pass(HISTORY_PATIENCE.total_seconds() - 1)
    assert world.names_launched() == ["a"]
    world.let_pass(1)
    assert world.names_launched() == ["a", "a"], "PostgreSQL does not decide what runs"


def test_each_operator_gives_history_that_long_though_those_before_it_died_at_once() -> None:
    world = without_history_an_attempt_loses_its_pod()
    for _ in range(3):
        world.let_pass(HISTORY_PATIENCE.total_seconds() - 1)
        world.crash()
        world.run()
        assert world.names_launched() == ["a"], "nobody could tell history yet"
    world.history_returns()
    world.run()
    assert "3: Running -> Pending (BackingOff)" in world.story("a")


def test_an_operator_that_died_before_it_told_history_leaves_the_next_one_the_end_in_the_status() -> None:
    world = without_history_an_attempt_loses_its_pod()
    world.crash()
    world.history_returns()
    world.run()
    assert "3: Running -> Pending (BackingOff)" in world.story("a")
    (pod,) = [row.pod for entry in world.entries for row in entry.transitions if row.n == 3]
    assert pod is not None
    assert (pod.name, pod.phase, pod.node, pod.failure) == ("a-1", PodPhase.FAILED, "node", FailureClass.POD_DELETED)
    assert world.names_launched() == ["a", "a"]
