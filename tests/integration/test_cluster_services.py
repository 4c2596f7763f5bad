"""Services and DNS of the local provider: what a pod finds as in any cluster, and that the machine is as before."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from taskjob_cluster import Cluster, ClusterError, down, images, providers, services, up
from taskjob_cluster.build import find
from taskjob_cluster.components import COMPONENTS
from taskjob_cluster.records import SERVICES_HOST

pytestmark = [pytest.mark.cluster, pytest.mark.real_pods]
FETCH = (
    # A connection that was begun before kube-proxy knew the Service leads nowhere, however long: begin another.
    "timeout 2 wget -q -O - http://web.default.svc.cluster.local:8000/said"
    " && nslookup kubernetes.default.svc.cluster.local"
)


@pytest.fixture(scope="module")
def with_services() -> Iterator[Cluster]:
    """A cluster of its own. kube-proxy and CoreDNS take minutes to build, so that is left to `make test-helm`."""
    if not (local := providers.local()).possible:
        pytest.skip(local.reason)
    if missing := [name for name in services.PROGRAMS if find(COMPONENTS[name]) is None]:
        pytest.skip(f"not built yet: {', '.join(missing)} (`python -m taskjob_cluster build {' '.join(missing)}`)")
    if rules():
        pytest.skip("another cluster with Services runs on this machine, and there can be one only")
    with up(f"services-{os.getpid()}", provider="local", services=True, crds=False) as cluster:
        yield cluster
    assert rules() == [], "rules of kube-proxy were left behind"
    assert SERVICES_HOST not in subprocess.run(["ip", "address"], capture_output=True, text=True, check=True).stdout


def rules() -> list[str]:
    """What a kube-proxy has put into the machine's tables."""
    found = []
    for command in ("iptables-save", "ip6tables-save"):
        done = subprocess.run(
            [command],
            env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
            capture_output=True,
            text=True,
            check=False,
        )
        found += [line for line in done.stdout.splitlines() if "KUBE-" in line]
    return found


def a_pod(name: str, script: str, **labels: str) -> str:
    container = {"name": "main", "image": images.BUSYBOX, "command": ["sh", "-c", script]}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels},
            "spec": {"restartPolicy": "Never", "containers": [container]},
        }
    )


def test_a_pod_reaches_another_by_its_services_name_and_the_api_server_by_its_own(with_services: Cluster) -> None:
    kubectl = with_services.kubectl
    kubectl("apply", "-f", "-", input=a_pod("web", "cd /tmp && echo hello > said && httpd -f -p 8000", app="web"))
    kubectl("expose", "pod", "web", "--port=8000")
    kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")

    kubectl("apply", "-f", "-", input=a_pod("asks", f"until {FETCH}; do sleep 0.2; done"))
    with_services.wait_for("pod/asks", "--for=jsonpath={.status.phase}=Succeeded")

    said = kubectl("logs", "asks")
    assert "hello" in said
    assert kubectl("get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}") in said
    endpoints = kubectl("get", "endpointslices", "kubernetes", "-o", "jsonpath={.endpoints[*].addresses[*]}")
    assert endpoints == SERVICES_HOST


def test_a_second_cluster_with_services_is_refused_with_the_name_of_the_first(with_services: Cluster) -> None:
    second = f"second-{os.getpid()}"
    with pytest.raises(ClusterError, match=with_services.name):
        up(second, provider="local", services=True, crds=False)
    down(second)
    assert with_services.kubectl("get", "--raw", "/readyz") == "ok", "the first one goes on"
    assert rules(), "and keeps its rules"
