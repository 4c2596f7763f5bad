"""A node that goes silent with a pod that runs, and comes back with it: nothing runs twice without leave."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from taskjob_cluster.records import load
from test_failures import FREE
from world_of_pods import SLEEPS, Bench, templated, until

pytestmark = [pytest.mark.cluster, pytest.mark.real_pods]


@contextmanager
def silent_kubelet(cluster: str) -> Iterator[None]:
    """The cluster's kubelet says nothing and does nothing; its containers run on."""
    record = load(cluster)
    if record is None or "kubelet" not in record.components:
        pytest.skip("the kubelet is no process of this machine that could be stopped")
    kubelet = record.components["kubelet"].process.pid
    os.kill(kubelet, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(kubelet, signal.SIGCONT)


def test_a_lost_attempt_is_waited_for_or_overlapped_as_the_job_says_and_its_node_may_come_back(bench: Bench) -> None:
    short: dict[str, Any] = {"terminationGracePeriodSeconds": 1}
    script = f'[ "$TASKJOB_ATTEMPT" = 2 ] && exit; {SLEEPS}'
    bench.apply(
        templated("careful", script, short, retry=FREE),
        templated("overlapping", script, short, retry=FREE | {"allowOverlap": True}),
    )
    names = ("careful", "overlapping")
    first = {name: bench.wait(name, "Running")["podName"] for name in names}
    with silent_kubelet(bench.cluster.name.removesuffix("-handle")):
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
