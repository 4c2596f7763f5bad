"""The API server is killed and started again under load: the operator goes on, or is restarted as Kubernetes would."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from cluster_api import ClusterApi, InNamespace, Witness, a_job, after, ended
from kill_story import pods_created_twice
from operator_process import OperatorProcess
from recorded import wait_history
from taskjob_cluster import Cluster, up

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(200)]

JOBS = 80
OUTAGES = 3


@pytest.fixture
def frail_cluster() -> Iterator[Cluster]:
    """A control plane of this test alone, whose API server is killed."""
    with up(f"frail-{os.getpid()}", provider="kwok", audit=True, die_with_parent=True) as started:
        yield started


class Supervisor:
    """Starts an operator again when it has ended by itself, as a Deployment would."""

    def __init__(self, operator: OperatorProcess) -> None:
        self._operator = operator
        self._stopping = threading.Event()
        self.restarts = 0
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def __enter__(self) -> Supervisor:
        if not self._operator.alive:
            self._operator.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stopping.wait(0.2):
            if not self._operator.alive:
                self.restarts += 1
                self._operator.start()


def wait_ended(jobs: Witness, count: int) -> None:
    """Wait until so many jobs have ended."""
    jobs.wait_until(lambda found: sum(map(ended, found.values())) >= count, 60, f"{count} have ended")


def test_an_api_server_that_is_killed_under_load_costs_no_job_and_doubles_no_pod(
    frail_cluster: Cluster, database_url: str, tmp_path: object
) -> None:
    namespace = "frail"
    with ClusterApi(frail_cluster) as api:
        api.create_namespace(namespace)
        api.create_queue("narrow", pods=10)
        here = InNamespace(api, namespace)
        operator = OperatorProcess(frail_cluster, database_url, frail_cluster.directory / "operator.log")
        with here.watch_jobs() as jobs, operator, Supervisor(operator) as supervisor:
            operator.wait_ready()
            for number in range(JOBS):
                here.create(
                    a_job(
                        f"job-{number:02d}",
                        queue="narrow",
                        seconds=0.3,
                        until=1.0,
                        exits="1,0" if number % 4 == 0 else "0",
                        retry={"limit": 1, "backoff": {"initialSeconds": 0}},
                        dependsOn=after(f"job-{number - 7:02d}") if number % 3 == 0 and number >= 7 else [],
                    )
                )
            for outage in range(1, OUTAGES + 1):
                done = JOBS * outage // (OUTAGES + 2)
                wait_ended(jobs, done)
                frail_cluster.restart_component("kube-apiserver", kill=True)
            for other in (
                "kube-scheduler",
                "kwok",
            ):  # after outages their clients wait for up to a minute, ours need not
                frail_cluster.restart_component(other)
            jobs.wait_until(lambda found: len(found) == JOBS and all(map(ended, found.values())), 90, "all jobs end")
            told = wait_history(
                database_url,
                lambda told: (
                    len(told) == JOBS
                    and all(one.ended and len(one.logs) == one.job["attempt"] for one in told.values())
                ),
                40,
                "all are recorded, with a log of each attempt",
            )
            print(f"{OUTAGES} outages; the operator was restarted {supervisor.restarts} times")
        assert frail_cluster.audit_log is not None
        creates, twice = pods_created_twice(frail_cluster.audit_log, namespace)
        print(f"{creates} pods were created")
        assert twice == {}
        for number in range(JOBS):
            status = here.job(f"job-{number:02d}")["status"]
            retries = 1 if number % 4 == 0 else 0
            assert (status["phase"], status["retries"], status["attempt"]) == ("Succeeded", retries, retries + 1), (
                status
            )
        assert [f"{name}: {fault}" for name, one in told.items() for fault in one.faults()] == []
