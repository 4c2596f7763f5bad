"""The API as its clients see it: served over a real socket, on a real API server and a real PostgreSQL.

The operator's part is played by the real writer of history: `world.tell(*a_story(...))`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import httpx
from aiohttp import web
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from taskjob.core.model import Entry, Job
from taskjob.history.cursors import read_position
from taskjob.history.reader import HistoryReader
from taskjob.history.writer import HistoryWriter
from taskjob.kube.http import KubeHttp
from taskjob.ports import Batch, Log
from taskjob_api.app import Server, configured, listen, url_of
from taskjob_api.auth import Guard
from taskjob_api.cluster import Cluster
from taskjob_api.hub import Hub
from taskjob_api.leader import Leader
from taskjob_api.reviews import Reviews
from taskjob_api.routes import Doors, build
from taskjob_api.service import Service, StreamLimits

Frame = dict[str, Any]
PATIENCE_SECONDS = 20.0
HEARTBEAT_SECONDS = 0.2
NOBODY = "00000000-0000-0000-0000-000000000000"
"""The UID of no job, unless a test tells history of one."""


async def until(what: Callable[[], bool], why: str) -> None:
    """Wait for a condition, boundedly."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not what():
        assert time.monotonic() < deadline, f"waited {PATIENCE_SECONDS} s: {why}"
        await asyncio.sleep(0.01)


async def eventually(what: Callable[[], Awaitable[bool]], why: str) -> None:
    """Wait for a condition that has to be asked for, boundedly."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await what():
        assert time.monotonic() < deadline, f"waited {PATIENCE_SECONDS} s: {why}"
        await asyncio.sleep(0.02)


@dataclass
class Stream:
    """One client of `WS /jobs/stream`. `cursor` is the last that it got; `heard` the keys of its transitions."""

    socket: ClientConnection
    cursor: str = ""
    frames: list[Frame] = field(default_factory=list)

    async def next(self) -> Frame:
        """The next frame, whatever it is."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            frame: Frame = json.loads(await self.socket.recv())
        self.cursor = frame["cursor"]
        self.frames.append(frame)
        return frame

    async def next_of(self, *types: str) -> Frame:
        """The next frame of one of these types; HEARTBEATs are passed over."""
        while (frame := await self.next())["type"] == "HEARTBEAT" and "HEARTBEAT" not in types:
            pass
        assert frame["type"] in types, f"{types} expected, this came: {frame}"
        return frame

    async def transitions(self, count: int) -> list[Frame]:
        """The next transitions, so many."""
        return [await self.next_of("TRANSITION") for _ in range(count)]

    async def nothing(self) -> None:
        """Nothing but heartbeats comes until the second one from now."""
        for _ in range(2):
            await self.next_of("HEARTBEAT")

    async def rest(self) -> list[Frame]:
        """The transitions that come until the second heartbeat from now."""
        found: list[Frame] = []
        beats = 0
        while beats < 2:
            frame = await self.next_of("HEARTBEAT", "TRANSITION")
            beats += frame["type"] == "HEARTBEAT"
            found += [frame] if frame["type"] == "TRANSITION" else []
        return found

    async def up_to(self, seq: int) -> list[Frame]:
        """The transitions up to history's number `seq`, which a heartbeat's cursor tells. Heartbeats are not counted:
        those of the time in which nobody read come first."""
        found: list[Frame] = []
        while (frame := await self.next_of("HEARTBEAT", "TRANSITION"))["type"] == "TRANSITION" or (
            read_position(frame["cursor"]).seq < seq
        ):
            found += [frame] if frame["type"] == "TRANSITION" else []
        return found

    async def closed(self) -> tuple[int, str]:
        """The code and the reason of its end; frames that come before are kept."""
        with contextlib.suppress(ConnectionClosed):
            async with asyncio.timeout(2 * PATIENCE_SECONDS):
                while True:
                    await self.next()
        assert self.socket.close_code is not None
        return self.socket.close_code, self.socket.close_reason or ""

    def kill(self) -> None:
        """Break the connection without a word."""
        self.socket.transport.abort()


def steps(frames: list[Frame]) -> list[tuple[str, str | None, str]]:
    """Transitions as (job, from, to)."""
    return [(frame["job"]["name"], frame["from"], frame["to"]) for frame in frames]


async def open_stream(url: str, headers: dict[str, str] | None = None, **query: Any) -> Stream:
    """Connect to the stream of an API. Raises `InvalidStatus`."""
    address = f"ws{url.removeprefix('http')}/jobs/stream?{urlencode(query, doseq=True)}"
    # No keepalive of its own, and a small buffer: a test decides when it reads.
    return Stream(await connect(address, ping_interval=None, max_queue=4, additional_headers=headers))


@dataclass
class World:
    """One API, its HTTP client, and the writer of the history that it reads."""

    url: str
    http: httpx.AsyncClient
    writer: HistoryWriter
    hub: Hub
    server: Server
    serving: asyncio.Task[None]
    sockets: contextlib.AsyncExitStack
    guard: Guard

    async def tell(self, *entries: Entry, logs: tuple[Log, ...] = ()) -> None:
        """Play the operator: one flush."""
        await self.writer.flush(1, Batch(entries, logs))

    async def stream(self, headers: dict[str, str] | None = None, **query: Any) -> Stream:
        """A client of the stream; it has got the first HEARTBEAT unless it begins with something else."""
        client = await open_stream(self.url, headers, **query)
        self.sockets.callback(client.kill)  # a closing handshake would wait for frames that nobody reads
        return client

    async def listening(self, headers: dict[str, str] | None = None, **query: Any) -> Stream:
        """A client that is known to be there: what is told from now on, it hears."""
        client = await self.stream(headers, **query)
        await client.next_of("HEARTBEAT")
        return client

    async def post(self, body: Any, **headers: str) -> httpx.Response:
        """`POST /jobs/`."""
        return await self.http.post("/jobs/", json=body, headers=headers)

    async def stop(self) -> None:
        """As SIGTERM would."""
        self.server.should_exit = True
        await self.serving


@dataclass(frozen=True)
class Judged:
    """How callers are judged."""

    audiences: tuple[str, ...] = ()
    keep_seconds: float = 0.2
    recheck_seconds: float = 0.5
    origins: tuple[str, ...] = ()


@contextlib.asynccontextmanager
async def a_world(
    kubeconfig: Path,
    database_url: str,
    *,
    kept: int = 8192,
    limits: StreamLimits | None = None,
    migrated: bool = True,
    judged: Judged | None = None,
    operator_url: str = "http://127.0.0.1:1",
    operator_token: Path | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[World]:
    """The API around a cluster and a database; nobody has to log in unless it is `judged`."""
    writer = HistoryWriter(database_url)
    if migrated:
        await writer.open(1)
    listening = listen("127.0.0.1", 0, insecure_local=judged is None)
    url = url_of(listening)
    going = asyncio.Event()
    async with (
        await KubeHttp.connect(kubeconfig, timeout_seconds=5) as kube,
        KubeHttp(kube.credentials, timeout_seconds=5) as own_kube,
        HistoryReader(database_url, size=4) as reader,
        HistoryReader(database_url, size=2) as own_reader,
        Leader(operator_url, operator_token) as leader,
        httpx.AsyncClient(base_url=url, timeout=PATIENCE_SECONDS) as http,
        contextlib.AsyncExitStack() as sockets,
    ):
        hub = Hub(own_reader, kept=kept)
        limits = limits or StreamLimits(heartbeat_seconds=HEARTBEAT_SECONDS)
        guard = Guard(None, reader.namespaces)
        if judged is not None:
            reviews = Reviews(own_kube, audiences=judged.audiences, keep_seconds=judged.keep_seconds, clock=clock)
            guard = Guard(reviews, reader.namespaces, recheck_seconds=judged.recheck_seconds)
        service = Service(Cluster(kube, own_kube), reader, hub, limits=limits, going=going, guard=guard, leader=leader)
        doors = Doors(insecure_local=judged is None, origins=judged.origins if judged is not None else ())
        server = Server(configured(build(service, version="test", doors=doors)), going)
        serving = asyncio.create_task(server.serve([listening]))
        try:
            await until(lambda: server.started, "the API starts")
            if migrated:
                await until(lambda: hub.cursor is not None, "the hub reads history")
            yield World(url, http, writer, hub, server, serving, sockets, guard)
        finally:
            await sockets.aclose()
            server.should_exit = True
            await serving
            await writer.close()
            listening.close()


def an_explanation(uid: str, **fields: Any) -> dict[str, Any]:
    """What the leading operator says of a job that waits for nothing but its turn."""
    return {
        "id": uid,
        "namespace": "team-a",
        "name": "train",
        "queue": "default",
        "phase": "Pending",
        "reason": "Queued",
        "message": "",
        "place": None,
        "lacking": None,
        "behind": None,
        "holders": [],
        "holdersTotal": 0,
        "dependencies": [],
        "dependenciesTotal": 0,
        "until": None,
        **fields,
    }


@contextlib.asynccontextmanager
async def a_leader(said: Callable[[str], dict[str, Any] | None]) -> AsyncIterator[str]:
    """A stand-in for the leading operator, which says this of a UID; its URL."""

    async def explain(request: web.Request) -> web.Response:
        told = said(request.query["uid"])
        return web.json_response(told, status=200 if told is not None else 404)

    app = web.Application()
    app.router.add_get("/explain", explain)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@dataclass(frozen=True)
class Refusal:
    """A problem as it came: what a test compares."""

    status: int
    kind: str
    fields: tuple[str, ...]

    @classmethod
    def of(cls, response: httpx.Response) -> Self:
        """Reads and checks the envelope."""
        assert response.headers["content-type"] == "application/problem+json", response.text
        body = response.json()
        assert body["status"] == response.status_code
        assert set(body) >= {"type", "title", "status", "detail", "instance"}
        assert body["detail"], "a detail is for people"
        return cls(
            response.status_code,
            body["type"].rpartition("/")[2],
            tuple(error["field"] for error in body.get("errors", ())),
        )


def known_as(job: Job, *, uid: str, namespace: str) -> Job:
    """The same job under another identity: that of a TaskJob in the cluster."""
    return replace(job, uid=type(job.uid)(uid), namespace=type(job.namespace)(namespace))


__all__ = ["NOBODY", "Judged", "Refusal", "Stream", "World", "a_world", "eventually", "known_as", "steps", "until"]
