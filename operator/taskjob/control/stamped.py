"""A log as the kubelet serves it, read line by line: taken up where it was left, without a line lost or doubled. Pure.

The kubelet puts a time before each line and can begin at a given second. A `Cursor` says which line was read last, by
its time and its number among those of that time, and how much of it; `Stamped` skips what lies before. If that line is
not there any more, the kubelet's file was rotated meanwhile, and something may be missing.

Pieces are handled whole, by regular expressions: ten thousand lines a second must not cost the loop its time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from taskjob.rotation import instant, is_rest, leaps

LONG_LINE_BYTES: Final = 65_536
"""A line that is longer is passed on in pieces, before its end was seen."""

_STAMP: Final = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)"
_STAMPS: Final = re.compile(rb"(?m)^(" + _STAMP + rb") ")
_STAMPED: Final = re.compile(rb"(" + _STAMP + rb") ")
_HALF_A_STAMP: Final = re.compile(rb"[0-9TZ:.+-]{1,35} ?")


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where reading stands: `taken` bytes of the `nth` line of that time; -1: the rest of that line is not wanted."""

    time: bytes = b""
    nth: int = 0
    taken: int = 0

    @property
    def since(self) -> str | None:
        """For `sinceTime`, which has whole seconds."""
        return None if not self.time else self.time[:19].decode() + _zone(self.time)

    def __str__(self) -> str:
        return f"{self.time.decode()} {self.nth} {self.taken}" if self.time else ""

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """As it was written; the beginning for what cannot be read."""
        try:
            time, nth, taken = text.split(" ")
            return cls(time.encode(), int(nth), int(taken))
        except ValueError:
            return cls()


def _zone(time: bytes) -> str:
    return time[-6:].decode() if time[-6:-5] in (b"+", b"-") else "Z"


def first_time(chunk: bytes) -> bytes:
    """Of the first line that begins in it; empty if none does."""
    found = _STAMPS.search(chunk)
    return found[1] if found else b""


class Piece(NamedTuple):
    """What a container wrote: whole lines, or a part of a long one. `times` are of the lines that begin in it."""

    body: bytes
    times: tuple[bytes, ...]
    line_ends: bool


class Stamped:
    """Pieces out of what a stream gives. One for each container; `restart` for each stream."""

    def __init__(self, cursor: Cursor = Cursor(), read: bytes = b"") -> None:
        """`read`: what was read before the cursor, as far as it is known."""
        self._time, self._nth, self._taken = cursor.time, cursor.nth, cursor.taken
        self._text = _last_line(read)
        self.missed = False  # the line that was read last is not there any more
        self.said = ""  # what the kubelet put in between, without a time: why it cannot go on
        self.restart()

    @property
    def cursor(self) -> Cursor:
        """Behind everything that was given out."""
        return Cursor(self._time, self._nth, self._taken)

    def restart(self) -> None:
        """The stream that follows begins at `cursor.since`."""
        self._rest = b""
        self._inside = False  # the beginning of the line that `_rest` goes on with was given out, or dropped
        self._drop = False  # and the rest of that line is not wanted
        self._skip = 0  # so many bytes of the line were read before
        self._seeking = bool(self._time)  # the line that was read last has not been met yet
        self._seen = 0
        self.doubtful_from: datetime | None = None
        """Of lines from then on, one that comes long after the line before it may not be the next: `leapt`."""
        self.leapt = False  # there was such a line: nothing from the one before it on is given out

    @property
    def seeking(self) -> bool:
        """The line that was read last has not been met yet."""
        return self._seeking

    def feed(self, chunk: bytes) -> Iterator[Piece]:
        """What a chunk brings."""
        buffer = self._rest + chunk if self._rest else chunk
        self._rest = b""
        if self._inside:
            end = buffer.find(b"\n") + 1
            yield from self._go_on(buffer[:end] or buffer, ends=end > 0)
            if not end:
                return
            buffer = buffer[end:]
        at = 0
        while self._seeking and (end := buffer.find(b"\n", at) + 1):
            yield from self._seek(buffer[at:end], ends=True)
            at = end
        buffer = buffer[at:]
        end = buffer.rfind(b"\n") + 1
        if end and self.doubtful_from is not None:
            end = self._trusted(buffer, end, self.doubtful_from)
        if end:
            yield from self._lines(buffer[:end])
        if self.leapt:
            return
        self._rest = buffer[end:]
        if len(self._rest) > LONG_LINE_BYTES:
            yield from self._begin()

    def finish(self, *, broken: bool = False) -> Iterator[Piece]:
        """The stream has ended: a line without an end counts. One that ended by itself without showing the line that
        was read last has missed it."""
        if end := self._rest.rfind(b"\n") + 1:
            lines, self._rest = self._rest[:end], self._rest[end:]
            yield from self._lines(lines)
        if self._rest and not self.leapt and not _HALF_A_STAMP.fullmatch(self._rest):
            yield from self._begin()
        self.missed = self.missed or (self._seeking and not broken)

    def _trusted(self, buffer: bytes, end: int, since: datetime) -> int:
        """How many bytes of the whole lines up to `end` can be given out. The kubelet makes one line of the last of a
        file, if that has no end, and the first of another: each waits until the one after it is seen not to leap."""
        last = buffer.rfind(b"\n", 0, end - 1) + 1
        stamped = _STAMPED.match(buffer, last)
        time = None if stamped is None else instant(stamped[1])
        if time is not None and time >= since:
            before = instant(self._time)
            lines = list(_STAMPS.finditer(buffer, 0, end)) if before is None or leaps(before, time) else []
            for n, line in enumerate(lines):
                at = instant(line[1])
                if at is not None and at >= since and leaps(before, at):
                    self.leapt = True
                    return lines[max(n - 1, 0)].start()
                before = at
        return last if len(buffer) - last <= LONG_LINE_BYTES else end

    def _begin(self) -> Iterator[Piece]:
        """The beginning of a line whose end is not here yet."""
        line, self._rest = self._rest, b""
        self._inside = True
        yield from self._seek(line, ends=False) if self._seeking else self._one(line, ends=False)

    def _go_on(self, body: bytes, *, ends: bool) -> Iterator[Piece]:
        self._inside = not ends
        if self._drop:
            self._drop = not ends
            return
        if (skip := min(self._skip, len(body))) > 0:
            self._skip -= skip
            body = body[skip:]
        if ends:
            self._skip = 0
        if body:
            self._taken += len(body)
            self._text = (self._text + body)[-LONG_LINE_BYTES:]
            yield Piece(body, (), ends)

    def _seek(self, line: bytes, *, ends: bool) -> Iterator[Piece]:
        """One line, while the one that was read last has not been met."""
        stamped = _STAMPED.match(line)
        if stamped is None or stamped[1] < self._time:
            self._drop = not ends
            return
        if stamped[1] == self._time:
            self._seen += 1
            if self._seen < self._nth:
                self._drop = not ends
                return
            self._seeking = False
            if self._taken < 0:
                self._drop = not ends
                return
            self._skip = self._taken
            yield from self._go_on(line[stamped.end() :], ends=ends)
            return
        self._seeking, self.missed = False, True
        text = line[stamped.end() :]
        if ends and is_rest(text, self._text):
            self._count((stamped[1],), text)
            return
        yield from self._one(line, ends=ends)

    def _one(self, line: bytes, *, ends: bool) -> Iterator[Piece]:
        """A line that begins, or its beginning."""
        stamped = _STAMPED.match(line)
        if stamped is None:
            self._told(line)
            self._drop = not ends
            return
        text = line[stamped.end() :]
        self._count((stamped[1],), text)
        yield Piece(text, (stamped[1],), ends)

    def _lines(self, block: bytes) -> Iterator[Piece]:
        """Whole lines."""
        times = tuple(_STAMPS.findall(block))
        if len(times) != block.count(b"\n"):
            for line in _split(block):
                yield from self._one(line, ends=True)
            return
        body = _STAMPS.sub(b"", block)
        self._count(times, _last_line(body))
        yield Piece(body, times, True)

    def _count(self, times: tuple[bytes, ...], text: bytes) -> None:
        """Lines of these times were given out; `text` is what there is of the last."""
        last, same = times[-1], 0
        for time in reversed(times):
            if time != last:
                break
            same += 1
        self._nth = same + (self._nth if same == len(times) and last == self._time else 0)
        self._time, self._taken, self._text = last, len(text), text

    def _told(self, line: bytes) -> None:
        self.said = line.strip().decode(errors="replace")[:300]


def _last_line(body: bytes) -> bytes:
    return body[body.rfind(b"\n", 0, max(len(body) - 1, 0)) + 1 :]


def _split(block: bytes) -> Iterator[bytes]:
    return (line + b"\n" for line in block[:-1].split(b"\n"))
