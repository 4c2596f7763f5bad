"""Limits of a queue beside its quota: running jobs, starts a second, holds, namespaces; and aging."""

from __future__ import annotations

from datetime import timedelta

import pytest

from builders import a_job, a_queue
from taskjob.core.model import Namespace, Requirement
from taskjob.core.namespaces import LabelledNamespace, Unknown
from taskjob.core.phases import Reason, SelectorOperator, StopPolicy
from world import World

TEAMS_A = (Requirement("team", SelectorOperator.IN, ("a",)),)


NOT_OF_A = (Requirement("team", SelectorOperator.NOT_IN, ("a",)),)


def team(name: str) -> LabelledNamespace:
    return LabelledNamespace(Namespace("team"), (("team", name),))


def a_world(**terms: object) -> World:
    world = World()
    world.put_queue(a_queue(**terms))  # type: ignore[arg-type]  # fields by name
    return world


# ------------------------------------------------------------------ maxRunning
def test_no_more_than_max_running_run_whatever_the_quota() -> None:
    world = a_world(max_running=2)
    world.submit(*(a_job(name) for name in "abc"))
    world.run()
    assert world.names_launched() == ["a", "b"]
    assert world.status("c").reason is Reason.WAITING_FOR_QUOTA
    assert world.status("c").message == 'queue "default" runs 2 jobs, as many as it may (spec.maxRunning)'
    world.finish("a")
    assert world.names_launched() == ["a", "b", "c"]


# ------------------------------------------------------------------ maxStartsPerSecond
def test_no_second_sees_more_starts_than_allowed() -> None:
    world = a_world(max_starts_per_second=2)
    world.submit(*(a_job(f"j{n}") for n in range(5)))
    world.run()
    assert world.names_launched() == ["j0", "j1"]
    assert world.status("j2").reason is Reason.RATE_LIMITED
    assert world.last is not None
    assert world.last.wake_at == world.now + timedelta(seconds=1)
    world.let_pass(0.9)
    assert world.names_launched() == ["j0", "j1"]
    world.let_pass(0.1)
    assert world.names_launched() == ["j0", "j1", "j2", "j3"]
    world.let_pass(1)
    assert world.names_launched() == ["j0", "j1", "j2", "j3", "j4"]


def test_who_was_told_of_the_limit_of_starts_is_told_of_the_quota_once_that_is_what_is_left() -> None:
    world = World()
    world.put_queue(a_queue("default", {"cpu": 3}, max_starts_per_second=2))
    world.submit(*(a_job(f"j{n}").asking(cpu=1) for n in range(6)))
    world.run()
    assert [str(world.status(f"j{n}").reason) for n in (2, 5)] == ["RateLimited"] * 2
    world.let_pass(1)
    assert world.names_launched() == ["j0", "j1", "j2"]
    world.let_pass(1)
    assert [str(world.status(f"j{n}").reason) for n in (3, 4, 5)] == ["WaitingForQuota"] * 3


def test_a_restart_does_not_start_more_than_allowed() -> None:
    world = a_world(max_starts_per_second=2)
    world.submit(*(a_job(f"j{n}") for n in range(4)))
    world.let_pass(0.5)
    world.run()
    world.crash()
    world.run()
    world.let_pass(0.9)
    assert world.names_launched() == ["j0", "j1"], "an instant of the cluster is cut to the second: up to one more"
    world.let_pass(1.1)
    assert world.names_launched() == ["j0", "j1", "j2", "j3"]


# ------------------------------------------------------------------ stopPolicy
def test_a_held_queue_starts_nothing_until_it_is_released() -> None:
    world = a_world()
    world.submit(a_job("running"))
    world.run()
    world.put_queue(a_queue(stop_policy=StopPolicy.HOLD))
    world.submit(a_job("waits"))
    world.run()
    assert world.names_launched() == ["running"]
    assert world.status("waits").reason is Reason.QUEUE_HELD
    world.put_queue(a_queue())
    world.run()
    assert world.names_launched() == ["running", "waits"]


# ------------------------------------------------------------------ namespaceSelector
def test_a_queue_takes_jobs_of_the_namespaces_that_it_selects() -> None:
    world = a_world(namespace_selector=TEAMS_A)
    world.state.queues.replace_namespaces([])
    world.submit(a_job("x"))
    world.run()
    assert world.status("x").reason is Reason.NAMESPACE_NOT_ALLOWED
    world.state.queues.put_namespace(team("a"))
    world.run()
    assert world.names_launched() == ["x"]


def test_a_namespace_that_loses_its_label_starts_nothing_more() -> None:
    world = a_world(namespace_selector=TEAMS_A, quota={"cpu": 1})
    world.state.queues.replace_namespaces([team("a")])
    world.submit(a_job("x"), a_job("y"))
    world.run()
    world.state.queues.put_namespace(team("b"))
    world.run()
    assert world.status("y").reason is Reason.NAMESPACE_NOT_ALLOWED
    world.finish("x")
    assert world.names_launched() == ["x"]
    world.put_queue(a_queue(quota={"cpu": 1}))
    world.run()
    assert world.names_launched() == ["x", "y"]


@pytest.mark.parametrize("of", ["a", "b"])
def test_while_namespaces_are_not_known_nothing_starts_whatever_the_selector_says(of: str) -> None:
    world = a_world(namespace_selector=NOT_OF_A)
    world.submit(a_job("x"))
    world.run()
    assert (world.status("x").reason, world.names_launched()) == (Reason.QUEUE_NOT_FOUND, [])
    assert world.status("x").message.endswith("cannot be used: the namespaces have not been listed yet")
    world.state.queues.namespaces_unknown(Unknown.FORBIDDEN, "it may not list them")
    world.run()
    assert world.names_launched() == []
    world.state.queues.replace_namespaces([team(of)])
    world.run()
    assert world.names_launched() == ([] if of == "a" else ["x"])
    assert (world.status("x").reason is Reason.NAMESPACE_NOT_ALLOWED) is (of == "a")


def test_a_namespace_made_anew_with_other_labels_is_seen() -> None:
    world = a_world(namespace_selector=TEAMS_A)
    world.state.queues.replace_namespaces([team("a")])
    world.state.queues.drop_namespace(Namespace("team"))
    world.submit(a_job("x"))
    world.run()
    assert world.status("x").reason is Reason.NAMESPACE_NOT_ALLOWED
    world.state.queues.put_namespace(team("a"))
    world.run()
    assert world.names_launched() == ["x"]


# ------------------------------------------------------------------ agingSeconds
def test_a_job_gains_one_level_of_priority_for_each_aging_interval() -> None:
    world = a_world(quota={"cpu": 1}, aging_seconds=60)
    world.submit(
        a_job("running").created(0),
        a_job("old-low").of_priority("Low").created(0),
        a_job("new-normal").created(61),
        a_job("newer-high").of_priority("High").created(110),
    )
    for name in ("running", "newer-high", "old-low"):
        world.run()
        world.finish(name)
    assert world.names_launched() == ["running", "newer-high", "old-low", "new-normal"], "created + level * 60 decides"


def test_no_job_starves_under_aging() -> None:
    world = a_world(quota={"cpu": 1}, aging_seconds=10)
    world.submit(a_job("h00").of_priority("High"), a_job("low").of_priority("Low"))
    for n in range(1, 40):
        world.run()
        world.submit(a_job(f"h{n:02}").of_priority("High"))
        world.let_pass(5)
        world.finish(world.names_launched()[-1])
    assert world.names_launched().index("low") <= 5


# ------------------------------------------------------------------ changes of what is alive
def test_a_change_of_aging_puts_the_line_in_its_new_order_at_once() -> None:
    world = a_world(quota={"cpu": 1})
    world.submit(a_job("running"), a_job("low").of_priority("Low").created(0), a_job("high").created(300))
    world.run()
    world.put_queue(a_queue(quota={"cpu": 1}, aging_seconds=10))
    world.run()
    world.finish("running")
    assert world.names_launched() == ["running", "low"]


def test_a_quota_lowered_below_use_drains_and_never_goes_negative() -> None:
    world = a_world(quota={"cpu": 3})
    world.submit(*(a_job(f"j{n}") for n in range(6)))
    world.run()
    world.put_queue(a_queue(quota={"cpu": 1}))
    world.run()
    for name in ("j0", "j1"):
        world.finish(name)
    assert world.names_launched() == ["j0", "j1", "j2"], "it admits again when it is below"
    assert world.status("j3").reason is Reason.WAITING_FOR_QUOTA
    world.finish("j2")
    assert world.names_launched() == ["j0", "j1", "j2", "j3"]
