"""A real node on this machine: pods run, can be read and entered, and `down` leaves the machine as it was."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from taskjob_cluster import Cluster, down, get, images, providers, up
from taskjob_cluster.leftovers import CGROUPS
from taskjob_cluster.node import mark

NAME = f"local-{os.getpid()}"
ABSENT = providers.local().reason

pytestmark = [pytest.mark.real_pods, pytest.mark.skipif(bool(ABSENT), reason=ABSENT or "it can run")]


def quiet(line: str) -> None:
    """Progress that nobody reads."""


@pytest.fixture(scope="module")
def node() -> Iterator[Cluster]:
    try:
        yield up(NAME, provider="local", kwok_nodes=1, crds=False, on_progress=quiet)
    finally:
        down(NAME, on_progress=quiet)


def a_pod(name: str, image: str, *command: str, **spec: object) -> dict[str, object]:
    container = {"name": "main", "image": image, "command": list(command)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "containers": [container], **spec},
    }


def run(cluster: Cluster, *pods: dict[str, object]) -> None:
    cluster.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))


def text_of(note: Path) -> str:
    """Nothing of a note that is gone: another cluster on this machine may be taking its own away."""
    try:
        return note.read_text()
    except FileNotFoundError:
        return ""


def traces(directory: Path) -> dict[str, list[str]]:
    """What a cluster has on the machine besides its folder, by kind of thing."""
    name = mark(directory)
    mounts = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return {
        "processes": [line for line in lines if str(directory) in line],
        "mounts": [point for point in mounts if point.startswith(str(directory))],
        "links": [link for link in psutil.net_if_addrs() if link == name],
        "cgroups": [str(place) for place in (CGROUPS / name, *CGROUPS.glob(f"*/{name}")) if place.exists()],
        "network notes": [
            str(note) for note in Path("/var/lib/cni/results").glob("*") if str(directory) in text_of(note)
        ],
    }


def test_a_pod_runs_to_completion_and_its_log_can_be_read(node: Cluster) -> None:
    run(node, a_pod("hello", images.BUSYBOX, "sh", "-c", "echo hello from a real pod"))
    node.wait_for("pod/hello", "--for=jsonpath={.status.phase}=Succeeded")
    assert node.kubectl("logs", "hello") == "hello from a real pod\n"


def test_a_running_pod_can_be_entered(node: Cluster) -> None:
    run(node, a_pod("server", images.BUSYBOX, "sleep", "600"))
    node.wait_for("pod/server", "--for=condition=Ready")
    assert node.kubectl("exec", "server", "--", "hostname") == "server\n"


def test_the_python_image_runs_unprivileged_on_a_read_only_root(node: Cluster, tmp_path: Path) -> None:
    node.load_image(images.archive(images.PYTHON, quiet))
    script = "import collections, json, sqlite3, ssl, sys; print(json.dumps(collections.Counter('hello')['l']))"
    pod = a_pod("counts", images.PYTHON, "python3", "-c", script)
    spec = pod["spec"]
    assert isinstance(spec, dict)
    spec["securityContext"] = {"runAsUser": 65532, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    spec["containers"][0]["securityContext"] = {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    run(node, pod)
    node.wait_for("pod/counts", "--for=jsonpath={.status.phase}=Succeeded")
    assert node.kubectl("logs", "counts") == "2\n"


def test_simulated_pods_run_beside_the_real_node_when_asked(node: Cluster) -> None:
    toleration = {"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}
    run(node, a_pod("simulated", "any", nodeSelector={"type": "kwok"}, tolerations=[toleration]))
    node.wait_for("pod/simulated", "--for=jsonpath={.status.phase}=Succeeded")
    assert node.kubectl("get", "pod", "simulated", "-o", "jsonpath={.spec.nodeName}") == "simulated-0"


def test_a_lowered_deadline_ends_a_pod_with_its_own_exit_code_and_log(node: Cluster) -> None:
    run(node, a_pod("stops", images.BUSYBOX, "sh", "-c", "trap 'echo bye; exit 7' TERM; sleep 600 & wait"))
    node.wait_for("pod/stops", "--for=condition=Ready")
    node.kubectl("patch", "pod", "stops", "--patch", '{"spec": {"activeDeadlineSeconds": 1}}')
    node.wait_for("pod/stops", "--for=jsonpath={.status.phase}=Failed")
    status = json.loads(node.kubectl("get", "pod", "stops", "-o", "json"))["status"]
    assert status["reason"] == "DeadlineExceeded"
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 7
    assert node.kubectl("logs", "stops") == "bye\n"


def test_down_leaves_nothing_on_the_machine(node: Cluster) -> None:
    found = traces(node.directory)
    assert all(found.values()), f"the traces looked for are not those that a node makes: {found}"
    down(NAME, on_progress=quiet)
    assert get(NAME) is None
    assert not node.directory.exists()
    assert {kind: left for kind, left in traces(node.directory).items() if left} == {}
