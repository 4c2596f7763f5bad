"""Epochs after a disaster, where the Lease is lost or history knows a greater one: a second start heals it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from operators import Site
from replicas import EPOCH, LEASES
from taskjob.history.writer import HistoryWriter
from waiting import until

pytestmark = pytest.mark.cluster

BOTH_WAYS = pytest.mark.parametrize("elected", [False, True], ids=["by force", "elected"])


def settings(site: Site, *, elected: bool) -> dict[str, Any]:
    return {
        "leader_election": elected,
        "lease_namespace": site.namespace,
        "lease_seconds": 4,
        "renew_deadline_seconds": 3,
    }


async def claim_history(url: str, epoch: int) -> None:
    writer = HistoryWriter(url, holder="before the disaster")
    await writer.open(epoch)
    await writer.close()


@BOTH_WAYS
def test_an_epoch_that_history_has_passed_is_exceeded_by_the_next_start(site: Site, elected: bool) -> None:
    asyncio.run(claim_history(site.database_url, 500))
    operator = site.operator(**settings(site, elected=elected)).start()
    assert operator.wait_ended(20) == 1
    assert "history belongs to epoch 500 (before the disaster" in operator.log()
    with operator.start():
        operator.wait_ready()
        site.create("after")
        job = site.jobs.wait_phase("after", "Succeeded")
        assert job["status"]["epoch"] > 500
        site.wait_history(lambda told: "after" in told, "it is told")


@BOTH_WAYS
def test_a_lease_that_was_deleted_begins_above_the_epochs_that_objects_carry(site: Site, elected: bool) -> None:
    lease = LEASES.format(namespace=site.namespace) + "/taskjobs-operator"
    operator = site.operator(**settings(site, elected=elected))
    for _ in range(3):
        with operator:
            operator.wait_ready()  # a standby is that too
            until(lambda: operator.ask("/readyz") == (200, "ok\n"), "it leads, in an epoch of its own")
            if not site.jobs.snapshot():
                site.create("before", seconds=600)
    with operator:
        site.jobs.wait_phase("before", "Running")
        site.create("waiting", suspend=True)
        site.jobs.wait_status("waiting", reason="Suspended")
    before = max(int(job["status"]["epoch"]) for job in site.jobs.snapshot().values())
    assert before > 1
    site.api.call("DELETE", lease)
    with operator:
        operator.wait_ready()
        site.here.change("waiting", suspend=False)
        pod = site.jobs.wait_phase("waiting", "Succeeded")
        assert pod["status"]["epoch"] > before
        assert int(site.api.call("GET", lease)["spec"]["leaseTransitions"]) > before
        site.launched("waiting")
        made = [
            pod for kind, pod in site.pods.seen if kind == "ADDED" and pod["metadata"]["name"].startswith("waiting")
        ]
        assert [int(pod["metadata"]["annotations"][EPOCH]) > before for pod in made] == [True]


def test_a_lease_that_can_count_no_further_is_told_of_and_deleting_it_heals(site: Site) -> None:
    leases = LEASES.format(namespace=site.namespace)
    spec = {"holderIdentity": "", "leaseTransitions": 2**31 - 1, "leaseDurationSeconds": 1}
    site.api.call("POST", leases, {"metadata": {"name": "taskjobs-operator"}, "spec": spec})
    operator = site.operator(**settings(site, elected=True)).start()
    assert operator.wait_ended(20) == 1
    assert f"Lease {site.namespace}/taskjobs-operator cannot be acquired" in operator.log()
    site.api.call("DELETE", f"{leases}/taskjobs-operator")
    with operator.start():
        operator.wait_ready()
        until(lambda: operator.ask("/readyz") == (200, "ok\n"), "it leads")
