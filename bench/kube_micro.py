"""What one object costs the operator's process in CPU, in microseconds: decode, encode, create, patch, watch.

    python bench/kube_micro.py                       # starts an API server of its own, and takes it down
    python bench/kube_micro.py --no-server           # only what needs none
    python bench/kube_micro.py --kubeconfig FILE --pods 2000

CPU is this process's own (user and system), so the API server's work beside it does not count; but on a busy
machine the caches are shared, so look at ratios. The best of several rounds stands for the in-memory figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from taskjob.core.capacity import Capacity, Node
from taskjob.core.decisions import Launch, RemovePod, SetStatus, Urgency
from taskjob.core.model import AttemptId, Job, Pod, QuotaFromNodes, Status
from taskjob.core.phases import Phase, Reason
from taskjob.kube.client import KubeClient, job_path
from taskjob.kube.http import KubeHttp, encode
from taskjob.kube.informer import OUR_PODS, Kind, PodInformer, Told, _Watch
from taskjob.kube.lists import list_jobs
from taskjob.kube.patches import status_update
from taskjob.kube.pods import manifest, parse_pod
from taskjob.kube.schema import parse_job
from taskjob.kube.surroundings import OtherPod, parse_occupant
from taskjob.ports import Launched, Written
from taskjob_cluster import up

ROUNDS, REPEATS = 5, 5000


class Counter:
    """Counts what a watch tells, and lets one wait for a number."""

    def __init__(self) -> None:
        self.seen = 0
        self.enough = asyncio.Event()
        self.wanted = 1

    def replace_pods(self, version: int, pods: Sequence[Pod]) -> None:
        pass

    def observe_pod(self, pod: Pod) -> None:
        self.seen += 1
        if self.seen >= self.wanted:
            self.enough.set()

    def forget_pod(self, pod: Pod) -> None:
        self.observe_pod(pod)


@dataclass
class Spent:
    cpu: float = 0.0
    wall: float = 0.0


@contextmanager
def measured() -> Iterator[Spent]:
    spent = Spent()
    cpu, wall = time.process_time(), time.perf_counter()
    yield spent
    spent.cpu, spent.wall = time.process_time() - cpu, time.perf_counter() - wall


def best(act: Callable[[], object]) -> float:
    """Microseconds of CPU a call."""
    act()
    rounds = []
    for _ in range(ROUNDS):
        with measured() as spent:
            for _ in range(REPEATS):
                act()
        rounds.append(spent.cpu / REPEATS * 1e6)
    return min(rounds)


def tell(what: str, microseconds: float, note: str = "") -> None:
    print(f"{what:<44}{microseconds:>9.1f} µs   {note}".rstrip(), flush=True)


def an_object() -> dict[str, Any]:
    return {
        "apiVersion": "taskjobs.dev/v1beta1",
        "kind": "TaskJob",
        "metadata": {
            "name": "train",
            "namespace": "team-a",
            "uid": "0c1a3f0e-0000-4000-8000-000000000001",
            "resourceVersion": "1234",
            "generation": 1,
            "creationTimestamp": "2026-01-01T12:00:00Z",
            "labels": {"taskjobs.dev/group": "nightly"},
        },
        "spec": {
            "queue": "default",
            "priority": "High",
            "dependsOn": [{"name": "extract"}],
            "onDependencyFailure": "Skip",
            "image": "busybox",
            "command": ["sh", "-c", "true"],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
            "retry": {"limit": 3, "backoff": {"initialSeconds": 10, "factor": 2, "maxSeconds": 600}},
            "timeoutSeconds": 1800,
        },
        "status": {
            "phase": "Running",
            "reason": "Started",
            "conditions": [{"type": "Admitted", "status": "True", "lastTransitionTime": "2026-01-01T12:00:00Z"}],
            "run": 0,
            "attempt": 1,
            "epoch": 7,
            "transition": 2,
            "queuedAt": "2026-01-01T12:00:00Z",
            "startedAt": "2026-01-01T12:00:00Z",
        },
    }


def in_memory() -> None:
    obj = an_object()
    raw_job = json.dumps(obj).encode()
    job = parse_job(obj)
    launch = Launch(job, AttemptId(job.uid, 0, 0, 1), 600)
    pod = json.loads(manifest(launch, 7))
    pod["metadata"] |= {"uid": "p", "resourceVersion": "55", "creationTimestamp": "2026-01-01T12:00:00Z"}
    end = {"exitCode": 3, "reason": "Error", "startedAt": "2026-01-01T12:00:01Z", "finishedAt": "2026-01-01T12:00:05Z"}
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T12:00:01Z"}
        for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    ]
    status = {"name": "main", "image": "busybox", "imageID": "", "restartCount": 0, "state": {"terminated": end}}
    pod["status"] = {"phase": "Failed", "conditions": conditions, "containerStatuses": [status]}
    raw_pod = json.dumps(pod).encode()
    line = b'{"type":"MODIFIED","object":' + raw_pod + b"}"
    counter = Counter()
    watch = _Watch(OUR_PODS, Told(counter.replace_pods, counter.observe_pod, counter.forget_pod), 1)
    tell("parse_job, from a dict (kopf)", best(lambda: parse_job(obj)))
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    tell("parse_job, from JSON (lists, replies)", best(lambda: parse_job(decode(raw_job))), f"{len(raw_job)} bytes")
    tell("status_update", best(lambda: status_update(job, job.status, 7)))
    tell("manifest", best(lambda: manifest(launch, 7)))
    tell("parse_pod, from JSON", best(lambda: parse_pod(raw_pod)), f"{len(raw_pod)} bytes")
    tell("watch event, from its line to the sink", best(lambda: watch.take(line)))
    capacity = Capacity()
    capacity.replace_nodes(Node(f"node-{n}", frozenset(), (("cpu", 64_000), ("pods", 110))) for n in range(1000))
    capacity.quota(QuotaFromNodes(90))
    others = _Watch(
        Kind("pods", OtherPod, parse_occupant),
        Told(
            lambda _version, _pods: None, capacity.put_occupant, lambda occupant: capacity.drop_occupant(occupant.uid)
        ),
        1,
    )
    tell("the same of a pod that is not ours, to the quotas", best(lambda: others.take(line)))


async def with_server(kubeconfig: Path, pods: int) -> None:
    async with await KubeHttp.connect(kubeconfig, in_flight=48, timeout_seconds=60) as http:
        namespace = f"bench-{secrets.token_hex(4)}"
        made = await http.request(
            "POST",
            "/api/v1/namespaces",
            verb="create",
            resource="namespaces",
            body=encode({"metadata": {"name": namespace}}),
        )
        assert made.ok, made.message
        client = KubeClient(http)
        jobs = await make_jobs(http, namespace, pods)
        with measured() as spent:
            _, listed = await list_jobs(http, (namespace,))
        assert len(listed) == pods
        tell("list of TaskJobs, each", spent.cpu / pods * 1e6, f"{pods / spent.wall:.0f}/s")
        launches = [Launch(job, AttemptId(job.uid, 0, 0, 1), 600) for job in jobs]
        with measured() as spent:
            answers = await asyncio.gather(*(client.launch(launch, 1) for launch in launches))
        assert all(isinstance(answer, Launched) for answer in answers)
        tell("launch: create a pod", spent.cpu / pods * 1e6, f"{pods / spent.wall:.0f}/s, 48 in flight")
        with measured() as spent:
            await asyncio.gather(*(client.launch(launch, 1) for launch in launches))
        tell("launch again: 409 and a GET", spent.cpu / pods * 1e6, f"{pods / spent.wall:.0f}/s")
        decisions = [SetStatus(job, running(job), Urgency.PROGRESS) for job in jobs]
        with measured() as spent:
            written = await asyncio.gather(*(client.set_status(decision, 1) for decision in decisions))
        assert all(isinstance(answer, Written) for answer in written)
        tell("set_status: write a TaskJob", spent.cpu / pods * 1e6, f"{pods / spent.wall:.0f}/s")
        await watch_deletes(http, client, namespace, [a.pod for a in answers if isinstance(a, Launched)])


def running(job: Job) -> Status:
    return replace(job.status, phase=Phase.RUNNING, reason=Reason.STARTED, attempt=1, admitted_at=job.created_at)


async def make_jobs(http: KubeHttp, namespace: str, count: int) -> list[Job]:
    async def make(n: int) -> Job:
        spec = {"image": "busybox", "command": ["true"], "resources": {"requests": {"cpu": "100m"}}}
        body = {"apiVersion": "taskjobs.dev/v1beta1", "kind": "TaskJob", "metadata": {"name": f"j-{n}"}, "spec": spec}
        reply = await http.request("POST", job_path(namespace), verb="create", resource="taskjobs", body=encode(body))
        assert reply.ok, reply.message
        return parse_job(msgspec.json.decode(reply.body, type=dict[str, Any]))

    return await asyncio.gather(*(make(n) for n in range(count)))


async def watch_deletes(http: KubeHttp, client: KubeClient, namespace: str, pods: Sequence[Pod]) -> None:
    """The watch's share: what deleting costs with a watch of it, less what it costs without."""
    half = len(pods) // 2
    with measured() as without:
        await asyncio.gather(*(client.remove_pod(RemovePod(pod)) for pod in pods[:half]))
    tell("remove_pod: delete a pod", without.cpu / half * 1e6, f"{half / without.wall:.0f}/s")
    counter = Counter()
    counter.wanted = half
    informer = PodInformer(http, counter, (namespace,))
    task = asyncio.create_task(informer.run())
    await informer.wait_synced()
    with measured() as with_watch:
        await asyncio.gather(*(client.remove_pod(RemovePod(pod)) for pod in pods[half : 2 * half]))
        async with asyncio.timeout(60):
            await counter.enough.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    share = (with_watch.cpu - without.cpu) / counter.seen * 1e6
    tell("watch event over HTTP and TLS, by difference", share, f"{counter.seen} events")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", type=Path, help="an existing cluster for tests; its CRDs must be installed")
    parser.add_argument("--no-server", action="store_true")
    parser.add_argument("--pods", type=int, default=1000)
    said = parser.parse_args()
    in_memory()
    if said.no_server:
        return
    if said.kubeconfig is not None:
        uvloop.run(with_server(said.kubeconfig, said.pods))
        return
    with up("bench-kube-micro", provider="apiserver", die_with_parent=True, on_progress=lambda _: None) as cluster:
        uvloop.run(with_server(cluster.kubeconfig, said.pods))


if __name__ == "__main__":
    main()
