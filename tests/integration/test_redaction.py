"""What `log_redact` matches, in a whole operator: the kubelet may have put the end of a log into a pod's status.

No node runs anything here: what a kubelet would write into a pod's status the test writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from api_server import a_taskjob, a_taskqueue
from operator_process import OperatorProcess
from recorded import wait_history
from taskjob.kube.pods import JOB_NAME
from taskjob_cluster import Cluster
from waiting import until

pytestmark = pytest.mark.cluster


def test_the_last_words_of_a_container_are_redacted_in_the_status_in_events_and_in_history(
    cluster: Cluster, namespace: str, tmp_path: Path, database_url: str
) -> None:
    def kubectl(*arguments: str, **more: Any) -> str:
        return cluster.kubectl("-n", namespace, *arguments, **more)

    def got(*what: str) -> Any:
        return json.loads(kubectl("get", *what, "-o", "json"))

    kubectl("create", "-f", "-", input=json.dumps(a_taskqueue(f"{namespace}-q")))
    kubectl("create", "-f", "-", input=json.dumps(a_taskjob("train", queue=f"{namespace}-q")))
    settings: dict[str, Any] = {"namespaces": [namespace], "log_redact": ["hunter[0-9]"]}
    with OperatorProcess(cluster, database_url, tmp_path / "log", **settings).start() as operator:
        operator.wait_ready()
        until(lambda: bool(got("pods", "-l", JOB_NAME)["items"]), "its pod is made")
        (pod,) = got("pods", "-l", JOB_NAME)["items"]
        (container,) = pod["spec"]["containers"]
        made_at = pod["metadata"]["creationTimestamp"]
        end = {"exitCode": 1, "reason": "Error", "message": "no login with hunter2", "startedAt": made_at}
        told = {"name": container["name"], "image": "x", "imageID": "", "ready": False, "restartCount": 0}
        states = [told | {"state": {"terminated": end | {"finishedAt": made_at}}}]
        patch = json.dumps({"status": {"phase": "Failed", "containerStatuses": states}})
        kubectl("patch", "pod", pod["metadata"]["name"], "--subresource=status", "--type=merge", "-p", patch)
        until(lambda: got("taskjob", "train").get("status", {}).get("phase") == "Failed", "its failure is told")
        until(lambda: bool(got("events")["items"]), "and by an Event")
        job = got("taskjob", "train")
        assert job["status"]["message"].endswith("no login with [redacted]")
        assert "hunter2" not in json.dumps([job, got("events")])
        history = wait_history(database_url, lambda kept: kept["train"].ended, 20, "how it ended")["train"]
        assert "no login with [redacted]" in str(history)
        assert "hunter2" not in str(history)
