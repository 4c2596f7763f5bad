"""Two clusters in which the suite of `ports.KubePort` runs: the fake and a real API server, behind one small face."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import msgspec

from builders import a_job, a_queue
from fakes_kube import FakeKube
from taskjob.core.model import Job, Namespace, Pod, Queue
from taskjob.kube.client import KubeClient, job_path, pod_path
from taskjob.kube.http import MERGE_PATCH, KubeHttp, Reply, encode
from taskjob.kube.pods import parse_pod
from taskjob.kube.schema import parse_job, parse_queue
from taskjob.ports import KubePort

DEADLINE_SECONDS = 20.0


class World(Protocol):
    """What a test of the suite does beside the port: users, and the kubelet."""

    @property
    def port(self) -> KubePort: ...
    async def make_job(self, name: str) -> Job: ...
    async def touch_job(self, job: Job) -> Job: ...
    async def delete_job(self, job: Job) -> None: ...
    async def job_now(self, job: Job) -> Job | None: ...
    async def make_queue(self, name: str) -> Queue: ...
    async def occupy(self, pod_name: str) -> None: ...
    async def pod_now(self, pod: Pod) -> Pod | None: ...
    async def place(self, pod: Pod) -> Pod: ...
    async def fail(self, pod: Pod, exit_code: int) -> Pod: ...
    async def remove_pod(self, pod: Pod) -> None: ...


class FakeWorld:
    """In memory."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.fake = FakeKube()

    @property
    def port(self) -> KubePort:
        return self.fake

    async def make_job(self, name: str) -> Job:
        return self.fake.create_job(a_job(name).in_namespace(self.namespace).asking(cpu=0.1).build())

    async def touch_job(self, job: Job) -> Job:
        return self.fake.change_job(job, suspend=True)

    async def delete_job(self, job: Job) -> None:
        self.fake.delete_job(job)

    async def job_now(self, job: Job) -> Job | None:
        return self.fake.jobs.get(job.uid)

    async def make_queue(self, name: str) -> Queue:
        return self.fake.create_queue(a_queue(name, {"cpu": 4}))

    async def occupy(self, pod_name: str) -> None:
        self.fake.occupy(self.namespace, pod_name)

    async def pod_now(self, pod: Pod) -> Pod | None:
        return self.fake.pods.get(pod.uid)

    async def place(self, pod: Pod) -> Pod:
        return self.fake.schedule(pod)

    async def fail(self, pod: Pod, exit_code: int) -> Pod:
        return self.fake.fail(pod, exit_code)

    async def remove_pod(self, pod: Pod) -> None:
        self.fake.remove(pod)


class RealWorld:
    """A real API server, without controllers and nodes: this class is the kubelet."""

    def __init__(self, http: KubeHttp, namespace: str) -> None:
        self.http = http
        self.namespace = namespace
        self.port = KubeClient(http)

    async def send(
        self, method: str, path: str, body: object = None, content_type: str = "application/json", **query: str
    ) -> Reply:
        """A request that must succeed."""
        reply = await self.http.request(
            method,
            path,
            verb=method.lower(),
            resource="tests",
            query=query,
            body=encode(body) if body is not None else None,
            content_type=content_type,
        )
        assert reply.ok, f"{method} {path}: {reply.code} {reply.message}"
        return reply

    async def make_job(self, name: str, **spec: Any) -> Job:
        body = {
            "apiVersion": "taskjobs.dev/v1beta1",
            "kind": "TaskJob",
            "metadata": {"name": name},
            "spec": {"image": "busybox", "resources": {"requests": {"cpu": "100m"}}, **spec},
        }
        return parse_job(_object(await self.send("POST", job_path(self.namespace), body, fieldValidation="Strict")))

    async def touch_job(self, job: Job) -> Job:
        path = job_path(job.namespace, job.name)
        return parse_job(_object(await self.send("PATCH", path, {"spec": {"suspend": True}}, MERGE_PATCH)))

    async def delete_job(self, job: Job) -> None:
        await self.send("DELETE", job_path(job.namespace, job.name))

    async def job_now(self, job: Job) -> Job | None:
        reply = await self.http.request("GET", job_path(job.namespace, job.name), verb="get", resource="tests")
        found = parse_job(_object(reply)) if reply.ok else None
        return found if found is not None and found.uid == job.uid else None

    async def make_queue(self, name: str) -> Queue:
        body = {
            "apiVersion": "taskjobs.dev/v1beta1",
            "kind": "TaskQueue",
            "metadata": {"name": f"{name}-{self.namespace}"},
            "spec": {"quota": {"cpu": "4"}},
        }
        return parse_queue(_object(await self.send("POST", "/apis/taskjobs.dev/v1beta1/taskqueues", body)))

    async def queue_status(self, queue: Queue) -> Mapping[str, Any]:
        reply = await self.send("GET", f"/apis/taskjobs.dev/v1beta1/taskqueues/{queue.name}")
        status: Mapping[str, Any] = _object(reply)["status"]
        return status

    async def occupy(self, pod_name: str) -> None:
        body = {"metadata": {"name": pod_name}, "spec": {"containers": [{"name": "main", "image": "busybox"}]}}
        await self.send("POST", pod_path(self.namespace), body)

    async def pod_now(self, pod: Pod) -> Pod | None:
        reply = await self.http.request("GET", pod_path(pod.namespace, pod.name), verb="get", resource="tests")
        found = parse_pod(reply.body) if reply.ok else None
        return found if found is not None and found.uid == pod.uid else None

    async def place(self, pod: Pod) -> Pod:
        binding = {"metadata": {"name": pod.name}, "target": {"kind": "Node", "name": "node-1"}}
        await self.send("POST", pod_path(pod.namespace, pod.name) + "/binding", binding)
        return await self._fresh(pod)

    async def set_pod_status(self, pod: Pod, status: Mapping[str, Any]) -> Pod:
        """As a kubelet would."""
        path = pod_path(pod.namespace, pod.name) + "/status"
        return parse_pod((await self.send("PATCH", path, {"status": status}, MERGE_PATCH)).body)

    async def fail(self, pod: Pod, exit_code: int) -> Pod:
        instants = {"startedAt": "2026-01-01T12:00:00Z", "finishedAt": "2026-01-01T12:00:05Z"}
        end = {"exitCode": exit_code, "reason": "Error", **instants}
        container = {
            "name": "main",
            "image": "busybox",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {"terminated": end},
        }
        return await self.set_pod_status(pod, {"phase": "Failed", "containerStatuses": [container]})

    async def remove_pod(self, pod: Pod) -> None:
        await self.send("DELETE", pod_path(pod.namespace, pod.name), {"gracePeriodSeconds": 0})

    async def _fresh(self, pod: Pod) -> Pod:
        found = await self.pod_now(pod)
        assert found is not None, f"pod {pod.name} is gone"
        return found


def _object(reply: Reply) -> dict[str, Any]:
    return msgspec.json.decode(reply.body, type=dict[str, Any])


def of_another_uid(pod: Pod) -> Pod:
    """The same pod as if its name had been given to another since."""
    return replace(pod, uid=type(pod.uid)("00000000-0000-0000-0000-000000000000"))


def in_no_namespace(job: Job) -> Job:
    """The same TaskJob in a namespace that does not exist."""
    return replace(job, namespace=Namespace("no-such-namespace"))


async def eventually(
    what: str, holds: Callable[[], bool] | Callable[[], Awaitable[bool]], seconds: float = DEADLINE_SECONDS
) -> None:
    """Wait until `holds()`, or what it awaits, is true. Fails with `what`."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + seconds
    while True:
        answer = holds()
        if await answer if inspect.isawaitable(answer) else answer:
            return
        assert loop.time() < give_up_at, f"after {seconds:g} s still not: {what}"
        await asyncio.sleep(0.01)
