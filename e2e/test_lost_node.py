"""A node that goes silent with a pod that runs, and comes back with it, or is called off: nothing runs twice without
leave, and nothing is charged."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from taskjob_cluster import ClusterError, up
from taskjob_cluster.records import load
from test_failures import FREE
from world_of_pods import SLEEPS, Api, Bench, a_taskjob, templated, until

pytestmark = [pytest.mark.cluster, pytest.mark.real_pods]


OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


def of_kind(bench: Bench) -> str:
    """The name of the cluster that pytest-kind made."""
    return bench.cluster.name.removesuffix("-handle")


def kubelet_of(cluster: str) -> int:
    """The process of the cluster's kubelet."""
    record = load(cluster)
    if record is None or "kubelet" not in record.components:
        pytest.skip("the kubelet is no process of this machine that could be stopped")
    return record.components["kubelet"].process.pid


@contextmanager
def silent_kubelet(cluster: str) -> Iterator[None]:
    """The cluster's kubelet says nothing and does nothing; its containers run on."""
    kubelet = kubelet_of(cluster)
    os.kill(kubelet, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(kubelet, signal.SIGCONT)


@contextmanager
def dead_kubelet(cluster: str) -> Iterator[None]:
    """The cluster's kubelet is dead; its containers run on. In the end another is started."""
    os.kill(kubelet_of(cluster), signal.SIGKILL)
    try:
        yield
    finally:
        up(cluster, provider="local", crds=False)


def wait_not_ready(bench: Bench, node: str) -> None:
    """Until the cluster knows that the node is silent."""
    path = '{.status.conditions[?(@.type=="Ready")].status}'
    until(lambda: bench.kubectl("get", "node", node, "-o", f"jsonpath={path}") == "Unknown", 120, "NotReady")


def test_a_lost_attempt_is_waited_for_or_overlapped_as_the_job_says_and_its_node_may_come_back(bench: Bench) -> None:
    short: dict[str, Any] = {"terminationGracePeriodSeconds": 1}
    script = f'[ "$TASKJOB_ATTEMPT" = 2 ] && exit; {SLEEPS}'
    bench.apply(
        templated("careful", script, short, retry=FREE),
        templated("overlapping", script, short, retry=FREE | {"allowOverlap": True}),
    )
    names = ("careful", "overlapping")
    first = {name: bench.wait(name, "Running")["podName"] for name in names}
    with silent_kubelet(of_kind(bench)):
        # As the taint manager does, some minutes later.
        bench.kubectl("delete", "pod", *first.values(), "--wait=false")
        until(lambda: bench.status("careful").get("reason") == "NodeLost", what="the loss")
        assert "node.kubernetes.io/out-of-service" in bench.status("careful")["message"]
        until(lambda: len(bench.pods("overlapping")) == 2, what="the second attempt beside the first")
        assert len(bench.pods("careful")) == 1, "it may still run there"
        status = bench.status("careful")
        assert (status["phase"], status["attempt"]) == ("Running", 1)
    for name in names:
        status = bench.wait(name, "Succeeded")
        assert (status["attempt"], status["retries"]) == (2, 0), name
    until(lambda: not bench.pods("careful") and not bench.pods("overlapping"), what="the removal of the pods")


def told_to_end(bench: Bench, pod: str) -> bool:
    """Whether the kubelet passed the signal on: one that has just started does not know the pod yet."""
    try:
        bench.kubectl("exec", pod, "--", "kill", "-USR1", "1")
    except ClusterError:
        return False
    return True


@pytest.mark.timeout(400)
def test_a_node_that_is_called_out_of_service_gives_its_attempt_up_and_the_next_is_not_charged(
    bench: Bench, api: Api
) -> None:
    bench.apply(a_taskjob("called-off", f'[ "$TASKJOB_ATTEMPT" = 2 ] && exit; {SLEEPS}', retry=FREE))
    status = bench.wait("called-off", "Running")
    node, [first] = status["nodeName"], bench.pods("called-off")
    with silent_kubelet(of_kind(bench)):
        wait_not_ready(bench, node)
        assert bench.status("called-off")["attempt"] == 1, "nobody gave it up yet"
        bench.kubectl("taint", "node", node, f"{OUT_OF_SERVICE}=nodeshutdown:NoExecute")
        try:
            uid = first["metadata"]["uid"]
            until(lambda: uid not in [pod["metadata"]["uid"] for pod in bench.pods("called-off")], 90, "its removal")
        finally:
            bench.kubectl("taint", "node", node, f"{OUT_OF_SERVICE}-")
    status = bench.wait("called-off", "Succeeded")
    assert (status["attempt"], status["retries"]) == (2, 0)
    one, two = api.get(f"/jobs/{api.job_id(bench, 'called-off')}").json()["attempts"]
    assert (one["failure"] in ("NodeLost", "Evicted"), two["failure"]) == (True, None)


@pytest.mark.timeout(400)
def test_a_node_that_is_back_before_its_pod_is_given_up_changes_nothing(bench: Bench, api: Api) -> None:
    bench.apply(a_taskjob("patient", "trap 'exit 0' USR1; sleep 600 & wait", retry=FREE))
    status = bench.wait("patient", "Running")
    [before] = bench.pods("patient")
    with dead_kubelet(of_kind(bench)):
        wait_not_ready(bench, status["nodeName"])
        assert [pod["metadata"]["uid"] for pod in bench.pods("patient")] == [before["metadata"]["uid"]]
        during = bench.status("patient")
        assert (during["phase"], during["attempt"]) == ("Running", 1)
    [after] = bench.pods("patient")
    [was], [now] = (pod["status"]["containerStatuses"] for pod in (before, after))
    assert (after["metadata"]["uid"], now["containerID"]) == (before["metadata"]["uid"], was["containerID"])

    def told_or_over() -> bool:
        """What is executed in a container ends with it, and may fail for having done what it was to do."""
        return told_to_end(bench, before["metadata"]["name"]) or bench.status("patient")["phase"] == "Succeeded"

    until(told_or_over, what="the pod in the new kubelet's books")
    status = bench.wait("patient", "Succeeded")
    assert (status["attempt"], status["retries"], status["exitCode"]) == (1, 0, 0)
    assert len(api.get(f"/jobs/{api.job_id(bench, 'patient')}").json()["attempts"]) == 1
