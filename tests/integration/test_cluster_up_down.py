"""Control planes come up, are repaired, say what went wrong, and leave nothing."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from taskjob_cluster import Cluster, ClusterError, controlplane, down, get, processes, up
from taskjob_cluster.ending import ORPHAN_SECONDS
from taskjob_cluster.paths import clusters_directory
from taskjob_cluster.programs import Program
from taskjob_cluster.records import Record

SHARED = f"updown-{os.getpid()}"
PASSING = f"passing-{os.getpid()}"


@pytest.fixture
def passing() -> Iterator[str]:
    """The name of a cluster of one test alone; whatever is left of it is taken down."""
    yield PASSING
    down(PASSING, on_progress=quiet)


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    """A cluster that several tests take apart and put together again; each leaves it whole."""
    with bare(SHARED) as cluster:
        yield cluster


def quiet(line: str) -> None:
    """Progress that nobody reads."""


def bare(name: str) -> Cluster:
    return up(name, provider="apiserver", die_with_parent=True, crds=False, on_progress=quiet)


def those_of(directory: Path) -> list[str]:
    """The command lines of processes that name a cluster's folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(directory) in line and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(line)
    return found


def eventually(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def test_down_leaves_no_process_and_no_folder(passing: str) -> None:
    cluster = bare(passing)
    assert set(cluster.pids) == {"etcd", "kube-apiserver"}
    assert len(those_of(cluster.directory)) == 2
    assert down(passing, on_progress=quiet)
    assert those_of(cluster.directory) == []
    assert not [place for place in clusters_directory().iterdir() if passing in place.name]
    assert not down(passing, on_progress=quiet), "there is nothing left to take down"


def test_up_again_leaves_a_healthy_cluster_alone(shared: Cluster) -> None:
    before = shared.pids
    again = bare(SHARED)
    assert again.pids == before
    assert again.server == shared.server


def test_up_again_repairs_what_was_killed(shared: Cluster) -> None:
    shared.kubectl("create", "configmap", "kept")
    before = shared.pids
    os.kill(before["etcd"], signal.SIGKILL)
    repaired = bare(SHARED)
    assert repaired.pids["etcd"] != before["etcd"]
    assert repaired.kubectl("get", "configmap", "kept", "-o", "name") == "configmap/kept\n"


def test_a_component_can_be_killed_and_restarted_at_the_same_address(shared: Cluster) -> None:
    shared.stop_component("kube-apiserver", kill=True)
    assert "kube-apiserver" not in shared.pids
    with pytest.raises(ClusterError, match="refused"):
        shared.kubectl("get", "namespaces", timeout=20)
    shared.restart_component("kube-apiserver")
    assert "default" in shared.kubectl("get", "namespaces")


def test_a_paused_api_server_hangs_and_goes_on(shared: Cluster) -> None:
    shared.pause("kube-apiserver")
    with pytest.raises(ClusterError, match="no answer"):
        shared.kubectl("get", "namespaces", timeout=2)
    shared.resume("kube-apiserver")
    assert "default" in shared.kubectl("get", "namespaces")


def test_another_provider_is_not_started_over_a_cluster(shared: Cluster) -> None:
    with pytest.raises(ClusterError, match="take it down first"):
        up(shared.name, provider="kwok", on_progress=quiet)


def test_kubectl_says_what_the_server_said(shared: Cluster) -> None:
    with pytest.raises(ClusterError, match='namespaces "nowhere" not found'):
        shared.kubectl("get", "namespace", "nowhere")


def test_an_existing_cluster_is_used_when_named_and_left_as_it_is(shared: Cluster, passing: str) -> None:
    named = up(passing, existing=shared.kubeconfig, crds=False, on_progress=quiet)
    assert named.server == shared.server
    assert "default" in named.kubectl("get", "namespaces")
    down(passing, on_progress=quiet)
    assert set(shared.pids) == {"etcd", "kube-apiserver"}


def test_a_component_that_fails_shows_the_end_of_its_log(passing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = controlplane.apiserver

    def with_a_wrong_flag(record: Record, binaries: Mapping[str, Path]) -> Program:
        program = sound(record, binaries)
        return dataclasses.replace(program, command=(*program.command, "--no-such-flag"))

    monkeypatch.setattr(controlplane, "apiserver", with_a_wrong_flag)
    with pytest.raises(ClusterError, match="unknown flag: --no-such-flag"):
        bare(passing)
    failed = get(passing)
    assert failed is not None
    assert failed.pids == {}, "a cluster that did not come up left something running"


def test_components_end_with_the_process_that_started_them(shared: Cluster, passing: str) -> None:
    script = (
        "import sys; from taskjob_cluster import up; "
        f"up({passing!r}, provider='apiserver', die_with_parent=True, crds=False, on_progress=lambda line: None); "
        "print('up', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "up\n"
        cluster = get(passing)
        assert cluster is not None
        assert len(cluster.pids) == 2
        parent.kill()
    eventually(lambda: cluster.pids == {}, "etcd and kube-apiserver ended with their parent")

    written_long_ago = time.time() - ORPHAN_SECONDS - 1
    os.utime(cluster.directory / "cluster.json", (written_long_ago, written_long_ago))
    bare(shared.name)
    assert not cluster.directory.exists(), "the folder of a cluster that died with its parent is swept up"


@pytest.fixture(scope="module")
def simulated() -> Iterator[Cluster]:
    name = f"simulated-{os.getpid()}"
    with up(name, provider="kwok", audit=True, die_with_parent=True, crds=False, on_progress=quiet) as cluster:
        yield cluster


def a_pod(name: str, annotations: dict[str, str], **spec: object) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "annotations": {f"taskjobs.dev/kwok-{key}": value for key, value in annotations.items()},
            "labels": {"taskjobs.dev/attempt": "2"},
        },
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}], **spec},
    }


def run(cluster: Cluster, *pods: dict[str, object]) -> None:
    cluster.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))


def status_of(cluster: Cluster, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(cluster.kubectl("get", "pod", name, "-o", "json"))["status"]
    return found


def ended(status: dict[str, object]) -> dict[str, object]:
    containers = status["containerStatuses"]
    assert isinstance(containers, list)
    found: dict[str, object] = containers[0]["state"]["terminated"]
    return found


@pytest.mark.cluster
def test_simulated_pods_end_as_their_annotations_say(simulated: Cluster) -> None:
    run(
        simulated,
        a_pod("ok", {}),
        a_pod("fails", {"exit-code": "3"}),
        a_pod("second", {"exit-code": "1,7,0"}),
        a_pod("slow", {"seconds": "2"}),
    )
    for name, phase in (("ok", "Succeeded"), ("fails", "Failed"), ("second", "Failed"), ("slow", "Succeeded")):
        simulated.wait_for(f"pod/{name}", f"--for=jsonpath={{.status.phase}}={phase}")
    ok = ended(status_of(simulated, "ok"))
    assert (ok["exitCode"], ok["reason"]) == (0, "Completed")
    assert ended(status_of(simulated, "fails"))["exitCode"] == 3
    assert ended(status_of(simulated, "second"))["exitCode"] == 7, "the second attempt's code is the second one"
    slow = ended(status_of(simulated, "slow"))
    assert str(slow["startedAt"]) < str(slow["finishedAt"])


@pytest.mark.cluster
def test_a_lowered_deadline_stops_a_simulated_pod_as_a_kubelet_would(simulated: Cluster) -> None:
    run(simulated, a_pod("endless", {"seconds": "9999"}))
    simulated.wait_for("pod/endless", "--for=jsonpath={.status.phase}=Running")
    simulated.kubectl("patch", "pod", "endless", "--patch", '{"spec": {"activeDeadlineSeconds": 1}}')
    simulated.wait_for("pod/endless", "--for=jsonpath={.status.phase}=Failed")
    status = status_of(simulated, "endless")
    assert status["reason"] == "DeadlineExceeded"
    assert ended(status)["exitCode"] == 143


@pytest.mark.cluster
def test_a_simulated_pod_has_a_log_and_can_be_deleted(simulated: Cluster) -> None:
    run(simulated, a_pod("doomed", {"seconds": "9999"}))
    simulated.wait_for("pod/doomed", "--for=jsonpath={.status.phase}=Running")
    assert "a simulated pod ran here" in simulated.kubectl("logs", "doomed")
    simulated.kubectl("delete", "pod", "doomed", "--wait=false")
    simulated.wait_gone("pod", "doomed")


@pytest.mark.cluster
def test_the_audit_log_counts_the_pods_that_were_created(simulated: Cluster) -> None:
    run(simulated, *(a_pod(f"counted-{number}", {}) for number in range(5)))
    with contextlib.suppress(ClusterError):
        run(simulated, a_pod("counted-0", {}))  # answered 409: no pod was created
    log = simulated.audit_log
    assert log is not None
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    creates = [line for line in lines if line["verb"] == "create" and "counted-" in line["objectRef"].get("name", "")]
    codes = sorted(line["responseStatus"]["code"] for line in creates)
    assert codes == [201] * 5 + [409]


@pytest.mark.cluster
def test_processes_of_the_control_plane_are_known_by_their_start(simulated: Cluster) -> None:
    for pid in simulated.pids.values():
        assert processes.identify(pid) is not None
    assert set(simulated.pids) == {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"}
