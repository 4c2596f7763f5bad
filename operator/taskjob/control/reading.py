"""One container's log on its way from the kubelet into history: opened, followed or read to its end, taken up again.

`capture` decides which containers are read, and when; what is kept of a log is `logbook`'s.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from taskjob import metrics
from taskjob.control.logbook import LogBook
from taskjob.control.recorder import Recorder
from taskjob.control.redact import Redactor
from taskjob.control.stamped import Cursor, Piece, Stamped, first_time
from taskjob.core.model import ContainerRun, Pod
from taskjob.ports import Clock, Gone, KeptLog, KubePort, Log, LogBrokenError, LogStream, NoLog, Unreachable
from taskjob.rotation import LEAP, Beginning, Sequence

FLUSH_BYTES: Final = 262_144
FLUSH_SECONDS: Final = 5.0
"""What was read is told to history after so many bytes or seconds."""

IDLE_SECONDS: Final = 10.0
"""A container that wrote nothing for so long gives its place to one that waits for it."""

PAUSE_SECONDS: Final = LEAP.total_seconds()
"""After so long a silence it is looked whether a stream that has not kept up is still in the newest file."""

_MISSED: Final = (
    "the kubelet began a new file before the one before it was read to its end: how much is missing is not known"
)
_MASKED: Final = -1


class End(Enum):
    """How a stream ended."""

    CLEAN = "clean"  # the container ended, or the connection did: both look the same
    BROKEN = "broken"  # or left, since it may have passed over something
    YIELDED = "yielded"  # nothing came, and others wait


@dataclass(frozen=True, slots=True)
class Care:
    """What all readings share."""

    kube: KubePort
    recorder: Recorder
    clock: Clock
    limit_bytes: int
    pattern: re.Pattern[bytes] | None = None


class Reading:
    """The log of one container of one pod."""

    def __init__(self, care: Care, pod: Pod, run: ContainerRun, kept: KeptLog | None = None) -> None:
        self.pod = pod
        self.run = run
        self._care = care
        cursor = Cursor() if kept is None else Cursor.parse(kept.log.resume)
        self._stamped = Stamped(cursor, b"" if kept is None else kept.log.body)
        self._redactor = Redactor(care.pattern, masking=cursor.taken == _MASKED)
        if kept is None:
            self._book = LogBook(pod.attempt, run.name, care.limit_bytes, main=run.main)
        else:
            self._book = LogBook.of(kept, care.limit_bytes)
        self._beginning = Beginning(run.started_at) if kept is None else None
        self._sequence = Sequence(0 if kept is None else kept.log.size)
        self._flushed = care.clock.elapsed()
        self.complete = kept is not None and kept.log.complete
        self.note = ""
        self.behind = False  # the container may have written more than was read when the last stream ended

    async def stream(
        self, *, follow: bool, yields: Callable[[], bool] = lambda: False
    ) -> End | NoLog | Gone | Unreachable:
        """Read from where we are: to the end of what there is, or until the container ends."""
        since = self._stamped.cursor.since
        opened_at = self._care.clock.now()
        answer = await self._care.kube.open_log(self.pod, self.run.name, since=since, follow=follow)
        if isinstance(answer, NoLog | Gone | Unreachable):
            return answer
        if self._beginning is not None:
            self._beginning.opened(opened_at)
        self._sequence.opened(opened_at)
        self.behind = False
        self._stamped.restart()
        try:
            end = await self._read(answer, follow, yields)
        finally:
            await answer.close()
        self._take_in(self._stamped.finish(broken=end is not End.CLEAN))
        self.behind = follow and self._sequence.behind(self._stamped.cursor.time, self._care.clock.now())
        return End.BROKEN if self._stamped.leapt else end

    async def _read(self, stream: LogStream, follow: bool, yields: Callable[[], bool]) -> End:
        idle_since = self._care.clock.elapsed()
        waiting: asyncio.Task[bytes] | None = None
        try:
            while True:
                waiting = waiting or asyncio.ensure_future(stream.read())
                doubt = follow and not self._sequence.sure
                await asyncio.wait([waiting], timeout=PAUSE_SECONDS if doubt else FLUSH_SECONDS)
                if not waiting.done():
                    if doubt and not await self._is_current():
                        return End.BROKEN
                    await self.flush()
                    if yields() and self._care.clock.elapsed() - idle_since >= IDLE_SECONDS:
                        return End.YIELDED
                    continue
                try:
                    chunk = waiting.result()
                except LogBrokenError:
                    return End.BROKEN
                finally:
                    waiting = None
                if not chunk:
                    return End.CLEAN
                idle_since = self._care.clock.elapsed()
                if follow:
                    self._sequence.come(len(chunk), first_time(chunk), self._care.clock.now())
                    self._stamped.doubtful_from = self._sequence.doubtful_from
                self._take_in(self._stamped.feed(chunk))
                if self._stamped.leapt:
                    return End.BROKEN
                await asyncio.sleep(0)  # a log that never pauses must not hold up the loop
                late = idle_since - self._flushed >= FLUSH_SECONDS
                if self._book.pending_bytes >= FLUSH_BYTES or (late and self._book.fed):
                    await self.flush()
        finally:
            if waiting is not None:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)

    async def _is_current(self) -> bool:
        """A stream that is followed has paused: whether the line that was read last stands in the newest file."""
        if not self._sequence.small:
            cursor = self._stamped.cursor
            answer = await self._care.kube.open_log(self.pod, self.run.name, since=cursor.since, follow=False)
            if isinstance(answer, NoLog | Gone | Unreachable):
                return True  # it may be; the stream will end soon, or the next pause tell
            look = Stamped(cursor)
            try:
                while look.seeking and (chunk := await answer.read()):
                    for _ in look.feed(chunk):
                        pass
            except LogBrokenError:
                return True
            finally:
                await answer.close()
            if look.missed or (look.seeking and not self._sequence.silent):
                return False  # where nothing has come either, both are of a file that holds nothing yet
        self._sequence.at_end()
        self._stamped.doubtful_from = None
        self._take_in(self._stamped.feed(b""))  # what was held back
        return True

    def _take_in(self, pieces: Iterable[Piece]) -> None:
        for body, times, line_ends in pieces:
            self._tell_missed()
            metrics.log_bytes.inc(len(body))
            kept = self._redactor.feed(body, line_ends=line_ends)
            self._book.feed(kept, times, line_ends=line_ends)
            if self._beginning is not None:
                self._tell_beginning(self._beginning.feed(len(body), times))
        self._tell_missed()

    def _tell_missed(self) -> None:
        if self._stamped.missed:
            self._stamped.missed = False
            self.gap(_MISSED)

    def _tell_beginning(self, why: str) -> None:
        if why:
            self._book.gap_before_all(why)
            metrics.log_gaps.inc()

    def gap(self, why: str) -> None:
        """Something may be missing here."""
        if rest := self._redactor.finish():
            self._book.feed(rest, (), line_ends=False)
        self._book.gap(why)
        metrics.log_gaps.inc()

    async def flush(self) -> None:
        """Tell history what has come since."""
        self._flushed = self._care.clock.elapsed()
        if self._book.fed:
            await self._care.recorder.keep_part(lambda: self._book.take(self._cursor()))

    def close(self, note: str = "") -> Log:
        """The log is over: the last that history is to hold."""
        if rest := self._redactor.finish():
            self._book.feed(rest, (), line_ends=False)
        if self._beginning is not None:
            self._tell_beginning(self._beginning.finish())
        self.complete = True
        metrics.log_cut_bytes.inc(self._book.cut_bytes)
        return self._book.take(self._cursor(), complete=True, note=note or self._stamped.said)

    @property
    def empty(self) -> bool:
        """Nothing was read so far."""
        return self._book.size == 0

    @property
    def volume(self) -> int:
        """How many bytes streams that are followed have brought, times included."""
        return self._sequence.volume

    @property
    def last_line_at(self) -> str:
        """The time of the last line that was read, for people."""
        return self._stamped.cursor.time[:19].decode().replace("T", " ")

    def _cursor(self) -> Cursor:
        """Where reading would have to go on, were this all that is left of us."""
        cursor = self._stamped.cursor
        if self._redactor.masking:
            return Cursor(cursor.time, cursor.nth, _MASKED)
        return Cursor(cursor.time, cursor.nth, cursor.taken - self._redactor.held)
