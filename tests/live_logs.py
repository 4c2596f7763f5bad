"""A TaskJob whose log is being written, for tests of the API: a pod on a kubelet of ours, and a client that follows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from kubernetes import client

from api_server import Server, a_taskjob, templated
from api_world import PATIENCE_SECONDS, World, known_as
from builders import a_job
from history_stories import FULL, an_entry
from kubelets import Kubelet, stamp
from taskjob.core.model import AttemptId, Uid
from taskjob.ports import Log

PENDING, STARTING, RUNNING, SUCCEEDED = FULL


@dataclass
class Running:
    """A TaskJob whose attempt runs in a pod on the kubelet; the operator's writes are played here."""

    world: World
    server: Server
    pods: client.CoreV1Api
    kubelet: Kubelet
    name: str
    uid: str

    @property
    def pod(self) -> str:
        return f"{self.name}-1"

    @property
    def path(self) -> str:
        return f"/jobs/{self.uid}/logs"

    async def finish(self, body: bytes | None = None, *, remove_pod: bool = True) -> None:
        """The attempt ends: history first, then the status, then the pod goes."""
        job = known_as(a_job(self.name).build(), uid=self.uid, namespace=self.server.namespace)
        kept = () if body is None else (a_log(self.uid, body),)
        await self.world.tell(an_entry(job, RUNNING, SUCCEEDED, 3), logs=kept)
        self.server.patch_status(
            self.name,
            {"phase": "Succeeded", "reason": "Completed", "attempt": 1, "exitCode": 0, "transition": 3, "epoch": 1},
        )
        if remove_pod:
            self.pods.delete_namespaced_pod(self.pod, self.server.namespace, grace_period_seconds=0)


def a_log(uid: str, body: bytes, container: str = "main", attempt: int = 1, **fields: Any) -> Log:
    return Log(AttemptId(Uid(uid), 0, 0, attempt), container, body, len(body), **fields)


def a_part(uid: str, body: bytes, times: list[int], *, complete: bool = False, **fields: Any) -> Log:
    """A log with the kubelet's times; of one that goes on, or of all of it."""
    stamps = "".join(f"{stamp(at)}\n" for at in times).encode()
    return a_log(uid, body, times=stamps, complete=complete, main=True, **fields)


def a_v1pod(name: str, *containers: str, node_name: str | None = None) -> client.V1Pod:
    described = [client.V1Container(name=container, image="busybox") for container in containers]
    spec = client.V1PodSpec(containers=described, node_name=node_name, restart_policy="Never")
    return client.V1Pod(metadata=client.V1ObjectMeta(name=name), spec=spec)


async def running(
    world: World,
    server: Server,
    kubelet: Kubelet,
    connected: client.ApiClient,
    *,
    name: str = "train",
    containers: tuple[str, ...] = ("main",),
) -> Running:
    pod = {"containers": [{"name": container, "image": "busybox"} for container in containers]}
    stored = server.create(a_taskjob(name, **templated(pod)))
    uid = stored["metadata"]["uid"]
    core = client.CoreV1Api(connected)
    core.create_namespaced_pod(server.namespace, a_v1pod(f"{name}-1", *containers, node_name=kubelet.node))
    server.patch_status(
        name,
        {"phase": "Running", "reason": "Started", "attempt": 1, "podName": f"{name}-1", "transition": 2, "epoch": 1},
    )
    job = known_as(a_job(name).build(), uid=uid, namespace=server.namespace)
    await world.tell(an_entry(job, STARTING, RUNNING, 2))
    return Running(world, server, core, kubelet, name, uid)


Start = Callable[..., Awaitable[Running]]


@dataclass
class Events:
    """Server-sent events as a browser reads them."""

    response: httpx.Response
    last_id: str = ""
    lines: list[str] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)
    end: dict[str, Any] | None = None

    async def read(self, until_lines: int | None = None) -> None:
        """Read until so many lines have come, or to the end."""
        data: list[str] = []
        kind = "message"
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for raw in self._raw():
                if raw.startswith("id: "):
                    self.last_id = raw[4:]
                elif raw.startswith("event: "):
                    kind = raw[7:]
                elif raw.startswith("data: "):
                    data.append(raw[6:])
                elif raw == "" and data:
                    if kind == "message":
                        self.lines.append("\n".join(data))
                    elif kind == "mark":
                        self.marks.append(json.loads("".join(data))["kind"])
                    else:
                        self.end = {"event": kind, **json.loads("".join(data))}
                    data, kind = [], "message"
                    if until_lines is not None and len(self.lines) >= until_lines:
                        return

    def _raw(self) -> AsyncIterator[str]:
        if not hasattr(self, "_iterator"):
            self._iterator = self.response.aiter_lines()
        return self._iterator


@asynccontextmanager
async def following(world: World, path: str, last_id: str = "", **query: Any) -> AsyncIterator[Events]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    async with world.http.stream("GET", path, params={"follow": "true", **query}, headers=headers) as response:
        if response.status_code == 200:
            assert response.headers["content-type"].startswith("text/event-stream")
        else:
            await response.aread()
        yield Events(response)


async def nobody_follows(world: World) -> bool:
    """Whether the API follows no log for anybody, as its metrics tell."""
    return "taskjobs_log_followers 0.0" in (await world.http.get("/metrics")).text
