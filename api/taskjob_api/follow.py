"""A log that is followed: server-sent events, one a line, until the attempt ends.

An event's id says where in the log it stands; a browser that reconnects sends the last one as `Last-Event-ID` and gets
the lines after it. The last event is `end`; who comes back with its id is answered 204, which tells a browser to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice
from typing import Final, Literal

from taskjob.core.phases import Phase
from taskjob.history.views import LogRow
from taskjob.ports import HistoryUnavailableError
from taskjob_api import metrics
from taskjob_api.cluster import NoPodLog
from taskjob_api.desk import Desk
from taskjob_api.jobs import Found
from taskjob_api.kept import Line, Mark, as_text, contents, has_times, since
from taskjob_api.logs import LiveLog, LogQuery, Target
from taskjob_api.place import Place, lines_of
from taskjob_api.problems import Kind, Problem
from taskjob_api.reviews import Right, to_read_logs
from taskjob_api.views import encode

log = logging.getLogger(__name__)

END_IDENTITY: Final = "end"
_LOOK_SECONDS: Final = (0.2, 2.0)  # between two looks whether the attempt has ended
_BEAT_SECONDS: Final = 15.0
_COMPLETE_SECONDS: Final = 0.5
_COMPLETE_LOOKS: Final = 10
_BEAT: Final = b": still here\n\n"


def event(text: bytes, identity: str) -> bytes:
    """One line as an event. A carriage return would end it: it is sent as a line of the same event."""
    shown = text.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    data = "".join(f"data: {part}\n" for part in shown.split("\n"))
    return f"id: {identity}\n{data}\n".encode()


def named(kind: Literal["end", "problem", "mark"], content: bytes, identity: str) -> bytes:
    """An event that is no line."""
    return b"event: " + kind.encode() + b"\nid: " + identity.encode() + b"\ndata: " + content + b"\n\n"


class Follower:
    """Follows one attempt's log for one client."""

    def __init__(self, desk: Desk, of: Target, query: LogQuery, since: str | None, place: Place | None) -> None:
        self._desk = desk
        self._of = of
        self._query = query
        self._since = since
        self._resumed = place is not None
        self._place = place or Place()
        self._going: asyncio.Task[bool] | None = None
        self._judged_at = time.monotonic()

    async def open(self, *, follow: bool = True) -> LiveLog | NoPodLog:
        """The pod's log from where we are. Raises `Problem`."""
        self._place.restart()
        return await self._desk.logs.open(
            self._of,
            self._query,
            self._place.since or self._since,
            follow=follow,
            timestamps=True,
            again=self._place.lines > 0,
        )

    async def events(self, first: LiveLog | NoPodLog) -> AsyncIterator[bytes]:
        """All events, from what `open` gave."""
        metrics.log_followers.inc()
        self._going = asyncio.create_task(self._desk.going.wait())
        try:
            async for sent in self._events(first):
                yield sent
        except Problem as problem:
            yield named("problem", problem.body(""), self._identity)
        except HistoryUnavailableError as error:
            yield named("problem", Problem(Kind.UNAVAILABLE, str(error)).body(""), self._identity)
        finally:
            metrics.log_followers.dec()
            self._going.cancel()
            if isinstance(first, LiveLog):
                await first.close()

    async def _judge(self) -> None:
        """The API server judges when a log is opened, and never again. Raises `Problem` once the right is gone."""
        if time.monotonic() < self._judged_at + self._desk.rights.recheck_seconds:
            return
        self._judged_at = time.monotonic()
        job = self._of.found.job or self._of.found.row
        assert job is not None  # noqa: S101 - see Found
        await self._desk.rights.user()
        await self._desk.rights.require(to_read_logs(job.namespace))
        await self._desk.rights.require(Right("get", job.namespace))

    @property
    def _identity(self) -> str:
        return self._place.identity(self._of.attempt)

    async def _events(self, opened: LiveLog | NoPodLog) -> AsyncIterator[bytes]:
        wait, longest = _LOOK_SECONDS
        row = await self._desk.logs.followed(self._of, self._query)
        if row is not None:
            for sent in self._kept(row):
                yield sent
        while True:
            before = self._place.lines
            if isinstance(opened, LiveLog):
                async for sent in self._lines(opened):
                    yield sent
            if self._place.lines > before:
                wait = _LOOK_SECONDS[0]
            if self._going is not None and self._going.done():
                return  # without `end`: the client comes back
            found = await self._desk.jobs.find(self._of.found.answer["id"])
            if not is_under_way(found, self._of):
                async for sent in self._rest():
                    yield sent
                yield named("end", _outcome(found, self._of), END_IDENTITY)
                return
            yield _BEAT
            grown = self._desk.hub.grown
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await grown.wait()
            wait = min(wait * 2, longest)
            opened = await self.open()

    async def _rest(self) -> AsyncIterator[bytes]:
        """What was written after the connection ended and before the attempt did."""
        opened = await self.open(follow=False)
        if isinstance(opened, LiveLog):
            async for sent in self._lines(opened):
                yield sent
            return
        row = await self._desk.logs.kept(self._of, self._query)
        for _ in range(_COMPLETE_LOOKS):  # of a pod that was deleted, the end is on its way
            if row is None or row.complete:
                break
            await asyncio.sleep(_COMPLETE_SECONDS)
            row = await self._desk.logs.kept(self._of, self._query)
        if row is not None:
            for sent in self._kept(row):
                yield sent

    def _kept(self, row: LogRow) -> Iterator[bytes]:
        """The new lines of a kept log, and the marks before them."""
        tail = self._query.tail
        whole = tail is None and self._query.since is None
        if not has_times(row) and self._place.lines > 0 and not whole and not self._resumed:
            return  # of a part that was asked for, read from the pod until it ended, nobody knows where it stands here
        found: Iterable[Line | Mark] = since(contents(row), self._since)
        if not has_times(row) and whole:
            found = islice(found, self._place.lines, None)
        if tail is not None and self._place.lines == 0:
            found = deque(found, maxlen=tail)
        self._place.restart()
        marks: list[Mark] = []
        for each in found:
            if isinstance(each, Mark):
                marks.append(each)
                continue
            text = each.text if not each.time else self._place.new(each)
            if text is not None:
                self._place.lines += each.whole and not each.time
                for mark in marks:
                    yield self._marked(mark)
                if sent := self._event(each, text):
                    yield sent
            marks = []
        for mark in marks:
            yield self._marked(mark)
        self._place.restart()

    async def text(self, row: LogRow, opened: LiveLog) -> AsyncIterator[bytes]:
        """As text and not followed: what history has, then what the pod has behind it."""
        try:
            for piece in as_text(self._seen(since(contents(row), self._since)), timestamps=self._query.timestamps):
                yield piece
            self._place.restart()
            async for line in lines_of(opened.chunks()):
                if (new := self._place.new(line)) is not None:
                    stamp = line.time + b" " if self._query.timestamps and line.time and line.begins else b""
                    yield stamp + new + (b"\n" if line.whole else b"")
        finally:
            await opened.close()

    def _seen(self, found: Iterable[Line | Mark]) -> Iterator[Line | Mark]:
        for each in found:
            if isinstance(each, Line):
                self._place.new(each)
            yield each

    def _marked(self, mark: Mark) -> bytes:
        told = {"kind": mark.kind, "bytes": mark.size, "message": mark.sentence}
        return named("mark", encode(told), self._identity)

    def _event(self, line: Line, text: bytes) -> bytes:
        """`text` is what is new of the line. As text, its end alone is nothing to tell."""
        fresh = line.begins and len(text) == len(line.text)
        stamp = line.time + b" " if self._query.timestamps and line.time and fresh else b""
        if self._query.encoding == "base64":
            return event(b64encode(stamp + text + (b"\n" if line.whole else b"")), self._identity)
        return event(stamp + text, self._identity) if text or fresh else b""

    async def _lines(self, opened: LiveLog) -> AsyncIterator[bytes]:
        """The new lines of a log that was opened; a connection that breaks just ends it."""
        waiting: asyncio.Task[Line] | None = None
        lines = lines_of(opened.chunks())
        try:
            while True:
                waiting = waiting or asyncio.ensure_future(anext(lines))
                ends = (waiting,) if self._going is None else (waiting, self._going)
                beat = min(_BEAT_SECONDS, self._desk.rights.recheck_seconds)
                await asyncio.wait(ends, timeout=beat, return_when=asyncio.FIRST_COMPLETED)
                await self._judge()
                if not waiting.done():
                    if self._going is not None and self._going.done():
                        return
                    yield _BEAT
                    continue
                try:
                    line = waiting.result()
                except StopAsyncIteration:
                    return
                except Problem as problem:
                    log.debug("a followed log broke off: %s", problem)
                    return
                waiting = None
                text = self._place.new(line)
                if text is not None and (sent := self._event(line, text)):
                    yield sent
        finally:
            if waiting is not None:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            await lines.aclose()
            await opened.close()


def is_under_way(found: Found, of: Target) -> bool:
    """Whether the attempt may still write."""
    job = found.job
    if job is None or job.status.phase.terminal:
        return False
    status = job.status
    return (status.run, status.attempt) == (of.run, of.attempt) and status.phase is not Phase.PENDING


def _outcome(found: Found, of: Target) -> bytes:
    ended = {"attempt": of.attempt, "jobPhase": found.answer["phase"], "exitCode": None, "failure": None}
    for known in found.row.attempts if found.row is not None else ():
        if (known.run, known.attempt) == (of.run, of.attempt):
            ended |= {"exitCode": known.exit_code, "failure": known.failure}
    if ended["exitCode"] is None and found.job is not None:
        status = found.job.status
        if (status.run, status.attempt) == (of.run, of.attempt):
            ended["exitCode"] = status.exit_code
    return encode(ended)
