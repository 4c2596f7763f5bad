"""Concurrency keys under a whole operator: a real API server, simulated nodes, a real PostgreSQL."""

from __future__ import annotations

import pytest

from cluster_api import RefusedError, Witness, ended
from operators import Site

pytestmark = pytest.mark.cluster


def most_at_once(pods: Witness) -> int:
    """The most pods that were alive (not ended, not gone) at one time."""
    alive: set[str] = set()
    most = 0
    for kind, pod in pods.seen:
        uid = pod["metadata"]["uid"]
        if kind == "DELETED" or pod["status"]["phase"] in ("Succeeded", "Failed"):
            alive.discard(uid)
        else:
            alive.add(uid)
        most = max(most, len(alive))
    return most


def test_no_more_than_the_limit_hold_a_key_also_while_operators_are_killed(site: Site) -> None:
    held = {"key": "licence", "limit": 3}
    names = [f"job-{number}" for number in range(24)]
    with site.operator().start() as first:
        first.wait_ready()
        for name in names:
            site.create(name, concurrency=held, seconds=0.2)
        site.jobs.wait_until(lambda jobs: sum(map(ended, jobs.values())) >= 6, 30, "some have ended")
        waits = site.jobs.wait_status(names[-1], reason="ConcurrencyLimit")
        assert 'concurrency key "licence" of this namespace is held by "job-' in waits["status"]["message"]
        first.kill()
    with site.operator(name="second").start() as second:
        second.wait_ready()
        site.jobs.wait_until(lambda jobs: all(map(ended, jobs.values())), 60, "all have ended")
        assert {job["status"]["phase"] for job in site.jobs.snapshot().values()} == {"Succeeded"}
        assert most_at_once(site.pods) == 3


def test_a_job_that_does_not_want_to_wait_is_skipped_while_another_holds_the_key(site: Site) -> None:
    with site.operator().start() as operator:
        operator.wait_ready()
        site.create("holder", concurrency={"key": "report"}, seconds=600)
        site.jobs.wait_phase("holder", "Running")
        site.create("second", concurrency={"key": "report", "onConflict": "Reject"})
        skipped = site.jobs.wait_phase("second", "Skipped")["status"]
        assert skipped["reason"] == "ConcurrencyConflict"
        assert '"holder"' in skipped["message"]
        site.here.change("holder", cancel=True)
        site.jobs.wait_phase("holder", "Cancelled")
        site.create("third", concurrency={"key": "report", "onConflict": "Reject"})
        site.jobs.wait_phase("third", "Succeeded")


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({}, "spec.concurrency.key"),
        ({"key": "a:b"}, "spec.concurrency.key"),
        ({"key": "a", "limit": 0}, "spec.concurrency.limit"),
        ({"key": "a", "onConflict": "Fight"}, "spec.concurrency.onConflict"),
        ({"key": "a", "scope": "Cluster"}, "spec.concurrency.scope"),
    ],
)
def test_what_is_no_key_is_refused_with_its_field(site: Site, said: dict[str, object], field: str) -> None:
    with pytest.raises(RefusedError) as refused:
        site.create("odd", concurrency=said)
    assert field in refused.value.message
