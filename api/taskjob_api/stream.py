"""`WS /jobs/stream`: transitions as they are recorded, to one client, from where it left off.

1. A cursor that is known: what came since, from history or from the hub's memory, then what comes.
2. A cursor that is not: `RESET`, the matching jobs as `SNAPSHOT` pages, then what comes.
3. No cursor: from now on; with `snapshot`, the matching jobs first.

Every frame passes the caller's sight just before it is sent: what it may not see is left out, from the first frame on
and from the moment at which a right is found to be withdrawn.

A transition is sent after the cursor that the client holds and before the one that it gets with it: a client that
comes back with its last cursor misses nothing and sees nothing twice. Until a snapshot's last page the cursor is one
that is never known: who comes back with it starts anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Final, NoReturn
from uuid import UUID

from starlette.websockets import WebSocket, WebSocketDisconnect

from taskjob.history.cursors import Position, read_position, write_position
from taskjob.history.reader import CursorUnknownError, HistoryReader, JobFilter
from taskjob.ports import HistoryUnavailableError
from taskjob_api import metrics
from taskjob_api.auth import Rights, Sight
from taskjob_api.filters import StreamQuery, matcher
from taskjob_api.hub import Hub, LaggedError
from taskjob_api.problems import Kind, Problem
from taskjob_api.views import encode, past, transition_frame

log = logging.getLogger(__name__)

TRY_AGAIN: Final = 1013  # the close code for clients that should come back
NOT_ALLOWED: Final = 1008  # for those that should not, unless with another token
_REASON_MAX: Final = 120  # bytes of a close frame's reason
_PAGE: Final = 500
_BATCH: Final = 256  # transitions a client takes out of the hub at once
_UNFINISHED: Final = write_position(Position(UUID(int=0), 0))  # of a snapshot; no history has this incarnation
_SLOW_SECONDS: Final = 0.5  # a batch takes milliseconds to write, unless the client does not read


class Frame(StrEnum):
    """The types of frames."""

    TRANSITION = "TRANSITION"
    SNAPSHOT = "SNAPSHOT"
    RESET = "RESET"
    LAGGED = "LAGGED"
    HEARTBEAT = "HEARTBEAT"


class ClosedError(Exception):
    """The stream ends from our side, with a code and a reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Client:
    """One client of the stream; `seq` is how far it has come."""

    def __init__(
        self,
        socket: WebSocket,
        query: StreamQuery,
        hub: Hub,
        reader: HistoryReader,
        rights: Rights,
        *,
        heartbeat_seconds: float,
        send_seconds: float,
    ) -> None:
        self._socket = socket
        self._query = query
        self._filter = query.filter()
        self._matches = matcher(self._filter)
        self._hub = hub
        self._reader = reader
        self._rights = rights
        self._watching = Sight(rights, "watch", query.namespace)
        self._listing = Sight(rights, "list", query.namespace)
        self._heartbeat_seconds = heartbeat_seconds
        self._send_seconds = send_seconds
        self.seq = 0
        self._cursor = ""
        self._incarnation: UUID | None = None
        self._waited_seconds = 0.0  # for the client to take the last frames

    async def serve(self) -> None:
        """Serve an accepted socket until either side ends it."""
        listening = asyncio.create_task(self._until_it_leaves())
        sending = asyncio.create_task(self._stream())
        metrics.stream_clients.inc()
        try:
            await asyncio.wait((listening, sending), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                await self._end(sending.exception())
        finally:
            metrics.stream_clients.dec()
            for task in (listening, sending):
                task.cancel()
            await asyncio.gather(listening, sending, return_exceptions=True)
            self._hub.followers.discard(self)

    async def _end(self, error: BaseException | None) -> None:
        match error:
            case ClosedError(code=code, reason=reason):
                pass
            case HistoryUnavailableError():
                code, reason = TRY_AGAIN, "history does not answer: come back with the last cursor"
            case Problem(kind=kind, detail=detail):
                code = TRY_AGAIN if kind is Kind.UNAVAILABLE else NOT_ALLOWED
                reason = detail.encode()[:_REASON_MAX].decode(errors="ignore")
            case None | WebSocketDisconnect():
                return
            case _:
                log.error("a stream ended by an error", exc_info=error)
                code, reason = 1011, "an error of the API itself"
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            async with asyncio.timeout(1):
                await self._socket.close(code, reason)

    async def _until_it_leaves(self) -> None:
        """What the client sends is passed over."""
        while (await self._socket.receive())["type"] != "websocket.disconnect":
            pass

    async def admit(self) -> None:
        """Raises `Problem` if the caller may not have this stream at all."""
        await self._watching.of(())
        if self._query.snapshot:
            await self._listing.of(())

    # ------------------------------------------------------------ the whole of a stream
    async def _stream(self) -> None:
        try:
            if (cursor := self._query.cursor) is not None:
                self._stand_at(cursor)
            else:
                self._stand_at(await self._reader.head())
                if self._query.snapshot:
                    await self._show(await self._listed())
            await self._catch_up()
        except CursorUnknownError as error:
            await self._reset(str(error))
        self._hub.followers.add(self)  # not before: until it has caught up, how far it is behind is no lag
        next_beat = 0.0  # at once: it says that the stream stands, and where
        while True:
            grown = self._hub.grown
            try:
                await self._forward()
            except CursorUnknownError as error:
                await self._reset(str(error))
                continue
            if time.monotonic() >= next_beat:
                await self._send(Frame.HEARTBEAT, [_frame(Frame.HEARTBEAT, cursor=self._cursor)])
                next_beat = time.monotonic() + self._heartbeat_seconds
            await self._watching.of(())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(next_beat - time.monotonic(), self._watching.seconds_left)):
                    await grown.wait()

    async def _listed(self) -> JobFilter:
        """The matching jobs that the caller may list. Raises `Problem`."""
        scope = await self._rights.scope("list", self._query.namespace)
        return self._filter if scope is None else replace(self._filter, namespaces=sorted(scope))

    async def _show(self, wanted: JobFilter) -> None:
        """The jobs as they are. What has happened since our place was taken is told after that."""
        place, last = None, False
        while not last:
            page = await self._reader.jobs(wanted, _PAGE, place)
            place, last = page.next, page.next is None
            sees = await self._listing.of(row.namespace for row in page.items)
            items = [past(row) for row in page.items if sees(row.namespace)]
            cursor = self._cursor if last else _UNFINISHED
            await self._send(Frame.SNAPSHOT, [_frame(Frame.SNAPSHOT, cursor=cursor, items=items, last=last)])

    async def _reset(self, reason: str) -> None:
        """Start anew. Who may only watch, and has not asked for a snapshot, gets none."""
        wanted: JobFilter | None = None
        try:
            wanted = await self._listed()
        except Problem as problem:
            if problem.kind is not Kind.FORBIDDEN or self._query.snapshot:
                raise
        self._stand_at(await self._reader.head())
        cursor = self._cursor if wanted is None else _UNFINISHED
        await self._send(Frame.RESET, [_frame(Frame.RESET, cursor=cursor, reason=reason)])
        if wanted is not None:
            await self._show(wanted)
        await self._catch_up()

    async def _catch_up(self, *, patiently: bool = True) -> None:
        """What the hub does not keep, from history, page by page. Raises `CursorUnknownError`.

        Not patiently: a client that makes us wait has lagged. One that has just come back may take its time.
        """
        more = True
        while more and not self._hub.keeps(self._incarnation, self.seq):
            if not patiently and self._waited_seconds >= _SLOW_SECONDS:
                await self._lagged()
            changes = await self._reader.transitions_after(self._cursor, self._filter, _BATCH)
            sees = await self._watching.of(told.job.namespace for told in changes.rows)
            await self._send(
                Frame.TRANSITION, [transition_frame(told) for told in changes.rows if sees(told.job.namespace)]
            )
            self._stand_at(changes.cursor)
            more = changes.more

    async def _forward(self) -> None:
        """All that the hub has for this client. Raises `CursorUnknownError` if history is another one by now."""
        hub = self._hub
        if hub.incarnation != self._incarnation:
            # Which of the two is old? If this does not raise, it is the hub that has not looked yet.
            await self._reader.transitions_after(self._cursor, self._filter, 1)
            hub.look()
            return
        while True:
            try:
                told = hub.after(self.seq, _BATCH)
            except LaggedError:
                await self._catch_up(patiently=False)  # overtaken by a burst, or slow?
                continue
            if not told:
                return
            matches = self._matches
            wanted = [t for t in told if matches is None or matches(t.transition)]
            sees = await self._watching.of(t.transition.job.namespace for t in wanted)
            await self._send(Frame.TRANSITION, [t.frame for t in wanted if sees(t.transition.job.namespace)])
            self._stand_at(told[-1].transition.cursor)

    async def _lagged(self) -> NoReturn:
        behind = self._hub.seq - self.seq
        await self._send(Frame.LAGGED, [_frame(Frame.LAGGED, cursor=self._cursor, behind=behind)])
        raise ClosedError(TRY_AGAIN, "too slow: come back with the cursor")

    def _stand_at(self, cursor: str) -> None:
        """Raises `CursorUnknownError`."""
        if cursor == _UNFINISHED:
            raise CursorUnknownError("the cursor is of a snapshot that did not come to its end")
        self._incarnation, self.seq = read_position(cursor)
        self._cursor = cursor

    async def _send(self, kind: Frame, frames: Sequence[str]) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._send_seconds):
                for frame in frames:
                    await self._socket.send({"type": "websocket.send", "text": frame})
        except TimeoutError:
            raise ClosedError(TRY_AGAIN, "the client does not read: come back with the last cursor") from None
        self._waited_seconds = time.monotonic() - began
        metrics.frames.labels(kind).inc(len(frames))


def _frame(kind: Frame, **content: object) -> str:
    return encode({"type": kind, **content}).decode()
