"""A kubelet as far as logs go: the real API server asks it for `kubectl logs`, and a test decides what it says.

It registers a node that points to itself. Times, `tailLines`, `sinceTime` and `follow` are done as the kubelet does
them; `cut()` breaks every connection that follows, as a network or a restart of the API server would.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from aiohttp import web
from kubernetes import client

from builders import NOON
from taskjob_cluster.credentials import ensure_certificate


@dataclass
class ContainerLog:
    """What one container has written: (nanoseconds after noon, text). `ended` once it is over."""

    lines: list[tuple[int, str]] = field(default_factory=list)
    ended: bool = False
    gone: bool = False  # the kubelet no longer has it


def stamp(nanoseconds: int) -> str:
    """A time as the kubelet writes it."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return (NOON + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:09}Z"


class Kubelet:
    """The node's name and what its containers have written, by (pod, container)."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.logs: dict[tuple[str, str], ContainerLog] = {}
        self.following = 0
        self.asked: list[dict[str, str]] = []
        self._changed = asyncio.Event()
        self._cut = asyncio.Event()

    def write(self, pod: str, *lines: str, at: int, container: str = "main") -> None:
        """The container writes; all these lines get the same time."""
        log = self.logs.setdefault((pod, container), ContainerLog())
        log.lines += [(at, line) for line in lines]
        self._tell()

    def end(self, pod: str, container: str = "main") -> None:
        """The container ends."""
        self.logs.setdefault((pod, container), ContainerLog()).ended = True
        self._tell()

    def cut(self) -> None:
        """Break every connection."""
        cut, self._cut = self._cut, asyncio.Event()
        cut.set()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """`/containerLogs/{namespace}/{pod}/{container}`."""
        log = self.logs.get((request.match_info["pod"], request.match_info["container"]))
        query = dict(request.query)
        self.asked.append(query)
        if log is None or log.gone:
            return web.Response(status=404, text="the log is gone")
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        since = datetime.fromisoformat(query["sinceTime"]) if "sinceTime" in query else NOON
        begin = int((since - NOON).total_seconds()) * 10**9
        start = next((n for n, (at, _) in enumerate(log.lines) if at >= begin), len(log.lines))
        if "tailLines" in query:
            start = max(start, len(log.lines) - int(query["tailLines"]))
        cut = self._cut
        self.following += 1
        try:
            while True:
                changed = self._changed
                for at, text in log.lines[start:]:
                    prefix = f"{stamp(at)} " if query.get("timestamps") == "true" else ""
                    await response.write(f"{prefix}{text}\n".encode())
                start = len(log.lines)
                if log.ended or query.get("follow") != "true":
                    return response
                await asyncio.wait(
                    [asyncio.ensure_future(event.wait()) for event in (changed, cut)],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if cut.is_set():
                    assert request.transport is not None
                    request.transport.abort()
                    return response
        finally:
            self.following -= 1


@contextlib.asynccontextmanager
async def a_kubelet(connected: client.ApiClient, node: str, directory: Path) -> AsyncIterator[Kubelet]:
    """A kubelet that listens, and its node in the cluster."""
    certificate, key = directory / "kubelet.crt", directory / "kubelet.key"
    ensure_certificate(certificate, key, common_name=node)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    kubelet = Kubelet(node)
    application = web.Application()
    application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", kubelet.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    port = runner.addresses[0][1]
    core = client.CoreV1Api(connected)
    core.create_node(client.V1Node(metadata=client.V1ObjectMeta(name=node)))
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    core.patch_node_status(node, {"status": status})
    try:
        yield kubelet
    finally:
        core.delete_node(node)
        await runner.cleanup()
