"""Evictions under a whole operator: a real API server, simulated nodes, a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from operator_process import OperatorProcess
from operators import Site

pytestmark = pytest.mark.cluster


@pytest.fixture
def operator(site: Site) -> Iterator[OperatorProcess]:
    """A running operator."""
    with site.operator().start() as running:
        yield running.wait_ready()


def a_narrow_queue(site: Site) -> str:
    """A queue for one pod, in which the higher priority has the lower evicted."""
    name = f"{site.queue}-narrow"
    rules = {"preemption": {"withinQueue": "LowerPriority", "minRuntimeSeconds": 0}}
    site.api.create_queue(name, rules, pods=1)
    return name


@pytest.mark.usefixtures("operator")
def test_a_high_job_has_a_normal_one_evicted_which_comes_back_and_succeeds_uncharged(site: Site) -> None:
    narrow = a_narrow_queue(site)
    site.create("normal", queue=narrow, seconds=600)
    site.jobs.wait_phase("normal", "Running")
    site.create("high", queue=narrow, priority="High", seconds=1)
    site.jobs.wait_phase("high", "Succeeded")
    site.jobs.wait_status("normal", 40, phase="Running", attempt=2)
    site.finish("normal")
    status = site.jobs.wait_phase("normal", "Succeeded", 40)["status"]
    assert (status["attempt"], status.get("retries", 0)) == (2, 0)
    stops = [found["status"] for _, found in site.jobs.history("normal") if found["status"].get("stopping")]
    assert {stop["stopping"] for stop in stops} == {"Preempted"}, "the reason is written before the pod is ended"
    told = site.wait_history(
        lambda all_told: len(all_told) == 2 and all(one.ended for one in all_told.values()), "both ended"
    )
    assert told["normal"].phases == ["Pending", "Starting", "Running", "Pending", "Starting", "Running", "Succeeded"]
    row = told["normal"].transitions[3]
    assert row["reason"] == "Preempted"
    assert row["message"] == f'preempted for a job of queue "{narrow}", priority High', "other tenants may read it"
    assert [attempt["exit_code"] for attempt in told["normal"].attempts] == [143, 0]
    assert [fault for one in told.values() for fault in one.faults()] == []


def test_an_operator_killed_while_a_victim_ends_goes_on_as_if_nothing_had_been(site: Site) -> None:
    narrow = a_narrow_queue(site)
    with site.operator().start() as running:
        running.wait_ready()
        site.create("normal", queue=narrow, seconds=600)
        site.create("waiting", queue=narrow, seconds=1)
        site.jobs.wait_phase("normal", "Running")
        site.create("high", queue=narrow, priority="High", seconds=1)
        site.jobs.wait_status("normal", stopping="Preempted")
        running.kill()
    with site.operator(name="next").start() as running:
        running.wait_ready()
        site.jobs.wait_phase("high", "Succeeded", 40)
        site.jobs.wait_status("normal", 40, phase="Running", attempt=2)
        site.finish("normal")
        for name in ("normal", "waiting"):
            status = site.jobs.wait_phase(name, "Succeeded", 40)["status"]
            assert status.get("retries", 0) == 0
        assert site.jobs["normal"]["status"]["attempt"] == 2
    started = site.launched("normal", "high", "waiting")
    assert list(dict.fromkeys(started)) == ["normal", "high", "waiting"], "what the victim left was kept for high"


@pytest.mark.usefixtures("operator")
def test_a_drained_queue_gives_back_what_it_runs_and_goes_on_when_it_is_released(site: Site) -> None:
    drained = f"{site.queue}-drained"
    site.api.create_queue(drained, pods=1)
    site.create("job", queue=drained, seconds=600)
    site.jobs.wait_phase("job", "Running")
    site.api.change_queue(drained, stopPolicy="HoldAndDrain")
    held = site.jobs.wait_status("job", phase="Pending", reason="QueueHeld")
    assert "spec.stopPolicy" in held["status"]["message"]
    site.pods.wait_until(lambda pods: not pods, 20, "no pod is left")
    site.api.change_queue(drained, stopPolicy="None")
    site.jobs.wait_status("job", 40, phase="Running", attempt=2)
    site.finish("job")
    status = site.jobs.wait_phase("job", "Succeeded", 40)["status"]
    assert (status["attempt"], status.get("retries", 0)) == (2, 0)
