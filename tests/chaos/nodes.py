"""What is done to nodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cluster_api import PODS, Object
from kill_story import ATTEMPT, JOB
from waiting import until

from .judge import RUN
from .stage import Stage, firmly, hold

_NODES: Final = "/api/v1/nodes"
_STRATEGIC: Final = "application/strategic-merge-patch+json"


@contextmanager
def lost(stage: Stage) -> Iterator[None]:
    """The kubelet of a node is silent, the control plane gives it up and evicts its pods; then it is back, still with
    those pods, and ends them. What the node controller does after minutes is done at once, by its own requests. Pods
    that had ended stay: in those minutes an operator would have seen their end (seed 8211)."""
    cluster = stage.site.cluster
    cluster.pause("kwok")
    try:
        hold(0.3)  # what it had sent arrives
        name = _busiest(stage)
        condition = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "chaos"}
        firmly(lambda: stage.site.api.call("PATCH", f"{_NODES}/{name}/status", _status(condition), _STRATEGIC))
        for pod in _alive_on(stage, name):
            _evict(stage, pod)
        yield
    finally:
        cluster.resume("kwok")
    until(lambda: _is_ready(stage, name), f"node {name} is ready again")


def _status(condition: Object) -> Object:
    return {"status": {"conditions": [condition]}}


def _alive_on(stage: Stage, node: str) -> list[Object]:
    pods = firmly(stage.site.here.pods) or {}
    return [
        pod
        for pod in pods.values()
        if pod["spec"].get("nodeName") == node and pod["status"].get("phase") not in ("Succeeded", "Failed")
    ]


def _busiest(stage: Stage) -> str:
    """The node with most pods that have not ended; of those with as many, one is drawn."""
    nodes: list[str] = sorted(node["metadata"]["name"] for node in stage.site.api.call("GET", _NODES)["items"])
    stage.draw.shuffle(nodes)
    return max(nodes, key=lambda name: len(_alive_on(stage, name)))


def _evict(stage: Stage, pod: Object) -> None:
    """Delete it as the node controller does."""
    meta = pod["metadata"]
    path = f"{PODS.format(namespace=stage.site.namespace)}/{meta['name']}"
    wish = {"preconditions": {"uid": meta["uid"]}}
    deleted = firmly(lambda: stage.site.api.call("DELETE", path, wish), done=(404, 409))
    if deleted is not None:
        labels = meta["labels"]
        task = next(task for task in stage.work if task.name == labels[JOB])
        task.evicted.add((int(labels.get(RUN, "0")), int(labels[ATTEMPT])))


def _is_ready(stage: Stage, name: str) -> bool:
    node = stage.site.api.call("GET", f"{_NODES}/{name}")
    ready = [each["status"] for each in node["status"]["conditions"] if each["type"] == "Ready"]
    tainted = any(taint["key"].startswith("node.kubernetes.io/") for taint in node["spec"].get("taints", ()))
    return ready == ["True"] and not tainted
