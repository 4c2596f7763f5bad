"""TaskJobs as the API server shows them."""

from __future__ import annotations

from typing import Any

STATUS_FIELDS = [
    *("phase", "reason", "message", "conditions", "run", "attempt", "retries", "epoch", "transition", "stopping"),
    *("queuedAt", "startedAt", "finishedAt", "notBefore", "podName", "nodeName", "exitCode", "observedGeneration"),
    *("runAt", "previousPhase"),
]


def an_object(spec: Any = None, status: Any = None, **meta: Any) -> dict[str, Any]:
    obj: dict[str, Any] = {
        "apiVersion": "taskjobs.dev/v1beta1",
        "kind": "TaskJob",
        "metadata": {
            "name": "train",
            "namespace": "team-a",
            "uid": "u-1",
            "resourceVersion": "42",
            "generation": 3,
            "creationTimestamp": "2026-01-01T12:00:00Z",
            **meta,
        },
        "spec": {"image": "busybox"} if spec is None else spec,
    }
    if status is not None:
        obj["status"] = status
    return obj


def with_rule(**rule: Any) -> dict[str, Any]:
    return with_spec(retry={"rules": [{"action": "Fail", **rule}]})


def with_spec(**spec: Any) -> dict[str, Any]:
    return an_object({"image": "busybox", **spec})
