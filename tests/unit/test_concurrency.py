"""Concurrency keys: never more than the limit, nobody kept behind, nothing leaks."""

from __future__ import annotations

from builders import a_job, a_queue
from taskjob.core.phases import ConcurrencyScope, OnConflict, Phase, Reason
from world import World


def test_one_at_a_time_in_the_order_of_admission(world: World) -> None:
    world.submit(*(a_job(name).holding("db") for name in "abc"), a_job("d").holding("db").of_priority("High"))
    world.run()
    assert world.names_launched() == ["d"]
    assert world.status("a").reason is Reason.CONCURRENCY_LIMIT
    assert world.status("a").message == 'concurrency key "db" of this namespace is held by "d" (limit 1)'
    for name in "dabc":
        world.finish(name)
    assert world.names_launched() == ["d", "a", "b", "c"]
    assert world.state.keys.by_id == {}, "nothing is left of a key that nobody names"


def test_a_semaphore_lets_so_many_in(world: World) -> None:
    world.submit(*(a_job(f"j{number}").holding("gpu-licence", 3) for number in range(8)))
    world.run()
    assert len(world.launched) == 3
    world.finish("j0", "j2")
    assert world.names_launched() == ["j0", "j1", "j2", "j3", "j4"]


def test_one_that_waits_for_its_key_keeps_nobody_behind_it(world: World) -> None:
    world.put_queue(a_queue(quota={"cpu": 2}))
    world.submit(a_job("a").holding("db"), a_job("b").holding("db").of_priority("Critical"), a_job("c"), a_job("d"))
    world.run()
    assert world.names_launched() == ["b", "c"]
    world.finish("c")
    assert world.names_launched() == ["b", "c", "d"]


def test_the_key_does_not_idle_because_the_first_that_waits_lacks_quota(world: World) -> None:
    world.put_queue(a_queue("full", quota={"cpu": 0}))
    world.submit(a_job("a").in_queue("full").holding("db"), a_job("large").asking(cpu=9).holding("db"))
    world.put_queue(a_queue(quota={"cpu": 4}))
    world.submit(a_job("b").holding("db"), a_job("c").holding("db"))
    world.run()
    assert world.names_launched() == ["b"]
    world.finish("b")
    assert world.names_launched() == ["b", "c"]


def test_the_key_is_held_until_the_pod_has_ended_whatever_became_of_the_job(world: World) -> None:
    world.nodes_work = False
    world.submit(a_job("a").holding("db"), a_job("b").holding("db"))
    world.run()
    world.put_pod(world.pod("a"), node="node", deleting=True)
    world.delete("a")
    world.run()
    world.crash()
    world.run()
    assert world.names_launched() == ["a"]
    world.lose_pod(world.pod("a"))
    world.run()
    assert world.names_launched() == ["a", "b"]


def test_keys_of_other_namespaces_and_queues_have_nothing_to_do_with_it(world: World) -> None:
    world.put_queue(a_queue("other"))
    queue = {"scope": ConcurrencyScope.QUEUE}
    world.submit(
        a_job("a").holding("db"),
        a_job("elsewhere").in_namespace("b").holding("db"),
        a_job("in-queue").holding("db", **queue),  # type: ignore[arg-type]  # by name
        a_job("shared").in_namespace("b").holding("db", **queue),  # type: ignore[arg-type]  # by name
        a_job("other-queue").in_queue("other").holding("db", **queue),  # type: ignore[arg-type]  # by name
    )
    world.run()
    assert sorted(world.names_launched()) == ["a", "elsewhere", "other-queue", "shared"]
    assert world.status("in-queue").message == 'concurrency key "db" of queue "default" is held by 1 job (limit 1)'


def test_where_limits_differ_the_least_counts(world: World) -> None:
    world.submit(a_job("reads").holding("db", 3), a_job("too").holding("db", 3), a_job("writes").holding("db", 1))
    world.run()
    assert world.names_launched() == ["reads", "too"]
    world.finish("reads")
    assert world.names_launched() == ["reads", "too"]
    world.finish("too")
    world.submit(a_job("later").holding("db", 3))
    world.run()
    assert world.names_launched() == ["reads", "too", "writes"], "it is promised that it is alone"
    world.finish("writes")
    assert world.names_launched()[-1] == "later"


# ------------------------------------------------------------------ Reject
def test_a_job_that_does_not_want_to_wait_is_skipped_at_once(world: World) -> None:
    world.submit(a_job("a").holding("db"), a_job("b").holding("db", on_conflict=OnConflict.REJECT))
    world.run()
    assert (world.phase("b"), world.status("b").reason) == (Phase.SKIPPED, Reason.CONCURRENCY_CONFLICT)
    world.finish("a")
    world.submit(a_job("c").holding("db", on_conflict=OnConflict.REJECT))
    world.run()
    assert world.names_launched() == ["a", "c"]


def test_of_several_that_do_not_want_to_wait_one_runs(world: World) -> None:
    world.submit(*(a_job(f"j{n}").asking(cpu=n).holding("db", on_conflict=OnConflict.REJECT) for n in range(1, 4)))
    world.run()
    assert world.names_launched() == ["j1"]
    assert [world.phase(f"j{n}") for n in (2, 3)] == [Phase.SKIPPED, Phase.SKIPPED]


def test_a_retry_waits_for_its_key_also_if_it_rejects(world: World) -> None:
    world.submit(a_job("a").retrying(1, initial_seconds=5).holding("db", on_conflict=OnConflict.REJECT))
    world.run()
    world.submit(a_job("b").holding("db"))
    world.fail("a")
    world.let_pass(10)
    assert (world.names_launched(), world.status("a").reason) == (["a", "b"], Reason.CONCURRENCY_LIMIT)
    world.finish("b")
    assert world.names_launched() == ["a", "b", "a"]


# ------------------------------------------------------------------ changes
def test_changes_of_a_waiting_job_are_followed(world: World) -> None:
    world.submit(*(a_job(name).holding("db") for name in "abcd"))
    world.run()
    world.edit("b", suspend=True)
    world.edit("d", priority=1000)
    world.edit("c", concurrency=None)
    world.run()
    assert world.names_launched() == ["a", "c"]
    world.finish("a")
    assert world.names_launched() == ["a", "c", "d"]
    world.edit("b", suspend=False, cancel=True)
    world.finish("d")
    assert world.phase("b") is Phase.CANCELLED
    assert world.state.keys.by_id == {}


def test_a_refused_pod_gives_the_key_back(world: World) -> None:
    world.refusing = {"a": "no"}  # type: ignore[dict-item]  # a name
    world.submit(a_job("a").holding("db"), a_job("b").holding("db"))
    world.run()
    assert world.names_launched() == ["b"]
