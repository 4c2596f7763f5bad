"""Fixtures of a whole operator: a control plane with simulated nodes for the session, an operator for each test."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster_api import MERGE, PODS, ClusterApi, InNamespace, Object, Witness, a_job
from kill_story import JOB
from operator_process import OperatorProcess
from recorded import Told, read_history, wait_history
from taskjob_cluster import Cluster, up


@pytest.fixture(scope="session")
def kwok_cluster() -> Iterator[Cluster]:
    """A whole control plane with simulated nodes and an audit log; it ends with the session, or with this process."""
    with up(f"kwok-{os.getpid()}", provider="kwok", audit=True, die_with_parent=True) as started:
        yield started


@pytest.fixture(scope="session")
def kwok_api(kwok_cluster: Cluster) -> Iterator[ClusterApi]:
    """The tests' own connection to it."""
    with ClusterApi(kwok_cluster) as api:
        yield api


@dataclass(slots=True)
class Site:
    """Where one test works: a namespace, a queue and a database of its own, and witnesses of what happens there."""

    cluster: Cluster
    api: ClusterApi
    namespace: str
    queue: str
    database_url: str
    folder: Path
    here: InNamespace
    jobs: Witness
    pods: Witness

    def operator(self, *, name: str = "operator", fresh: bool = False, **settings: object) -> OperatorProcess:
        """An operator for the whole cluster, not started."""
        return OperatorProcess(
            self.cluster, self.database_url, self.folder / f"{name}.log", fresh=fresh, name=name, **settings
        )

    def create(self, name: str, **said: Any) -> Object:
        """Create a TaskJob in this test's queue; see `cluster_api.a_job`."""
        return self.here.create(a_job(name, **({"queue": self.queue} | said)))

    def finish(self, name: str) -> None:
        """Have a job's running pod come to its end now: none that waits for this ends too early on a busy machine."""
        ends = {"metadata": {"annotations": {"taskjobs.dev/kwok-seconds": "0"}}}
        running = [
            pod["metadata"]["name"]
            for pod in self.here.pods().values()
            if pod["metadata"]["labels"].get(JOB) == name and pod["status"]["phase"] == "Running"
        ]
        assert len(running) == 1, f"the pods of {name} that run: {running}"
        self.api.call("PATCH", f"{PODS.format(namespace=self.namespace)}/{running[0]}", ends, MERGE)

    def launched(self, *names: str) -> list[str]:
        """The jobs of the pods that were created, in that order, once pods of all these jobs are seen. That a job has
        ended may be seen before its pod is: two watches tell of them."""

        def seen() -> list[str]:
            return [pod["metadata"]["labels"].get(JOB, "") for kind, pod in self.pods.seen if kind == "ADDED"]

        self.pods.wait_until(lambda _: set(names) <= set(seen()), 20, f"pods of {names} are seen")
        return seen()

    def history(self) -> dict[str, Told]:
        """History of this namespace, by job name."""
        return read_history(self.database_url, self.namespace)

    def wait_history(
        self, condition: Callable[[dict[str, Told]], bool], what: str, seconds: float = 20
    ) -> dict[str, Told]:
        """Wait until history of this namespace says so."""
        return wait_history(self.database_url, condition, seconds, what, self.namespace)


@pytest.fixture
def site(kwok_cluster: Cluster, kwok_api: ClusterApi, database_url: str, tmp_path: Path) -> Iterator[Site]:
    """A place in the shared cluster. All TaskJobs in it are deleted in the end: the next operator would adopt them."""
    namespace = f"test-{secrets.token_hex(4)}"
    kwok_api.create_namespace(namespace)
    kwok_api.create_queue(namespace, cpu=1000, pods=1000)
    here = InNamespace(kwok_api, namespace)
    with here.watch_jobs() as jobs, here.watch_pods() as pods:
        yield Site(kwok_cluster, kwok_api, namespace, namespace, database_url, tmp_path, here, jobs, pods)
        here.delete_all()
        jobs.wait_until(lambda objects: not objects, 20, "all TaskJobs are deleted")
    kwok_api.call("DELETE", f"/apis/taskjobs.dev/v1beta1/taskqueues/{namespace}")
