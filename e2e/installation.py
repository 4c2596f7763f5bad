"""An installation of the chart by real Helm on a cluster with real pods, and what the tests ask of it."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from demo.installed import POSTGRESQL

from charts import CHART, HelmError, helm
from taskjob_cluster import Cluster, ClusterError
from taskjob_cluster.build import ensure
from taskjob_cluster.records import Provider
from taskjob_cluster.volumes import make_volume
from world_of_pods import until

RELEASE = "taskjobs"
NAMESPACE = "taskjobs"
TENANT = "team-a"
OURS = ("taskjobs.dev", "app.kubernetes.io/name=taskjobs")
# Every kind of which the chart makes objects, and what could be left of them.
KINDS = (
    "clusterroles,clusterrolebindings,flowschemas,validatingadmissionpolicies,validatingadmissionpolicybindings,"
    "validatingwebhookconfigurations,mutatingwebhookconfigurations,priorityclasses,apiservices,crds"
)


class Installation:
    """Helm and kubectl for one release."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        persistence: dict[str, Any] = {"enabled": True, "size": "1Gi"}
        if cluster.provider is Provider.LOCAL:
            persistence["storageClass"] = make_volume(cluster, "postgresql")
        self._values: dict[str, Any] = {
            "image": {"tag": "dev", "pullPolicy": "IfNotPresent"},
            "postgresql": {"enabled": True, "image": POSTGRESQL, "persistence": persistence},
            "defaultQueue": {"quota": {"cpu": "2", "memory": "2Gi", "pods": 20}},
            "uninstall": {"runningJobs": "End", "timeoutSeconds": 60},
            "api": {"settings": {"stream_heartbeat_seconds": 0.3}},  # by which a test knows that it has heard all
        }

    def helm(self, *arguments: str, timeout: float = 180) -> str:
        """Helm in the release's namespace. Raises HelmError."""
        return helm(*arguments, f"--namespace={NAMESPACE}", kubeconfig=self.cluster.kubeconfig, timeout=timeout)

    def install(self) -> None:
        """`helm install`, as a user types it, into a namespace in which only restricted pods run."""
        labels = (f"pod-security.kubernetes.io/{mode}=restricted" for mode in ("enforce", "warn"))
        self.cluster.kubectl("create", "namespace", NAMESPACE)
        self.cluster.kubectl("label", "namespace", NAMESPACE, *labels)
        self._release("install")

    def install_again(self) -> None:
        """`helm install` into the namespace of an earlier release, whose CRDs were kept."""
        self._release("install")

    def upgrade(self, *arguments: str, chart: Path = CHART) -> None:
        """`helm upgrade` with the same values and these arguments."""
        self._release("upgrade", *arguments, chart=chart)

    def _release(self, verb: str, *arguments: str, chart: Path = CHART) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as values:
            values.write(yaml.safe_dump(self._values))
            values.flush()
            self.helm(verb, RELEASE, str(chart), f"--values={values.name}", *arguments)

    @contextmanager
    def api(self) -> Iterator[str]:
        """The API's URL, through `kubectl port-forward` to its Service."""
        program = ensure(["kubectl"])["kubectl"]
        command = [str(program), f"--kubeconfig={self.cluster.kubeconfig}", "-n", NAMESPACE, "port-forward"]
        with subprocess.Popen(
            [*command, f"service/{RELEASE}-api", ":80"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as forwarding:
            try:
                assert forwarding.stdout is not None
                line = forwarding.stdout.readline()
                port = re.match(r"Forwarding from 127\.0\.0\.1:(\d+)", line)
                assert port, f"kubectl port-forward: {line}"
                yield f"http://127.0.0.1:{port[1]}"
            finally:
                forwarding.terminate()

    def token(self, account: str, namespace: str) -> str:
        """A token of a service account."""
        return self.kubectl("create", "token", account, namespace=namespace).strip()

    @staticmethod
    def decoded(value: str) -> str:
        """A value of a Secret."""
        return base64.b64decode(value).decode()

    def test(self) -> str:
        """`helm test`; what it printed. AssertionError with the logs when it is not green."""
        try:
            return self.helm("test", RELEASE, "--timeout=150s")
        except HelmError as error:
            raise AssertionError(f"{error}\n{self.trouble()}") from None

    def kubectl(self, *arguments: str, namespace: str = NAMESPACE, **options: Any) -> str:
        """kubectl in a namespace. Raises ClusterError."""
        return self.cluster.kubectl("-n", namespace, *arguments, **options)

    def submit(self, job: dict[str, Any], *arguments: str, namespace: str = TENANT) -> None:
        """Create a TaskJob. Raises ClusterError with the server's words."""
        self.kubectl("create", "-f", "-", *arguments, namespace=namespace, input=json.dumps(job))

    def status(self, name: str, namespace: str = TENANT) -> dict[str, Any]:
        """A TaskJob's status, empty before the operator wrote one."""
        found = json.loads(self.kubectl("get", "taskjob", name, "-o", "json", namespace=namespace))
        status: dict[str, Any] = found.get("status") or {}
        return status

    def wait(self, name: str, *phases: str, seconds: float = 60) -> dict[str, Any]:
        """Wait until the TaskJob is in one of the phases; its status."""

        def look() -> dict[str, Any] | None:
            status = self.status(name)
            return status if status.get("phase") in phases else None

        found: dict[str, Any] = self.patiently(look, seconds, f"{name} in {phases}")
        return found

    def patiently(self, look: Callable[[], Any], seconds: float, what: str) -> Any:
        """`until`, with what the installation's pods say when it does not come."""
        try:
            return until(look, seconds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.trouble()}") from None

    def trouble(self) -> str:
        """What a person would look at first: the pods, their events and the logs."""
        said = []
        for command in (
            ("get", "pods", "-o", "wide"),
            ("get", "events", "--sort-by=.lastTimestamp"),
            ("logs", "deployment/taskjobs-operator", "--tail=30"),
            ("logs", "statefulset/taskjobs-postgresql", "--tail=15"),
        ):
            try:
                said.append(self.kubectl(*command))
            except ClusterError as error:
                said.append(str(error))
        return "\n".join(said)

    def left(self) -> list[str]:
        """Objects outside of namespaces that are ours by label or by name, and namespaced ones in any namespace."""
        found = self.cluster.kubectl("get", KINDS, "-o", "name").split()
        left = [name for name in found if "taskjobs" in name]
        kinds = "pods,deployments,statefulsets,services,configmaps,secrets,serviceaccounts,roles,rolebindings,jobs"
        return left + self.cluster.kubectl("get", kinds, "-A", "-l", OURS[1], "-o", "name").split()


def figure(name: str, value: float, unit: str, target: float) -> bool:
    """Print one figure as a JSON object on a line; whether its target (at most) is met."""
    met = value <= target
    print(
        json.dumps({"figure": name, "value": round(value, 2), "unit": unit, "target": target, "met": met}), flush=True
    )
    return met


def seconds_of(action: Callable[[], object]) -> float:
    """How long it took."""
    began = time.monotonic()
    action()
    return time.monotonic() - began
