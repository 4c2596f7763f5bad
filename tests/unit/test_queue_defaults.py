"""spec.defaults of a TaskQueue: what counts for the jobs that do not say it themselves."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_job, a_pod, a_queue
from taskjob.core.defaults import field_of, settled
from taskjob.core.model import Defaults, Retry, RetryRule
from taskjob.core.phases import FailureClass, Phase, PodRetention, Reason, RetryAction
from taskjob.kube.schema import parse_queue
from world import World

ONCE_MORE = Retry(limit=1, initial_seconds=0, jitter_percent=0)


def a_world(quota: dict[str, float] | None = None, **defaults: Any) -> World:
    world = World()
    world.put_queue(a_queue(quota=quota, defaults=Defaults(**defaults)))
    return world


def change(world: World, version: int = 2, **defaults: Any) -> None:
    world.put_queue(a_queue(version=version, defaults=Defaults(**defaults) if defaults else None))


# ------------------------------------------------------------------ whose word counts
some = st.integers(1, 1000)
values: dict[str, st.SearchStrategy[Any]] = {
    "retry": st.builds(Retry, limit=some),
    "timeout_seconds": some,
    "queue_timeout_seconds": some,
    "start_timeout_seconds": some,
    "ttl_seconds": some,
    "pod_retention": st.sampled_from(PodRetention),
}
sayings = st.fixed_dictionaries({}, optional=values)


@given(by_job=sayings, by_queue=sayings)
def test_what_a_job_says_is_its_own_and_the_rest_is_its_queues(
    by_job: dict[str, Any], by_queue: dict[str, Any]
) -> None:
    assert values.keys() == {each.name for each in fields(Defaults)}
    job = settled(a_job("a")._with(**by_job).build(), Defaults(**by_queue))
    assert {name: getattr(job, name) for name in values} == dict.fromkeys(values) | by_queue | by_job
    assert set(job.by_queue) == by_queue.keys() - by_job.keys()
    assert all((f'of queue "{job.queue}"' in field_of(job, name)) is (name in job.by_queue) for name in values)


@given(by_job=sayings, by_queue=sayings, launched_with=st.none() | some)
def test_an_attempt_under_way_never_gets_another_timeout_from_its_queue(
    by_job: dict[str, Any], by_queue: dict[str, Any], launched_with: int | None
) -> None:
    said = a_job("a")._with(**by_job).build()
    pod = a_pod(said).running().but(active_deadline_seconds=launched_with).build()
    timeout = settled(said, Defaults(**by_queue), pod).timeout_seconds
    assert timeout == by_job["timeout_seconds"] if "timeout_seconds" in by_job else timeout in (None, launched_with)


# ------------------------------------------------------------------ field by field
def test_a_failed_attempt_is_followed_by_as_many_as_the_queue_says() -> None:
    world = a_world(retry=ONCE_MORE)
    world.submit(a_job("a"), a_job("own").retrying(0))
    world.run()
    world.fail("a", "own")
    assert (world.phase("a"), world.phase("own")) == (Phase.PENDING, Phase.FAILED)
    world.let_pass(5)
    world.fail("a")
    assert (world.phase("a"), world.status("a").retries) == (Phase.FAILED, 1)


def test_a_rule_of_the_queue_is_told_as_its_own() -> None:
    world = a_world(retry=Retry(limit=3, rules=(RetryRule(RetryAction.FAIL),)))
    world.submit(a_job("a"))
    world.run()
    world.fail("a")
    assert world.status("a").message.endswith('; spec.defaults.retry.rules[0] of queue "default" says Fail')


def test_a_pod_is_launched_with_the_timeout_of_the_queue_and_keeps_it() -> None:
    world = a_world(timeout_seconds=60)
    world.submit(a_job("a"), a_job("own").timing_out(attempt=30))
    world.run()
    assert (world.pod("a").active_deadline_seconds, world.pod("own").active_deadline_seconds) == (60, 30)
    world.start("a")
    change(world, timeout_seconds=5)
    world.let_pass(40)
    assert (world.phase("a"), world.status("a").stopping) == (Phase.RUNNING, None)
    world.submit(a_job("b"))
    world.run()
    assert (world.pod("a").active_deadline_seconds, world.pod("b").active_deadline_seconds) == (60, 5)


def test_a_timeout_that_no_kubelet_enforces_is_enforced_and_told_as_the_queues() -> None:
    world = a_world(timeout_seconds=60)
    world.submit(a_job("a"))
    world.run()
    world.start("a")
    world.let_pass(120)
    said = 'it ran longer than 60 s (spec.defaults.timeoutSeconds of queue "default")'
    assert world.phase("a") is Phase.FAILED
    assert world.status("a").message == f"attempt 1 failed (Timeout): {said}"


@pytest.mark.parametrize("crash", [False, True])
def test_waiting_ends_when_the_queue_says_so_also_where_it_says_it_later(crash: bool) -> None:
    world = a_world({"cpu": 0})
    world.submit(a_job("a"))
    world.let_pass(30)
    world.put_queue(a_queue(quota={"cpu": 0}, version=2, defaults=Defaults(queue_timeout_seconds=60)))
    if crash:
        world.crash()
    world.let_pass(29)
    assert world.phase("a") is Phase.PENDING
    world.let_pass(1)
    status = world.status("a")
    assert (status.phase, status.reason) == (Phase.FAILED, Reason.QUEUE_TIMEOUT_EXCEEDED)
    assert status.message.endswith('60 s of waiting (spec.defaults.queueTimeoutSeconds of queue "default")')


def test_a_pod_that_hangs_gives_its_place_back_when_the_queue_says_so() -> None:
    world = a_world(start_timeout_seconds=20)
    world.submit(a_job("a").ruled(RetryRule(RetryAction.FAIL)))
    world.run()
    world.put_pod(world.pod("a"), trouble=FailureClass.UNSCHEDULABLE, message="no node fits")
    world.let_pass(60)
    assert "it did not start within 20 s" in world.status("a").message


@pytest.mark.parametrize(
    ("retention", "stays"),
    [(None, []), (PodRetention.KEEP_FAILED, ["bad-1"]), (PodRetention.KEEP, ["bad-1", "good-1"])],
)
def test_ended_pods_stay_as_the_queue_says(retention: PodRetention | None, stays: list[str]) -> None:
    world = a_world(pod_retention=retention, ttl_seconds=3600)
    world.submit(a_job("good"), a_job("bad"), a_job("own").kept_for(3600, PodRetention.DELETE))
    world.run()
    world.finish("good", "own")
    world.fail("bad")
    world.run()
    assert sorted(pod.name for pod in world.pods.values()) == stays


def test_finished_jobs_go_when_the_queue_says_so_also_where_it_says_it_later() -> None:
    world = a_world(ttl_seconds=600)
    world.submit(a_job("a"), a_job("own").kept_for(5000))
    world.run()
    world.finish("a", "own")
    world.let_pass(60)
    assert set(world.phases()) == {"a", "own"}
    change(world, ttl_seconds=30)
    world.run()
    assert set(world.phases()) == {"own"}


def test_without_its_queue_a_finished_job_goes_as_the_installation_says() -> None:
    world = World(default_ttl_seconds=3600)
    world.put_queue(a_queue(defaults=Defaults(ttl_seconds=10_000)))
    world.submit(a_job("a"))
    world.run()
    world.finish("a")
    world.let_pass(3700)
    assert set(world.phases()) == {"a"}
    world.delete_queue("default")
    world.run()
    assert world.phases() == {}


# ------------------------------------------------------------------ as they are read
def queue_with(defaults: Any) -> Any:
    return parse_queue({"metadata": {"name": "q", "uid": "u"}, "spec": {"defaults": defaults}})


def test_defaults_are_read() -> None:
    said = {
        "retry": {"limit": 2, "rules": [{"action": "Fail", "classes": ["OOMKilled"]}]},
        "timeoutSeconds": 1,
        "queueTimeoutSeconds": 2,
        "startTimeoutSeconds": 3,
        "ttlSecondsAfterFinished": 0,
        "podRetention": "KeepFailed",
    }
    rule = RetryRule(RetryAction.FAIL, (FailureClass.OOM_KILLED,))
    assert queue_with(said).defaults == Defaults(Retry(2, rules=(rule,)), 1, 2, 3, 0, PodRetention.KEEP_FAILED)
    assert queue_with({}).defaults == Defaults()
    assert queue_with(None).defaults is None


@pytest.mark.parametrize(
    ("defaults", "problem"),
    [
        ([], "spec.defaults: a list is not an object"),
        ({"retry": 3}, "spec.defaults.retry: 3 is not an object"),
        ({"retry": {"limit": -1}}, "spec.defaults.retry.limit: -1 is not between"),
        ({"retry": {"backoff": {"factor": 0}}}, "spec.defaults.retry.backoff.factor: 0 is not between"),
        ({"retry": {"rules": [{}]}}, "spec.defaults.retry.rules[0].action: is missing"),
        ({"timeoutSeconds": 0}, "spec.defaults.timeoutSeconds: 0 is not between"),
        ({"podRetention": "Never"}, 'spec.defaults.podRetention: "Never" is not one of'),
    ],
)
def test_defaults_that_cannot_be_used_are_complained_of(defaults: Any, problem: str) -> None:
    assert queue_with(defaults).problem.startswith(problem)
