"""Kueue's manager as a process, with the CRDs of its own module.

Without its admission webhooks, which every object here can do without; an installation that has them costs more.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from taskjob_cluster import Cluster
from taskjob_cluster.build import USUAL_GO, ensure
from taskjob_cluster.components import COMPONENTS
from taskjob_cluster.credentials import ensure_certificate
from taskjob_cluster.programs import answers

from . import children
from .work import Shape

VERSION = COMPONENTS["kueue"].version
_API = "kueue.x-k8s.io/v1beta2"
_NAMESPACE = "kueue-system"
_PRIORITIES = (50, 100, 200)
_READY_SECONDS = 60
_CONVERTED = ("clusterqueues", "cohorts", "localqueues", "multikueueclusters", "workloads")


@contextmanager
def manager(cluster: Cluster, shape: Shape) -> Iterator[Mapping[str, int]]:
    """The CRDs, the shape's queues and a running manager; yields its pid. Raises RuntimeError if it does not start."""
    binary = ensure(["kueue"])["kueue"]
    webhooks, health = _free_port(), _free_port()
    crds = json.dumps(_list(list(_crds(webhooks))))
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=crds)
    cluster.kubectl("wait", "--for=condition=Established", "-f", "-", input=crds)
    cluster.kubectl("apply", "-f", "-", input=json.dumps(_list(_fixed())))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        ensure_certificate(folder / "tls.crt", folder / "tls.key", common_name="kueue-webhook-service")
        (folder / "config.yaml").write_text(yaml.safe_dump(_configuration(folder, webhooks, health)))
        log = folder / "kueue.log"
        with log.open("wb") as output:
            running = children.start(
                [
                    str(binary),
                    f"--config={folder / 'config.yaml'}",
                    "--feature-gates=VisibilityOnDemand=false",
                    "--zap-log-level=info",
                ],
                {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)},
                output,
            )
        try:
            give_up_at = time.monotonic() + _READY_SECONDS
            while not answers(f"http://127.0.0.1:{health}/readyz"):
                if running.poll() is not None or time.monotonic() > give_up_at:
                    raise RuntimeError(f"Kueue's manager did not become ready:\n{log.read_text()[-4000:]}")
                time.sleep(0.1)
            cluster.kubectl("apply", "-f", "-", input=json.dumps(_list(list(_queues(shape)))))
            active = [f"clusterqueue/{queue.name}" for queue in shape.queues]
            cluster.kubectl("wait", "--for=condition=Active", "--timeout=60s", *active)
            yield {"kueue": running.pid}
        finally:
            kept = [f"localqueue/{queue.name}" for queue in shape.queues]
            cluster.kubectl("delete", "--ignore-not-found", *kept)
            cluster.kubectl("delete", "--ignore-not-found", *(f"clusterqueue/{queue.name}" for queue in shape.queues))
            running.kill()  # while it waits for its certificates it does not hear SIGTERM
            running.wait()


def _crds(webhooks: int) -> Iterator[dict[str, Any]]:
    """The CRDs as the module has them. Those of which it converts versions say where: the manager waits for that."""
    module = COMPONENTS["kueue"].module
    go = shutil.which("go") or USUAL_GO
    done = subprocess.run(
        [go, "mod", "download", "-json", f"{module.path}@{module.version}"], capture_output=True, text=True, check=True
    )
    for place in sorted((Path(json.loads(done.stdout)["Dir"]) / "config/components/crd/bases").glob("*.yaml")):
        crd = yaml.safe_load(place.read_text())
        if crd["spec"]["names"]["plural"] in _CONVERTED:
            client = {"url": f"https://127.0.0.1:{webhooks}/convert"}
            webhook = {"clientConfig": client, "conversionReviewVersions": ["v1"]}
            crd["spec"]["conversion"] = {"strategy": "Webhook", "webhook": webhook}
        yield crd


def _configuration(folder: Path, webhooks: int, health: int) -> dict[str, Any]:
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "namespace": _NAMESPACE,
        "health": {"healthProbeBindAddress": f"127.0.0.1:{health}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"port": webhooks, "certDir": str(folder)},
        "internalCertManagement": {"enable": True},
        "leaderElection": {"leaderElect": False},
        "controller": {"groupKindConcurrency": {"Job.batch": 5, "Pod": 5, "Workload.kueue.x-k8s.io": 5}},
        "clientConnection": {"qps": 1000, "burst": 2000},  # its default, 50, would be what is measured
        "integrations": {"frameworks": ["batch/job"]},
    }


def _fixed() -> list[dict[str, Any]]:
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _NAMESPACE}},
        # Its rotator of certificates fills this in, and does not make it.
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "kueue-webhook-server-cert", "namespace": _NAMESPACE},
        },
        {"apiVersion": _API, "kind": "ResourceFlavor", "metadata": {"name": "any"}},
        *(
            {
                "apiVersion": _API,
                "kind": "WorkloadPriorityClass",
                "metadata": {"name": f"bench-{value}"},
                "value": value,
            }
            for value in _PRIORITIES
        ),
    ]


def _queues(shape: Shape) -> Iterator[dict[str, Any]]:
    for queue in shape.queues:
        cpu: dict[str, Any] = {"name": "cpu", "nominalQuota": str(queue.cpu)}
        if queue.borrow is not None:
            cpu["borrowingLimit"] = str(queue.borrow)
        memory = {"name": "memory", "nominalQuota": "1000Ti"}
        spec: dict[str, Any] = {
            "namespaceSelector": {},
            "resourceGroups": [
                {"coveredResources": ["cpu", "memory"], "flavors": [{"name": "any", "resources": [cpu, memory]}]}
            ],
        }
        if queue.cohort is not None:
            spec["cohortName"] = queue.cohort
        yield {"apiVersion": _API, "kind": "ClusterQueue", "metadata": {"name": queue.name}, "spec": spec}
        meta = {"name": queue.name, "namespace": "default"}
        yield {"apiVersion": _API, "kind": "LocalQueue", "metadata": meta, "spec": {"clusterQueue": queue.name}}


def _list(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
