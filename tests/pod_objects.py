"""Pods as the API server shows them: made from a launch, with the status that a kubelet would write."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from builders import a_job
from taskjob.core.decisions import Launch
from taskjob.core.model import AttemptId, PodTemplate
from taskjob.kube.pods import manifest, parse_pod

TEMPLATE = {"spec": {"containers": [{"name": "main", "image": "busybox"}]}}


def a_launch(template: Any = TEMPLATE, deadline: int | None = None, attempt: int = 1, **job: Any) -> Launch:
    body = PodTemplate(json.dumps(template).encode())
    made = replace(a_job("train").build(), template=body, **job)
    return Launch(made, AttemptId(made.uid, 2, 0, attempt), deadline)


def made(launch: Launch, epoch: int = 7) -> dict[str, Any]:
    body = json.loads(manifest(launch, epoch))
    assert isinstance(body, dict)
    return body


def as_created(pod: dict[str, Any], status: Any = None) -> bytes:
    meta = {**pod["metadata"], "uid": "p-1", "resourceVersion": "9", "creationTimestamp": "2026-01-01T12:00:00Z"}
    return json.dumps({**pod, "metadata": meta, "status": status or {"phase": "Pending"}}).encode()


def instants(started: str, finished: str) -> dict[str, Any]:
    at = "2026-01-01T12:00:"
    return {"startedAt": f"{at}{started}Z", "finishedAt": f"{at}{finished}Z"}


def ended(name: str, code: int, reason: str = "Error", message: str | None = None, **at: Any) -> dict[str, Any]:
    end = {"exitCode": code, "reason": reason, "message": message, **(at or instants("01", "05"))}
    return {"name": name, "state": {"terminated": end}}


def failed(*containers: dict[str, Any], init: tuple[dict[str, Any], ...] = (), **status: Any) -> dict[str, Any]:
    return {
        "phase": "Failed",
        "containerStatuses": list(containers),
        "initContainerStatuses": list(init),
        **status,
    }


def condition(kind: str, **fields: str) -> dict[str, str]:
    return {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T12:00:09Z", **fields}


def waiting(reason: str) -> dict[str, Any]:
    return {"phase": "Pending", "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": reason}}}]}


def read(status: Any, **meta: Any) -> Any:
    pod = made(a_launch())
    pod["metadata"].update(meta)
    return parse_pod(as_created(pod, status))
