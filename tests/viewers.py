"""A client that follows a log through the API's own `Follower`, over the fakes of an operator, in virtual time."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

from fakes_logs import FakeLogStream
from log_world import World
from taskjob.core.model import Pod
from taskjob.core.phases import Phase
from taskjob.history.views import LogPart, LogRow
from taskjob.ports import HistoryUnavailableError, LogBrokenError, LogChunk
from taskjob_api.cluster import NoPodLog
from taskjob_api.desk import Desk
from taskjob_api.follow import Follower
from taskjob_api.jobs import Found
from taskjob_api.logs import LiveLog, LogQuery, Logs, Target
from taskjob_api.place import Place
from taskjob_api.problems import unavailable
from virtual_time import VirtualClock


class Hole(NamedTuple):
    """Between two parts of what came, or at the end."""

    at: int  # so many bytes were written before it
    size: int


def holes(parts: Iterable[bytes], written: bytes) -> list[Hole]:
    """What is missing between each two of what came, and at the end. All else came once, in its order."""
    found, at = list[Hole](), 0
    for n, part in enumerate(parts):
        begin = written.find(part, at) if n > 0 else 0
        assert written.startswith(part, begin), f"part {n} of {len(part)} bytes, {part[:40]!r}, does not follow {at}"
        found += [Hole(at, begin - at)] if n > 0 else []
        at = begin + len(part)
    return [*found, Hole(at, len(written) - at)]


class Viewer(Logs):
    """Both sources of the log of one pod's main container, and who follows it. `slow`: reads nothing for now."""

    def __init__(self, world: World, pod: Pod, since: str | None = None, **query: Any) -> None:
        self.world, self.pod, self.since = world, pod, since
        self.query = LogQuery(follow=True, encoding="base64", **query)
        self._parts = [bytearray()]
        self.marks: list[dict[str, Any]] = []
        self.ended = False
        self.tails = set[bytes]()  # how what history had behind a cut began, when it was asked
        self.ends: list[bytes | None] = []  # what comes of the next logs that are not followed; None: they break off
        self.opened = 0  # so many times the pod's own log was asked for
        self.last_id = ""
        self.going = asyncio.Event()  # set: the API is about to end
        self._quick = asyncio.Event()
        self._quick.set()
        self._task = asyncio.create_task(self._follow())

    @property
    def parts(self) -> list[bytes]:
        """What came before, between and after marks."""
        return [bytes(part) for part in self._parts]

    @property
    def body(self) -> bytes:
        """All bytes of the container's that came."""
        return b"".join(self._parts)

    @property
    def slow(self) -> bool:
        """It reads nothing now."""
        return not self._quick.is_set()

    @slow.setter
    def slow(self, wanted: bool) -> None:
        if wanted:
            self._quick.clear()
        else:
            self._quick.set()

    async def leave(self) -> None:
        """Break the connection."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def left(self) -> bool:
        """It follows no more; raises what went wrong."""
        self.check()
        return self._task.done()

    def come_back(self) -> None:
        """Follow on behind the last event."""
        self._task = asyncio.create_task(self._follow())

    def check(self) -> None:
        """Raises what went wrong."""
        if self._task.done() and not self._task.cancelled():
            self._task.result()

    async def until_end(self) -> None:
        """Until the attempt has, and all of it was told."""
        await self.world.until(self.left)
        assert self.ended

    def follower(self) -> Follower:
        """Of the pod's only attempt, as it is now."""
        desk = Desk(
            rights=cast(Any, SimpleNamespace(recheck_seconds=1e9)),
            jobs=cast(Any, SimpleNamespace(find=self._find)),
            logs=self,
            hub=cast(Any, SimpleNamespace(grown=asyncio.Event())),
            going=self.going,
            now=VirtualClock().now,
        )
        of = Target(self._found(), 0, 1, self.pod.name)
        return Follower(desk, of, self.query, self.since, Place.parse(self.last_id, 0, 1))

    async def _follow(self) -> None:
        follower = self.follower()
        async for events in follower.events(await follower.open()):
            for event in events.decode().split("\n\n"):
                self._take(event)

    def _take(self, event: str) -> None:
        fields = dict(line.split(": ", 1) for line in event.splitlines() if not line.startswith(":") and line)
        if not fields:
            return
        self.last_id = fields["id"]
        match fields.get("event"):
            case None:
                self._parts[-1] += b64decode(fields["data"])
            case "mark":
                self.marks.append(json.loads(fields["data"]))
                self._parts.append(bytearray())
            case "end":
                self.ended = True
            case other:
                raise AssertionError(f"{other}: {fields['data']}")

    def _found(self) -> Found:
        """The operator writes a status of what runs for some seconds; here everybody is told at once."""
        pod = self.world.fake.pods.get(self.pod.uid)
        job = self.world.fake.jobs[self.pod.attempt.uid]
        over = pod is None or pod.finished_at is not None
        status = replace(
            job.status,
            phase=Phase.SUCCEEDED if over else Phase.RUNNING,
            attempt=1,
            started_at=self.pod.started_at,
        )
        return Found(replace(job, status=status), None)

    async def _find(self, uid: str) -> Found:
        return self._found()

    # ------------------------------------------------------------------ the two sources
    async def open(
        self,
        of: Target,
        query: LogQuery,
        since: str | None,
        *,
        follow: bool = False,
        timestamps: bool = False,
        again: bool = False,
    ) -> LiveLog | NoPodLog:
        """The fake kubelet's."""
        self.opened += 1
        if self.pod.uid not in self.world.fake.pods:
            return NoPodLog("the pod is gone", waiting=False)
        if not follow and self.ends:
            return LiveLog(self._instead(self.ends.pop(0)), AsyncExitStack())
        stream = FakeLogStream(self.world.fake, self.pod.uid, "main", since or "", follow=follow)
        return LiveLog(self._chunks(stream), AsyncExitStack())

    async def _instead(self, text: bytes | None) -> AsyncIterator[bytes]:
        if text is None:
            raise unavailable("cut by the test")
        yield text

    async def _chunks(self, stream: FakeLogStream) -> AsyncIterator[bytes]:
        while True:
            await self._quick.wait()
            try:
                chunk = await stream.read()
            except LogBrokenError as error:
                raise unavailable(str(error)) from error
            await self._quick.wait()
            if not chunk:
                return
            yield chunk

    async def kept(self, of: Target, query: LogQuery) -> LogRow | None:
        """History's."""
        return await self.row()

    async def row(self) -> LogRow | None:
        """As its reader gives it."""
        if not self.world.history.available:
            raise HistoryUnavailableError("the fake is switched off")
        if not self.world.history.logs:
            return None
        log = self.world.log()
        chunks = (*log.chunks, LogChunk(log.number, log.body, log.times))
        self.tails |= {chunk.body[:64] for chunk in chunks if chunk.n == log.tail}
        return LogRow(
            run=0,
            member=0,
            attempt=1,
            container="main",
            parts=tuple(LogPart(part.n, part.body, part.times) for part in chunks),
            size=log.size,
            cut_bytes=log.cut_bytes,
            note=log.note,
            captured_at=self.world.fake.now(),
            main=True,
            complete=log.complete,
            head=log.head,
            tail=log.tail,
            gaps=log.gaps,
            resume=log.resume,
        )
