"""A log that is followed: server-sent events, one a line, until the attempt ends.

An event's id says where in the log it stands; a browser that reconnects sends the last one as `Last-Event-ID` and gets
the lines after it. The last event is `end`; who comes back with its id is answered 204, which tells a browser to stop.

What the kubelet passes over is filled in from history, or marked (see `seams`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from copy import copy
from enum import Enum
from itertools import islice
from typing import Final, Literal

from taskjob.core.phases import Phase
from taskjob.history.views import LogRow
from taskjob.ports import HistoryUnavailableError
from taskjob.rotation import LEAP, ROTATED_BYTES, Beginning, Sequence
from taskjob_api import metrics
from taskjob_api.cluster import NoPodLog
from taskjob_api.desk import Desk
from taskjob_api.jobs import Found
from taskjob_api.kept import Line, Mark, as_text, contents, end_of, has_times, since
from taskjob_api.logs import LiveLog, LogQuery, Target, started_at
from taskjob_api.place import Place, batches_of, lines_of
from taskjob_api.problems import Kind, Problem
from taskjob_api.reviews import Right, to_read_logs
from taskjob_api.seams import LEFT_UNREAD, PASSED_OVER, Flow, before_all, unsent
from taskjob_api.views import encode

log = logging.getLogger(__name__)

END_IDENTITY: Final = "end"
_LOOK_SECONDS: Final = (0.2, 2.0)  # between two looks whether the attempt has ended
_BEAT_SECONDS: Final = 15.0
_PIECE_BYTES: Final = 65_536
_FILL_SECONDS: Final = (0.5, 1.0, 2.0, 3.0)
_BEAT: Final = b": still here\n\n"


def event(text: bytes, identity: str) -> bytes:
    """One line as an event. A carriage return would end it: it is sent as a line of the same event."""
    shown = text.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    data = "".join(f"data: {part}\n" for part in shown.split("\n"))
    return f"id: {identity}\n{data}\n".encode()


def named(kind: Literal["end", "problem", "mark"], content: bytes, identity: str) -> bytes:
    """An event that is no line."""
    return b"event: " + kind.encode() + b"\nid: " + identity.encode() + b"\ndata: " + content + b"\n\n"


class Follows(Enum):
    """How a stream stands to the kubelet's newest file."""

    YES = "yes"  # the line that came last stands in it, or it is the only one; or nobody can tell just now
    ANEW = "anew"  # nothing has come of the stream, and the file holds nothing yet
    NO = "no"


class Follower:
    """Follows one attempt's log for one client."""

    def __init__(self, desk: Desk, of: Target, query: LogQuery, since: str | None, place: Place | None) -> None:
        self._desk = desk
        self._of = of
        self._query = query
        self._since = since
        self._resumed = place is not None
        self._place = place or Place()
        whole = place is None and since is None and query.tail is None
        self._beginning = Beginning(started_at(of, query.container)) if whole else None
        self._sequence = Sequence(0 if whole else ROTATED_BYTES)
        self._opened_at = desk.now()
        self._broken = False  # the last stream broke off
        self._behind = False  # the container may have written more than was read when the last stream ended
        self._going: asyncio.Task[bool] | None = None
        self._judged_at = time.monotonic()

    async def open(self, *, follow: bool = True) -> LiveLog | NoPodLog:
        """The pod's log from where we are. Raises `Problem`."""
        self._place.restart()
        self._opened_at = self._desk.now()
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

    def _leaves(self) -> bool:
        """This process is about to end."""
        return self._going is not None and self._going.done()

    @property
    def _identity(self) -> str:
        return self._place.identity(self._of.run, self._of.attempt)

    async def _events(self, opened: LiveLog | NoPodLog) -> AsyncIterator[bytes]:
        wait, longest = _LOOK_SECONDS
        if not self._place.time or isinstance(opened, NoPodLog):
            async for sent in self._before():
                yield sent
        if self._place.time:
            self._beginning = None  # history has seen it
        while True:
            before = self._place.lines
            if isinstance(opened, LiveLog):
                async for sent in self._lines(opened):
                    yield sent
            if self._place.lines > before:
                wait = _LOOK_SECONDS[0]
            if self._leaves():
                return  # without `end`: the client comes back
            found = await self._desk.jobs.find(self._of.found.answer["id"])
            if not is_under_way(found, self._of):
                async for sent in self._rest():
                    yield sent
                if self._leaves():
                    return  # as above
                if self._beginning is not None and (why := self._beginning.finish()):
                    yield self._marked(before_all(why))
                yield named("end", _outcome(found, self._of), END_IDENTITY)
                return
            yield _BEAT
            grown = self._desk.hub.grown
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await grown.wait()
            wait = min(wait * 2, longest)
            opened = await self.open()

    async def _before(self) -> AsyncIterator[bytes]:
        """What history has before the pod's. A generator of its own: what is followed for hours holds no kept log."""
        row = await self._desk.logs.followed(self._of, self._query)
        if row is not None:
            self._sequence.volume += row.size
            for sent in self._kept(row):
                yield sent

    async def _rest(self) -> AsyncIterator[bytes]:
        """What was written after the connection ended and before the attempt did: from the pod, or else from history,
        where the end of it may be on its way. The log of a container that has just ended may be empty for a moment."""
        unread = self._behind
        waits = _FILL_SECONDS if self._place.time else _FILL_SECONDS[:2]
        for seconds in (*waits, None):
            opened = await self.open(follow=False)
            if isinstance(opened, LiveLog):
                async for sent in self._lines(opened, follow=False):
                    yield sent
                if self._leaves() or (self._place.met and not self._broken):
                    return
                unread = True
            look = self._desk.logs.known if isinstance(opened, LiveLog) else self._desk.logs.kept
            row = await look(self._of, self._query)
            if row is not None and (row.complete or seconds is None):
                for sent in self._kept(row):
                    yield sent
            if row is not None and row.complete:
                return
            if seconds is None or (row is None and isinstance(opened, NoPodLog)):
                break
            await asyncio.sleep(seconds)
        if unread and not self._place.marked and self._place.time:
            self._place.marked = True
            yield self._marked(LEFT_UNREAD)

    def _kept(self, row: LogRow, until: Line | None = None) -> Iterator[bytes]:
        """The new lines of a kept log, or of its part before that line, and the marks among them."""
        tail = self._query.tail
        whole = tail is None and self._query.since is None
        if not has_times(row) and self._place.lines > 0 and not whole and not self._resumed:
            return  # of a part that was asked for, read from the pod until it ended, nobody knows where it stands here
        found: Iterable[Line | Mark] = since(contents(row), self._since)
        if not has_times(row) and whole:
            found = islice(found, self._place.lines, None)
        if tail is not None and self._place.lines == 0:
            found = deque(found, maxlen=tail)
        events, size = list[bytes](), 0
        for each in unsent(self._place, found, until=until, ends=row.complete, ends_at=end_of(row)):
            events.append(self._marked(each) if isinstance(each, Mark) else self._event(each))
            size += len(events[-1])
            if size >= _PIECE_BYTES:
                yield b"".join(events)
                events, size = [], 0
        if size:
            yield b"".join(events)

    async def text(self, row: LogRow, opened: LiveLog) -> AsyncIterator[bytes]:
        """As text and not followed: what history has, then what the pod has behind it."""
        try:
            for piece in as_text(self._seen(since(contents(row), self._since)), timestamps=self._query.timestamps):
                yield piece
            self._place.restart()
            async for line in lines_of(opened.chunks()):
                if self._place.lacks(line):
                    yield PASSED_OVER.line
                    if self._place.covers(line):
                        self._place.skip(line.time)
                if (rest := self._place.rest(line)) is not None:
                    for piece in as_text([rest], timestamps=self._query.timestamps):
                        yield piece
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

    def _event(self, line: Line) -> bytes:
        """What is new of a line. As text, its end alone is nothing to tell."""
        stamp = line.time + b" " if self._query.timestamps and line.time and line.begins else b""
        if self._query.encoding == "base64":
            return event(b64encode(stamp + line.text + (b"\n" if line.whole else b"")), self._identity)
        return event(stamp + line.text, self._identity) if line.text or line.begins else b""

    async def _lines(self, opened: LiveLog, *, follow: bool = True) -> AsyncIterator[bytes]:
        """The new lines of a log that was opened; a connection that breaks just ends it: `_broken`."""
        self._broken = False
        self._sequence.opened(self._opened_at)
        if self._beginning is not None:
            self._beginning.opened(self._opened_at)
        flow = Flow(self._sequence)
        waiting: asyncio.Task[list[Line]] | None = None
        batches = batches_of(opened.chunks())
        try:
            while not flow.leapt:
                waiting = waiting or asyncio.ensure_future(anext(batches))
                ends = (waiting,) if self._going is None else (waiting, self._going)
                beat = min(_BEAT_SECONDS, self._desk.rights.recheck_seconds)
                doubt = follow and not self._sequence.sure
                if doubt:
                    beat = min(beat, LEAP.total_seconds())
                await asyncio.wait(ends, timeout=beat, return_when=asyncio.FIRST_COMPLETED)
                await self._judge()
                if not waiting.done():
                    if self._leaves():
                        return
                    if doubt and (follows := await self._follows(flow.held)) is not Follows.YES:
                        if follows is Follows.NO:
                            break
                        async for sent in self._fill():
                            yield sent
                    given = flow.release() if self._sequence.sure else []
                    yield _BEAT
                else:
                    try:
                        now = self._desk.now()
                        given = [each for line in waiting.result() for each in flow.feed(line, now)]
                    except StopAsyncIteration:
                        break
                    except Problem as problem:
                        log.debug("a followed log broke off: %s", problem)
                        self._broken = True
                        break
                    waiting = None
                async for sent in self._new(given):
                    yield sent
            async for sent in self._new(flow.release()):
                yield sent
            self._behind = follow and self._sequence.behind(self._place.time, self._desk.now())
        finally:
            if waiting is not None:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)
            await batches.aclose()
            await opened.close()

    async def _new(self, lines: list[Line]) -> AsyncIterator[bytes]:
        """What is new of lines of the pod's, and between them what history has of what the kubelet passed over."""
        events: list[bytes] = []
        for line in lines:
            if self._place.lacks(line):
                yield b"".join(events) or _BEAT
                events = []
                async for sent in self._fill(line):
                    yield sent
                if self._place.lacks(line):
                    if not self._place.marked:
                        self._place.marked = True
                        events.append(self._marked(PASSED_OVER))
                    if self._place.covers(line):
                        self._place.skip(line.time)
            rest = self._place.rest(line)
            if rest is None:
                continue
            events.append(self._event(rest))
            if self._beginning is not None and (why := self._beginning.feed(len(rest.text), (rest.time,))):
                events.append(self._marked(before_all(why)))
        if new := b"".join(events):
            yield new

    async def _fill(self, until: Line | None = None) -> AsyncIterator[bytes]:
        """What history has behind the line that was sent last; with `until`, what it will have before that line: the
        operator writes every few seconds what it reads."""
        for seconds in (*(_FILL_SECONDS if until else ()), None):
            row = await self._desk.logs.known(self._of, self._query)
            if row is None:
                return
            for sent in self._kept(row, until):
                yield sent
            if row.complete or seconds is None or not self._place.seeking:
                return
            await asyncio.sleep(seconds)

    async def _follows(self, held: Line | None) -> Follows:
        """A stream that is followed has paused: whether it has come to the end of the newest file."""
        last = copy(self._place)
        if held is not None:
            last.new(held)
        if not self._sequence.small and last.time:
            last.restart()
            newer = False
            try:
                opened = await self._desk.logs.open(self._of, self._query, last.since, timestamps=True, again=True)
                if isinstance(opened, NoPodLog):
                    return Follows.YES  # it may; the stream will end soon, or the next pause tell
                lines = lines_of(opened.chunks())
                try:
                    async for line in lines:
                        newer = last.lacks(line)
                        last.new(line)
                        if last.met:
                            break
                finally:
                    await lines.aclose()
                    await opened.close()
            except Problem:
                return Follows.YES  # as above
            if newer or (last.seeking and not self._sequence.silent):
                return Follows.NO
        self._sequence.at_end()
        return Follows.ANEW if last.seeking else Follows.YES


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
