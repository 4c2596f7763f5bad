"""Who runs the work: bare pods (the floor), Jobs, Jobs through Kueue, and TaskJobs. One pod each, always the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from taskjob_cluster import Cluster, postgres

from . import children, kueue
from .apiserver import Object
from .work import Ability, Shape, Work

NAMESPACE = "default"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
_JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
_OURS = "/apis/taskjobs.dev/v1beta1"
_TASKJOBS = f"{_OURS}/namespaces/{NAMESPACE}/taskjobs"
_PRIORITIES = {50: "Low", 100: "Normal", 200: "High"}
LONG = 7 * 86400


@dataclass(frozen=True, slots=True)
class Controllers:
    """What runs for a peer: processes by name, and the history that they write, if any."""

    pids: Mapping[str, int]
    history: str | None = None


Start = Callable[[Cluster, Shape], AbstractContextManager[Controllers]]


@dataclass(frozen=True, slots=True)
class Peer:
    """One of them: where its objects are, how they look, when they are over, and which processes belong to it."""

    name: str
    title: str
    path: str
    job_label: str  # on the pod: the name of its job
    body: Callable[[Work], Mapping[str, Any]]
    finished: Callable[[Object], bool]
    start: Start  # its controllers run while in this context
    removes: bool = False  # whether it removes what is finished, as part of the work
    leaves: str | None = None  # what its controllers made for the jobs, and only they can let go
    knows: frozenset[Ability] = frozenset()


def pod_spec(work: Work) -> dict[str, Any]:
    """The pod of every peer."""
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "containers": [
            {
                "name": "main",
                "image": "busybox",
                "resources": {"requests": {"cpu": str(work.cpu), "memory": "64Mi"}},
            }
        ],
    }


def _annotations(work: Work) -> dict[str, str]:
    return {"taskjobs.dev/kwok-seconds": f"{work.seconds:g}"} if work.seconds else {}


def _condition(found: Object, kind: str) -> bool:
    conditions = (found.status.conditions if found.status is not None else None) or ()
    return any(each.type == kind and each.status == "True" for each in conditions)


# ------------------------------------------------------------------ bare pods
def _pod(work: Work) -> dict[str, Any]:
    labels = {"bench": work.name}
    meta = {"name": work.name, "labels": labels, "annotations": _annotations(work)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod_spec(work)}


def pod_ended(found: Object) -> bool:
    """Whether a pod is over."""
    return found.status is not None and found.status.phase in ("Succeeded", "Failed")


@contextmanager
def _nothing(cluster: Cluster, shape: Shape) -> Iterator[Controllers]:
    yield Controllers({})


# ------------------------------------------------------------------ Jobs, alone and through Kueue
def _job(work: Work) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": work.name},
        "spec": {
            "backoffLimit": 0,
            "template": {"metadata": {"annotations": _annotations(work)}, "spec": pod_spec(work)},
        },
    }


def _queued_job(work: Work) -> dict[str, Any]:
    job = _job(work)
    job["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": work.queue}
    if work.priority:
        job["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] = f"bench-{work.priority}"
    job["spec"]["suspend"] = True
    return job


@contextmanager
def _kueue(cluster: Cluster, shape: Shape) -> Iterator[Controllers]:
    with kueue.manager(cluster, shape) as pids:
        yield Controllers(pids)


# ------------------------------------------------------------------ TaskJobs
def _task_job(work: Work, *, keeps: bool) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "queue": work.queue,
        "template": {"metadata": {"annotations": _annotations(work)}, "spec": pod_spec(work)},
        "podRetention": "Keep" if keeps else "Delete",
        "ttlSecondsAfterFinished": LONG if keeps else 0,
    }
    if work.priority:
        spec["priority"] = _PRIORITIES[work.priority]
    if work.depends_on:
        spec["dependsOn"] = [{"name": name} for name in work.depends_on]
    return {
        "apiVersion": "taskjobs.dev/v1beta1",
        "kind": "TaskJob",
        "metadata": {"name": work.name},
        "spec": spec,
    }


def _task_job_over(found: Object) -> bool:
    phase = found.status.phase if found.status is not None else ""
    return phase in ("Succeeded", "Failed", "Cancelled", "Skipped")


def queue_manifests(shape: Shape) -> str:
    """The shape's queues as TaskQueues, a JSON list for kubectl."""
    items = []
    for queue in shape.queues:
        share = {"quotaFromNodes": {"percent": 100}} if queue.from_nodes else {"quota": {"cpu": str(queue.cpu)}}
        spec: dict[str, Any] = {**share}
        if queue.cohort is not None:
            spec["cohort"] = queue.cohort
        if queue.borrow is not None:
            spec["borrowingLimit"] = {"cpu": str(queue.borrow)}
        meta = {"name": queue.name}
        items.append({"apiVersion": "taskjobs.dev/v1beta1", "kind": "TaskQueue", "metadata": meta, "spec": spec})
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def operator_environment(cluster: Cluster, database: str, *, reads_logs: bool = False) -> dict[str, str]:
    """The environment of an operator of this cluster. A simulated node has no logs: it answers each with one line, so
    that by reading them its own speed is measured, too."""
    return {
        **({} if reads_logs else {"TASKJOBS_LOG_LIMIT_BYTES": "0"}),
        **os.environ,
        "TASKJOBS_DATABASE_URL": database,
        "TASKJOBS_KUBECONFIG": str(cluster.kubeconfig),
        "TASKJOBS_ADMIN_PORT": "0",
        "TASKJOBS_LOG_FOLLOWS": "0",  # a simulated kubelet never ends a log that is followed, and pods wait for that
    }


def start_operator(
    environment: Mapping[str, str], output: IO[bytes], under: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """An operator that ends with this process, whatever ends that. `under`: options of Python before `-m`."""
    return children.start([sys.executable, *under, "-m", "taskjob.main"], environment, output)


@contextmanager
def operator(cluster: Cluster, shape: Shape, profile: Path | None = None) -> Iterator[Controllers]:
    """The shape's queues, a PostgreSQL and an operator that records everything in it, perhaps under cProfile."""
    under = [] if profile is None else ["-m", "cProfile", "-o", str(profile)]
    cluster.kubectl("apply", "-f", "-", input=queue_manifests(shape))
    with tempfile.TemporaryDirectory() as folder, postgres.start(die_with_parent=True) as database:
        log = Path(folder) / "operator.log"
        with log.open("wb") as output:
            running = start_operator(
                operator_environment(cluster, database.url, reads_logs=shape.reads_logs), output, under
            )
        try:
            pids = {"operator": running.pid}
            if database.ours and database.pid is not None:
                pids["postgres"] = database.pid
            yield Controllers(pids, database.url)
        finally:
            running.terminate()
            running.wait(60)
            trouble = [line for line in log.read_text().splitlines() if " ERROR " in line or " WARNING " in line]
            for line in trouble[:5]:
                print(f"  operator: {line}", file=sys.stderr)
            cluster.kubectl("delete", "taskqueues", "--ignore-not-found", *(queue.name for queue in shape.queues))


PEERS = {
    peer.name: peer
    for peer in (
        Peer("pods", "bare pods", PODS, "bench", _pod, pod_ended, _nothing),
        Peer(
            "jobs",
            "batch/v1 Jobs",
            _JOBS,
            "batch.kubernetes.io/job-name",
            _job,
            lambda found: _condition(found, "Complete"),
            _nothing,
        ),
        Peer(
            "kueue",
            f"Jobs through Kueue {kueue.VERSION}",
            _JOBS,
            "batch.kubernetes.io/job-name",
            _queued_job,
            lambda found: _condition(found, "Complete"),
            _kueue,
            leaves=f"/apis/kueue.x-k8s.io/v1beta2/namespaces/{NAMESPACE}/workloads",
            knows=frozenset({Ability.QUEUES}),
        ),
        Peer(
            "taskjobs",
            "TaskJobs, everything kept",
            _TASKJOBS,
            "taskjobs.dev/job-name",
            lambda work: _task_job(work, keeps=True),
            _task_job_over,
            operator,
            knows=frozenset(Ability),
        ),
        Peer(
            "taskjobs-default",
            "TaskJobs, pods and TaskJobs removed",
            _TASKJOBS,
            "taskjobs.dev/job-name",
            lambda work: _task_job(work, keeps=False),
            _task_job_over,
            operator,
            removes=True,
            knows=frozenset(Ability),
        ),
    )
}
