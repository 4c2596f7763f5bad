"""What is kept of one container's log, in bounded memory: its first half, its last half, and what is missing. Pure.

The log is cut into chunks at line ends. A chunk that is full never changes; the last one grows, and is told anew each
time. Once the first half is full, chunks go to the last half, whose oldest are left out as newer ones come.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from functools import reduce
from typing import Final

from taskjob.control.stamped import Cursor
from taskjob.core.model import AttemptId
from taskjob.ports import KeptLog, Log, LogChunk, LogGap

CHUNK_BYTES: Final = 131_072
CHUNK_LINES: Final = 8192
GAPS_TOLD: Final = 100
"""Of what is kept; more of them are told together with the last one, at its place."""


class LogBook:
    """One container's log. `feed` it, `take` what history should be told."""

    def __init__(self, attempt: AttemptId, container: str, limit: int, *, main: bool = False) -> None:
        self._attempt = attempt
        self._container = container
        self._main = main
        self._chunk_limit = max(256, min(CHUNK_BYTES, limit // 8))
        self._head_limit = limit - limit // 2
        self._tail_limit = limit // 2
        self.size = 0
        self.cut_bytes = 0
        self.gaps: list[LogGap] = []
        self._number = 0  # of the open chunk
        self._body = bytearray()
        self._times: list[bytes] = []
        self._head = 0  # chunks of the first half
        self._head_size = 0
        self._head_open = True
        self._tail: deque[tuple[int, int]] = deque()  # (number, bytes)
        self._tail_size = 0
        self._full: dict[int, LogChunk] = {}  # not taken yet
        self._fed = False  # something has come since `take`

    @classmethod
    def of(cls, kept: KeptLog, limit: int) -> LogBook:
        """As history holds it, to go on with."""
        log = kept.log
        book = cls(log.attempt, log.container, limit, main=log.main)
        book.size, book.cut_bytes, book.gaps = log.size, log.cut_bytes, list(log.gaps)
        book._number, book._body, book._times = log.number, bytearray(log.body), log.times.split()
        book._head = log.head
        for number, size in kept.sizes:
            if number < log.head:
                book._head_size += size
            else:
                book._head_open = False
                book._tail.append((number, size))
                book._tail_size += size
        return book

    @property
    def pending_bytes(self) -> int:
        """How much has come that was not taken; the open chunk counts if it has grown."""
        return sum(len(chunk.body) for chunk in self._full.values()) + (len(self._body) if self._fed else 0)

    @property
    def fed(self) -> bool:
        """Whether there is something to take."""
        return self._fed

    def feed(self, body: bytes, times: tuple[bytes, ...], *, line_ends: bool) -> None:
        """What the container wrote next; `times` are of the lines that begin in it."""
        self.size += len(body)
        self._fed = True
        self._body += body
        self._times += times
        if len(self._body) >= self._chunk_limit * (1 if line_ends else 2) or len(self._times) >= CHUNK_LINES:
            self._close()

    def gap(self, why: str, size: int | None = None) -> None:
        """Something is missing from here on."""
        if self._body:
            self._close()
        self._note(LogGap(self._number, why, size))

    def gap_before_all(self, why: str) -> None:
        """The beginning is missing."""
        self._note(LogGap(0, why), first=True)

    def _note(self, gap: LogGap, *, first: bool = False) -> None:
        self._fed = True
        if first:
            self.gaps.insert(0, gap)
        elif len(self.gaps) >= GAPS_TOLD:
            self.gaps.append(_together(self.gaps.pop(), gap))
        else:
            self.gaps.append(gap)

    def take(self, cursor: Cursor, *, complete: bool = False, note: str = "") -> Log:
        """What history is to hold now; the chunks in it are not told again."""
        self._fed = False
        chunks, self._full = tuple(self._full.values()), {}
        return Log(
            self._attempt,
            self._container,
            bytes(self._body),
            self.size,
            self.cut_bytes,
            note,
            times=_lines(self._times),
            main=self._main,
            complete=complete,
            chunks=chunks,
            number=self._number,
            head=self._head,
            tail=self._tail[0][0] if self._tail else self._number,
            gaps=tuple(self.gaps),
            resume="" if complete else str(cursor),
        )

    def _close(self) -> None:
        """The open chunk is full."""
        number, size = self._number, len(self._body)
        self._full[number] = LogChunk(number, bytes(self._body), _lines(self._times))
        self._number += 1
        self._body, self._times = bytearray(), []
        if self._head_open and self._head_size + size <= self._head_limit:
            self._head, self._head_size = number + 1, self._head_size + size
            return
        self._head_open = False
        self._tail.append((number, size))
        self._tail_size += size
        while len(self._tail) > 1 and self._tail_size - self._tail[0][1] >= self._tail_limit:
            oldest, gone = self._tail.popleft()
            self._tail_size -= gone
            self.cut_bytes += gone
            self._full.pop(oldest, None)
            self._drop_gaps(oldest)

    def _drop_gaps(self, number: int) -> None:
        """Gaps within what was left out are told at the cut, as one: a log that goes on for ever may have very many."""
        at_cut = [replace(gap, before=number + 1) for gap in self.gaps if number <= gap.before <= number + 1]
        if at_cut:
            others = [gap for gap in self.gaps if not number <= gap.before <= number + 1]
            self.gaps = sorted([*others, reduce(_together, at_cut)], key=lambda gap: gap.before)


def _together(one: LogGap, other: LogGap) -> LogGap:
    """Both, told at the place of the other."""
    known = one.size is not None and other.size is not None
    return replace(other, size=(one.size or 0) + (other.size or 0) if known else None)


def _lines(times: list[bytes]) -> bytes:
    return b"".join(time + b"\n" for time in times)
