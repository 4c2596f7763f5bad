"""Quotas that follow the nodes, in a whole operator on a real API server: nodes come and go, others take their part,
and without the right to watch them the queue says what is missing.

The nodes are objects alone: nobody runs them, which is all that a quota needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api_server import a_taskjob
from charts import OPERATOR, apply, kubeconfig_of, of_the_operator
from operator_process import OperatorProcess
from taskjob.kube.pods import JOB_NAME
from taskjob_cluster import Cluster
from waiting import until

pytestmark = pytest.mark.cluster
LABEL = "taskjobs.dev/test"


class Site:
    """A queue whose quota follows the nodes of this test alone."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace, self.queue = cluster, namespace, namespace
        spec = {"quotaFromNodes": {"percent": 50, "nodeSelector": {LABEL: namespace}}}
        self.make(
            {"apiVersion": "taskjobs.dev/v1beta1", "kind": "TaskQueue", "metadata": {"name": self.queue}, "spec": spec}
        )

    def make(self, manifest: dict[str, Any], *arguments: str) -> None:
        self.cluster.kubectl("create", *arguments, "-f", "-", input=json.dumps(manifest))

    def make_node(self, name: str, cpu: str, ready: bool = True) -> None:
        full = f"{self.namespace}-{name}"
        meta = {"name": full, "labels": {LABEL: self.namespace}}
        self.make({"apiVersion": "v1", "kind": "Node", "metadata": meta})
        room = {"cpu": cpu, "memory": "8Gi", "pods": "10", "nvidia.com/gpu": "1"}
        conditions = [{"type": "Ready", "status": str(ready)}]
        self.patch("node", full, {"status": {"allocatable": room, "capacity": room, "conditions": conditions}})

    def patch(self, kind: str, name: str, change: dict[str, Any], *where: str) -> None:
        self.cluster.kubectl(
            *where, "patch", kind, name, "--subresource=status", "--type=merge", "-p", json.dumps(change)
        )

    def make_pod(self, name: str, node: str, cpu: str) -> None:
        """Somebody else's."""
        container = {"name": "main", "image": "busybox", "resources": {"requests": {"cpu": cpu}}}
        spec = {
            "nodeName": f"{self.namespace}-{node}",
            "containers": [container],
            "tolerations": [{"operator": "Exists"}],
        }
        self.make({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}, "-n", self.namespace)

    def submit(self, name: str, cpu: str) -> None:
        job = a_taskjob(name, queue=self.queue, resources={"requests": {"cpu": cpu}})
        self.make(job, "-n", self.namespace)

    def job(self, name: str) -> tuple[str, str]:
        found = json.loads(self.cluster.kubectl("-n", self.namespace, "get", "taskjob", name, "-o", "json"))["status"]
        return found["reason"], found.get("message", "")

    def has_pod(self, name: str) -> bool:
        pods = json.loads(self.cluster.kubectl("-n", self.namespace, "get", "pods", "-o", "json"))["items"]
        return any(pod["metadata"]["labels"].get(JOB_NAME) == name for pod in pods if "labels" in pod["metadata"])

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.cluster.kubectl("get", "taskqueue", self.queue, "-o", "json"))
        status: dict[str, Any] = found.get("status", {})
        return status

    def quota(self, resource: str = "cpu") -> str | None:
        found: str | None = self.status.get("quota", {}).get(resource)
        return found

    def active(self) -> tuple[str, str]:
        found = {each["type"]: each for each in self.status.get("conditions", ())}.get("Active", {})
        return found.get("reason", ""), found.get("message", "")


@pytest.fixture
def site(cluster: Cluster, namespace: str) -> Iterator[Site]:
    yield Site(cluster, namespace)
    cluster.kubectl("delete", "node", "-l", f"{LABEL}={namespace}")
    cluster.kubectl("delete", "taskqueue", namespace)


def test_the_quota_follows_nodes_and_the_pods_of_others(site: Site, tmp_path: Path, database_url: str) -> None:
    site.make_node("a", "4")
    site.make_node("broken", "100", ready=False)
    site.make_pod("others", "a", "500m")
    site.submit("first", "1")
    with OperatorProcess(site.cluster, database_url, tmp_path / "log", namespaces=[site.namespace]).start() as operator:
        operator.wait_ready()
        until(lambda: site.has_pod("first"), "what fits starts")
        until(lambda: site.quota() == "1500m", "half of four, less a half")
        assert (site.quota("nvidia.com/gpu"), site.quota("pods")) == ("1", "4")
        assert site.active()[0] == "Ready"

        site.submit("second", "1")
        until(lambda: site.job("second")[0] == "WaitingForQuota", "the second waits")
        site.make_node("b", "2")
        until(lambda: site.has_pod("second"), "a node appears, and with it the second starts")

        site.make_pod("more", "b", "1")
        until(lambda: site.quota() == "1500m", "others' pods take their part")
        over = {each["type"]: each["status"] for each in site.status["conditions"]}
        until(lambda: site.status["conditions"][1]["status"] == "True", f"more is in use than may be: {over}")
        site.patch("pod", "more", {"status": {"phase": "Succeeded"}}, "-n", site.namespace)
        until(lambda: site.quota() == "2500m", "one that has ended gives it back")

        site.cluster.kubectl("delete", "node", f"{site.namespace}-a")
        until(lambda: site.quota() == "1", "a node vanishes")
        site.submit("third", "2")
        until(lambda: site.job("third")[0] == "ExceedsQuota", "what no node can give is told at once")


@pytest.mark.parametrize("watch_cluster", [True, False], ids=["not granted", "switched off"])
def test_without_the_right_the_queue_and_its_jobs_say_what_is_missing(
    site: Site, tmp_path: Path, database_url: str, watch_cluster: bool
) -> None:
    home = site.namespace
    apply(
        site.cluster,
        of_the_operator(home, f"--set=namespaces={{{home}}},rbac.queueStatus=true,defaultQueue.create=false"),
    )
    kubeconfig = kubeconfig_of(site.cluster, home, OPERATOR, tmp_path / "kubeconfig")
    settings: dict[str, Any] = {"kubeconfig": str(kubeconfig), "lease_namespace": home, "watch_cluster": watch_cluster}
    site.make_node("a", "4")
    site.submit("first", "1")
    with OperatorProcess(
        site.cluster, database_url, tmp_path / "log", namespaces=[home], **settings
    ).start() as operator:
        operator.wait_ready()
        until(lambda: site.job("first")[0] == "QueueNotFound", "the job is told")
        until(lambda: site.active()[0] == "QuotaFromNodesForbidden", "the queue is told")
        for message in (site.job("first")[1], site.active()[1]):
            assert (
                "let it list and watch nodes and pods in the whole cluster (chart value rbac.watchCluster)" in message
            )
            assert ("nodes is forbidden" in message) is watch_cluster

        if watch_cluster:
            role, account = f"{home}-nodes", f"--serviceaccount={home}:{OPERATOR}"
            site.cluster.kubectl("create", "clusterrole", role, "--verb=list,watch", "--resource=nodes,pods")
            site.cluster.kubectl("create", "clusterrolebinding", role, f"--clusterrole={role}", account)
            until(lambda: site.has_pod("first"), "once it is granted, the job starts", 60)
