"""The API's stream without a network: the application itself, called as its server would, on a history in memory.

For what has to happen at one instant and no other, such as history failing between two frames. Everything else is
tested on a real PostgreSQL: `api_world`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import urlencode
from uuid import UUID

from history_stories import a_row
from taskjob.history.cursors import Position, read_position, write_position
from taskjob.history.reader import Changes, CursorUnknownError, HistoryReader, JobFilter, Page
from taskjob.ports import HistoryUnavailableError
from taskjob_api.auth import Guard
from taskjob_api.hub import Hub
from taskjob_api.reviews import Caller, Reviews, Right, User
from taskjob_api.routes import build
from taskjob_api.service import Service, StreamLimits
from taskjob_api.views import encode

PATIENCE_SECONDS = 10.0
TOKEN = "a.b.c"


class History(HistoryReader):
    """So many jobs that do not change, after so many transitions. `away`: those of its methods that do not answer."""

    def __init__(self, jobs: int = 0, seq: int = 5000) -> None:
        self.rows = [a_row(uid=f"u{n}", name=f"j{n}", attempts=()) for n in range(jobs)]
        self.position = Position(UUID(int=7), seq)
        self.away: set[str] = set()
        self.gate = asyncio.Event()  # the head is told once it is open
        self.gate.set()
        self.redeemed: list[bytes] = []

    def _asked(self, method: str) -> None:
        if method in self.away:
            raise HistoryUnavailableError("switched off by the test")

    async def head(self) -> str:
        await self.gate.wait()
        self._asked("head")
        return write_position(self.position)

    async def jobs(self, wanted: JobFilter, limit: int, cursor: str | None = None) -> Page:
        self._asked("jobs")
        begin = int(cursor or 0)
        more = begin + limit < len(self.rows)
        return Page(tuple(self.rows[begin : begin + limit]), str(begin + limit) if more else None)

    async def transitions_after(self, cursor: str, wanted: JobFilter, limit: int) -> Changes:
        self._asked("transitions_after")
        if read_position(cursor).incarnation != self.position.incarnation:
            raise CursorUnknownError("the cursor is of another history")
        return Changes((), write_position(self.position), more=False)

    async def namespaces(self, limit: int) -> list[str]:
        return ["n"]

    async def take_ticket(self, hash_: bytes) -> str | None:
        self.redeemed.append(hash_)
        return encode({"username": "a"}).decode()

    async def listen(self, callback: Callable[[], None]) -> None:
        await asyncio.Event().wait()


class SaidReviews(Reviews):
    """Everybody is let in, and may do this everywhere, once the gate is open."""

    def __init__(self, *verbs: str) -> None:
        self.verbs = verbs
        self.gate = asyncio.Event()
        self.gate.set()
        self.strangers = asyncio.Event()  # cleared: who brings a token is asked about for long
        self.strangers.set()
        self.asked = asyncio.Semaphore(0)  # released with each such question

    async def user(self, caller: Caller) -> User:
        if caller.user is None:
            self.asked.release()
            await self.strangers.wait()
        await self.gate.wait()
        return User("a")

    async def may(self, caller: Caller, right: Right) -> bool:
        await self.gate.wait()
        return right.verb in self.verbs


class Visit:
    """A client of the stream, which reads at most so many frames."""

    def __init__(self, world: StreamWorld, most: int | None, query: dict[str, str]) -> None:
        self.frames: list[dict[str, Any]] = []
        self.accepted = False
        self.refused: int | None = None  # the status of the answer instead of an upgrade
        self.closed: tuple[int, str] | None = None
        self._most = most
        self._told = [{"type": "websocket.connect"}]
        self._changed = asyncio.Event()
        self._gone = asyncio.Event()
        headers = [(b"authorization", b"Bearer " + TOKEN.encode())] if "ticket" not in query else []
        scope = {
            "type": "websocket", "asgi": {"version": "3.0"}, "path": "/jobs/stream", "raw_path": b"/jobs/stream",
            "query_string": urlencode(query).encode(), "headers": headers, "subprotocols": [], "scheme": "ws",
            "root_path": "", "extensions": {"websocket.http.response": {}},
        }  # fmt: skip
        self._task = asyncio.ensure_future(world.app(scope, self._receive, self._send))

    @property
    def cursor(self) -> str:
        """Of the last frame."""
        return str(self.frames[-1]["cursor"])

    @property
    def types(self) -> list[str]:
        """Of all frames."""
        return [frame["type"] for frame in self.frames]

    @property
    def jobs(self) -> set[str]:
        """Those it was shown since it was told to forget what it knows."""
        found: set[str] = set()
        for frame in self.frames:
            found = set() if frame["type"] == "RESET" else found
            found |= {job["id"] for job in frame.get("items", ())}
        return found

    async def until(self, what: Callable[[], bool]) -> None:
        """Wait for it, boundedly."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not what():
                self._changed.clear()
                await self._changed.wait()

    async def read(self, frames: int) -> None:
        """Wait until so many have come."""
        await self.until(lambda: len(self.frames) >= frames)

    async def let_in_or_not(self) -> int:
        """The HTTP status."""
        await self.until(lambda: self.accepted or self.refused is not None)
        return self.refused or 101

    async def leave(self) -> None:
        """Break the connection."""
        self._gone.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._task

    async def _receive(self) -> dict[str, Any]:
        if self._told:
            return self._told.pop()
        await self._gone.wait()
        return {"type": "websocket.disconnect", "code": 1006}

    async def _send(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "websocket.accept":
                self.accepted = True
            case "websocket.http.response.start":
                self.refused = message["status"]
            case "websocket.close":
                self.closed = (message["code"], message["reason"])
            case "websocket.send":
                if len(self.frames) == self._most:
                    await asyncio.Event().wait()
                self.frames.append(json.loads(message["text"]))
        self._changed.set()


class StreamWorld:
    """One application around such a history."""

    def __init__(self, history: History, hub: Hub, reviews: SaidReviews, clients: int) -> None:
        self.history, self.hub, self.reviews = history, hub, reviews
        nothing = cast(Any, None)
        limits = StreamLimits(heartbeat_seconds=60, send_seconds=60, clients=clients)
        guard = Guard(reviews, history.namespaces)
        service = Service(nothing, history, hub, limits=limits, going=asyncio.Event(), guard=guard, leader=nothing)
        self.app: Any = build(service, version="test")
        self.visits: list[Visit] = []

    def visit(self, most: int | None = None, **query: str) -> Visit:
        """Connect."""
        self.visits.append(Visit(self, most, query))
        return self.visits[-1]


@asynccontextmanager
async def a_stream_world(
    history: History | None = None, *verbs: str, clients: int = 1000
) -> AsyncIterator[StreamWorld]:
    """Whose callers may do this; by default all that a stream needs."""
    history = history or History()
    hub = Hub(history)
    async with hub.running():
        world = StreamWorld(history, hub, SaidReviews(*(verbs or ("watch", "list"))), clients)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while hub.cursor is None:
                await hub.grown.wait()
        try:
            yield world
        finally:
            for visit in world.visits:
                await visit.leave()
