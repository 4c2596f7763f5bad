"""Running a job again under a whole operator: a real API server, simulated nodes, a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import pytest

from cluster_api import Object, RefusedError, after, ended
from operator_process import OperatorProcess
from operators import Site

pytestmark = pytest.mark.cluster


@pytest.fixture
def operator(site: Site) -> Iterator[OperatorProcess]:
    """A running operator."""
    with site.operator().start() as running:
        yield running.wait_ready()


@pytest.mark.usefixtures("operator")
def test_a_failed_graph_is_run_again_and_history_holds_both_runs(site: Site) -> None:
    site.create("first", exits="1", retry={"limit": 1, "backoff": {"initialSeconds": 0}})
    site.create("then", dependsOn=after("first"))
    site.jobs.wait_phase("first", "Failed")
    site.jobs.wait_phase("then", "Skipped")

    site.here.change("first", rerun=1)
    site.here.change("then", rerun=1)

    site.jobs.wait_status("first", phase="Failed", run=1, attempt=2, retries=1, previousPhase="Failed")
    site.jobs.wait_status("then", phase="Skipped", run=1, previousPhase="Skipped")
    told = site.wait_history(
        lambda all_told: (
            all_told["first"].ended and len(all_told["first"].logs) == 4 and len(all_told["then"].transitions) == 4
        ),
        "both runs are told",
    )
    assert [(row["run"], row["attempt"]) for row in told["first"].attempts] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert [one.faults() for one in told.values()] == [[], []]
    assert told["then"].phases == ["Pending", "Skipped", "Pending", "Skipped"]


def over(site: Site, name: str, jobs: Mapping[str, Object]) -> bool:
    """Whether the job has ended, or is not there any more."""
    return ended(jobs[name]) if name in jobs else bool(site.jobs.history(name))


def raised(site: Site, name: str) -> bool:
    """Ask for a rerun; False if the job is gone."""
    try:
        site.here.change(name, rerun=1, ttlSecondsAfterFinished=3600)
    except RefusedError as error:
        if error.code != 404:
            raise
        return False
    return True


@pytest.mark.usefixtures("operator")
def test_a_rerun_and_the_removal_by_ttl_never_both_happen(site: Site) -> None:
    names = [f"short-{number}" for number in range(30)]
    rerun = set()
    for number, name in enumerate(names):
        site.create(name, ttlSecondsAfterFinished=number % 2)
        # With a TTL of 0 its removal is on its way, if it is not over.
        site.jobs.wait_until(partial(over, site, name), 20, f"{name} has ended")
        if raised(site, name):
            rerun.add(name)
    print(f"{len(rerun)} of {len(names)} were rerun before they were removed")
    for name in rerun:
        site.jobs.wait_status(name, phase="Succeeded", run=1)
    site.wait_history(
        lambda all_told: (
            {name for name in names if all_told[name].job["gone_at"] is None}
            == {name for name in names if all_told[name].job["run"] == 1 and all_told[name].ended}
            == rerun
        ),
        "those that were not rerun are gone, the others have ended again",
    )
    told = site.history()
    assert [fault for one in told.values() for fault in one.faults()] == []
