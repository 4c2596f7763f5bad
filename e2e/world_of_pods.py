"""What the end-to-end tests do: kubectl in a namespace, the API over HTTP, waiting for a condition."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import yaml

from taskjob_cluster import Cluster, ClusterError

BUSYBOX = "docker.io/taskjobs/busybox:dev"
SLEEPS = "trap 'exit 143' TERM; sleep 600 & wait"
_T = TypeVar("_T")


def until(look: Callable[[], _T | None], seconds: float = 60, what: str = "it") -> _T:
    """Look again and again until something truthy is seen, and return it; AssertionError with the last look if not."""
    give_up_at = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < give_up_at, f"{what} did not come within {seconds:.0f} s; seen last: {seen!r}"
        time.sleep(0.1)


class Bench:
    """kubectl in one namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def kubectl(self, *args: str, input: str | None = None) -> str:
        """Run kubectl in the namespace. Raises ClusterError with what it said."""
        return self.cluster.kubectl("-n", self.namespace, *args, input=input)

    def apply(self, *manifests: dict[str, Any]) -> None:
        """kubectl apply."""
        self.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(manifests))

    def job(self, name: str) -> dict[str, Any]:
        """A TaskJob as it now is."""
        found: dict[str, Any] = json.loads(self.kubectl("get", "tj", name, "-o", "json"))
        return found

    def status(self, name: str) -> dict[str, Any]:
        """A TaskJob's status, empty before the operator wrote one."""
        found: dict[str, Any] = self.job(name).get("status", {})
        return found

    def wait(self, name: str, *phases: str, seconds: float = 60) -> dict[str, Any]:
        """Wait until the TaskJob is in one of the phases; its status."""

        def look() -> dict[str, Any] | None:
            self.seen = self.status(name)
            return self.seen if self.seen.get("phase") in phases else None

        try:
            return until(look, seconds, f"{name} in {phases}")
        except AssertionError as error:
            pods = self.kubectl("get", "pods", "-o", "wide")
            raise AssertionError(f"{error}\nstatus: {self.seen}\n{pods}") from None

    def pods(self, name: str) -> list[dict[str, Any]]:
        """The pods of a TaskJob that are there."""
        uid = self.job(name)["metadata"]["uid"]
        listed = json.loads(self.kubectl("get", "pods", "-l", f"taskjobs.dev/job-uid={uid}", "-o", "json"))
        found: list[dict[str, Any]] = listed["items"]
        return found

    def logs(self, pod: str) -> str:
        """kubectl logs; empty while there is nothing to read."""
        try:
            return self.kubectl("logs", pod)
        except ClusterError:
            return ""


def a_taskjob(name: str, script: str, **spec: Any) -> dict[str, Any]:
    """A TaskJob that runs a shell script."""
    return {
        "apiVersion": "taskjobs.dev/v1beta1",
        "kind": "TaskJob",
        "metadata": {"name": name},
        "spec": {
            "image": BUSYBOX,
            "command": ["sh", "-c", script],
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
            **spec,
        },
    }


def templated(name: str, script: str, spec: dict[str, Any], **job: Any) -> dict[str, Any]:
    """A TaskJob whose pod has more to it than the short form says."""
    made = a_taskjob(name, script)
    short = {field: made["spec"].pop(field) for field in ("image", "command", "resources")}
    made["spec"] |= {"template": {"spec": {"containers": [{"name": "main", **short}], **spec}}, **job}
    return made


class Api(httpx.Client):
    """The API over HTTP."""

    def job_id(self, bench: Bench, name: str) -> str:
        """The id by which the API knows a TaskJob."""
        uid: str = bench.job(name)["metadata"]["uid"]
        return uid

    def log(self, job_id: str, **query: Any) -> str:
        """The log of a job, from wherever it is."""
        answer = self.get(f"/jobs/{job_id}/logs", params=query)
        assert answer.status_code == 200, answer.text
        return answer.text


class ApiProcess:
    """The API as the command that a user types."""

    def __init__(self, cluster: Cluster, database_url: str, log: Path) -> None:
        self._log = log
        self._client: Api | None = None
        self._environment = {
            **cluster.environment,
            "TASKJOBS_DATABASE_URL": database_url,
            "TASKJOBS_KUBECONFIG": str(cluster.kubeconfig),
            "TASKJOBS_API_PORT": "0",
            "TASKJOBS_INSECURE_LOCAL": "true",
        }

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            command = [sys.executable, "-m", "taskjob_api"]
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def wait_ready(self) -> Api:
        """Wait until it answers; a client for it."""
        port = until(self._port, 30, f"the API's port in its log: {self._log.read_text()}")
        client = self._client = Api(base_url=f"http://127.0.0.1:{port}", timeout=30)
        until(lambda: client.get("/readyz").status_code == 200, 30, "the API's readiness")
        return client

    def _port(self) -> int | None:
        assert self._process.poll() is None, f"the API ended:\n{self._log.read_text()}"
        for line in self._log.read_text().splitlines():
            _, found, rest = line.partition("http://127.0.0.1:")
            if found and rest.split()[0].strip("/").isdigit():
                return int(rest.split()[0].strip("/"))
        return None
