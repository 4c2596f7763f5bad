"""One container's log on its way from the kubelet into history: opened, followed or read to its end, taken up again.

`capture` decides which containers are read, and when; what is kept of a log is `logbook`'s.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

from taskjob import metrics
from taskjob.control.logbook import LogBook
from taskjob.control.recorder import Recorder
from taskjob.control.redact import Redactor
from taskjob.control.stamped import Cursor, Piece, Stamped
from taskjob.core.model import ContainerRun, Pod
from taskjob.ports import Clock, Gone, KeptLog, KubePort, Log, LogBrokenError, LogStream, NoLog, Unreachable

FLUSH_BYTES: Final = 262_144
FLUSH_SECONDS: Final = 5.0
"""What was read is told to history after so many bytes or seconds."""

IDLE_SECONDS: Final = 10.0
"""A container that wrote nothing for so long gives its place to one that waits for it."""

ROTATED_BYTES: Final = 5 * 2**20
"""The kubelet begins a new file after 10 MiB: half of that, written before reading began, may have been lost."""

_JUDGED_BYTES: Final = 2**20
_MASKED: Final = -1


class End(Enum):
    """How a stream ended."""

    CLEAN = "clean"  # the container ended, or the connection did: both look the same
    BROKEN = "broken"
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
        self._stamped = Stamped(cursor)
        self._redactor = Redactor(care.pattern, masking=cursor.taken == _MASKED)
        if kept is None:
            self._book = LogBook(pod.attempt, run.name, care.limit_bytes, main=run.main)
        else:
            self._book = LogBook.of(kept, care.limit_bytes)
        self._opened_at: datetime | None = None
        self._begun: tuple[bytes, int] | None = None  # the first line's time; None once it was judged
        self._judge = kept is None
        self._flushed = care.clock.elapsed()
        self.complete = kept is not None and kept.log.complete
        self.note = ""

    async def stream(
        self, *, follow: bool, yields: Callable[[], bool] = lambda: False
    ) -> End | NoLog | Gone | Unreachable:
        """Read from where we are: to the end of what there is, or until the container ends."""
        since = self._stamped.cursor.since
        opened_at = self._care.clock.now()
        answer = await self._care.kube.open_log(self.pod, self.run.name, since=since, follow=follow)
        if isinstance(answer, NoLog | Gone | Unreachable):
            return answer
        self._opened_at = self._opened_at or opened_at
        self._stamped.restart()
        try:
            end = await self._read(answer, yields)
        finally:
            await answer.close()
        self._take_in(self._stamped.finish(broken=end is not End.CLEAN))
        return end

    async def _read(self, stream: LogStream, yields: Callable[[], bool]) -> End:
        idle_since = self._care.clock.elapsed()
        waiting: asyncio.Task[bytes] | None = None
        try:
            while True:
                waiting = waiting or asyncio.ensure_future(stream.read())
                await asyncio.wait([waiting], timeout=FLUSH_SECONDS)
                if not waiting.done():
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
                self._take_in(self._stamped.feed(chunk))
                await asyncio.sleep(0)  # a log that never pauses must not hold up the loop
                late = idle_since - self._flushed >= FLUSH_SECONDS
                if self._book.pending_bytes >= FLUSH_BYTES or (late and self._book.fed):
                    await self.flush()
        finally:
            if waiting is not None:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)

    def _take_in(self, pieces: Iterable[Piece]) -> None:
        for body, times, line_ends in pieces:
            if self._stamped.missed:
                self._stamped.missed = False
                self.gap("the kubelet began a new file while nobody read: how much is missing is not known")
            metrics.log_bytes.inc(len(body))
            kept = self._redactor.feed(body, line_ends=line_ends)
            self._book.feed(kept, times, line_ends=line_ends)
            if self._judge:
                self._judge_beginning(times)
        if self._stamped.missed:
            self._stamped.missed = False
            self.gap("the kubelet began a new file while nobody read: how much is missing is not known")

    def gap(self, why: str) -> None:
        """Something may be missing here."""
        if rest := self._redactor.finish():
            self._book.feed(rest, (), line_ends=False)
        self._book.gap(why)
        metrics.log_gaps.inc()

    def _judge_beginning(self, times: tuple[bytes, ...], *, last: bool = False) -> None:
        """Whether the container may have written more before our first line than the kubelet keeps."""
        if self._begun is None:
            if not times:
                return
            self._begun = (times[0], 0)
        if self._book.size < _JUDGED_BYTES and not last:
            return
        self._judge = False
        first, now = _instant(self._begun[0]), _instant(self._stamped.cursor.time)
        if first is None or now is None or self.run.started_at is None or self._opened_at is None:
            return
        rate = self._book.size / max((now - first).total_seconds(), 0.001)
        # The start is cut to the second.
        unseen = (min(first, self._opened_at) - self.run.started_at).total_seconds() - 1
        if unseen > 0 and rate * unseen >= ROTATED_BYTES:
            self._book.gap_before_all(
                f"reading began {unseen:.1f} s after the container did: at its pace the kubelet had begun a new file"
            )
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
        if self._judge:
            self._judge_beginning((), last=True)
        self.complete = True
        metrics.log_cut_bytes.inc(self._book.cut_bytes)
        return self._book.take(self._cursor(), complete=True, note=note or self._stamped.said)

    @property
    def empty(self) -> bool:
        """Nothing was read so far."""
        return self._book.size == 0

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


def _instant(stamp: bytes) -> datetime | None:
    try:
        return datetime.fromisoformat(stamp.decode())
    except ValueError:
        return None
