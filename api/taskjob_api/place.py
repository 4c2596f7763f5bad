"""Where in a log a client is, so that it goes on behind that, be the log its pod's or history's."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from typing import Final

from taskjob.rotation import is_rest
from taskjob_api.kept import LINE_MAX, Line

_TIME_MAX: Final = 40
_WHOLE: Final = 0
_HALF_A_TIME: Final = re.compile(rb"[0-9TZ:.+-]{1,40}")
_IDENTITY: Final = re.compile(  # those of earlier releases name no run
    r"(?:([0-9]{1,9})-)?([0-9]{1,9})\.([0-9]{1,15})\.([0-9]{1,15})\.([0-9]{1,15})\.([0-9TZ:.+-]{0,35})(m?)"
)


class Place:
    """The line that was sent last, by its time and its number among those of that time, and how much of it.

    The kubelet begins at whole seconds (`sinceTime`), so all lines of a time are met again. Lines without a time, which
    only an odd log has, are told apart by their number.

    A line during which the kubelet began a new file stands in two: its beginning, without an end, is the last of the
    old file, and its rest, with a time of its own, the first of the new. Who followed from one to the other was given
    one line.
    """

    __slots__ = (
        "_met", "_nth", "_offset", "_seen", "_seen_nth", "_taken", "_text", "_time", "ends_at", "lines", "marked"
    )  # fmt: skip

    def __init__(
        self, lines: int = 0, nth: int = 0, taken: int = _WHOLE, time: bytes = b"", *, marked: bool = False
    ) -> None:
        self.lines = lines  # sent whole so far
        self.marked = marked  # a mark was sent behind the last line: one is enough
        self.ends_at: int | None = None  # so many bytes of what history counts end with it, if that is known
        self._time, self._nth = time, nth
        self._taken = taken  # bytes of that line; 0: all of it
        self._text: bytes | None = None  # its last bytes, if they are known
        self.restart()

    @classmethod
    def parse(cls, identity: str, run: int, attempt: int) -> Place | None:
        """From an event's id; None if it is none of this attempt's."""
        found = _IDENTITY.fullmatch(identity)
        if found is None or (int(found[1] or run), int(found[2])) != (run, attempt):
            return None
        return cls(int(found[3]), int(found[4]), int(found[5]), found[6].encode(), marked=bool(found[7]))

    def identity(self, run: int, attempt: int) -> str:
        """As an event's id."""
        return f"{run}-{attempt}.{self.lines}.{self._nth}.{self._taken}.{self._time.decode()}{'m' * self.marked}"

    @property
    def since(self) -> str | None:
        """For `sinceTime`: the second of the last line."""
        return self._time[:19].decode() + "Z" if self._time else None

    @property
    def time(self) -> bytes:
        """Of the last line."""
        return self._time

    def restart(self, *, met: bool = False) -> None:
        """The log is read again from `since`, or from its beginning. `met`: or from behind the last line."""
        self._seen, self._seen_nth, self._offset = b"", 0, 0
        self._met = met  # the last line, or one behind it

    @property
    def seeking(self) -> bool:
        """The line that was sent last has not been met in what is read now."""
        return bool(self._time) and not self._met

    @property
    def met(self) -> bool:
        """It has, or what is read now was found to lie behind it."""
        return self._met

    def lacks(self, line: Line) -> bool:
        """Whether this line comes after the one that was sent last, and that one is not there any more."""
        return self.seeking and line.time > self._time and bool(line.text or line.whole)

    def new(self, line: Line) -> bytes | None:
        """What of this line, or piece of a line, was not sent yet; None if all of it was. Counts it as sent."""
        if not line.time and self._time:
            return None  # the rest of a long line that began before `since`, or the kubelet's own word
        if line.begins:
            self._offset = 0
            self._seen_nth = self._seen_nth + 1 if line.time == self._seen else 1
            self._seen = line.time
        start = self._offset
        end = self._offset = start + len(line.text)
        here, last = (self._seen, self._seen_nth), (self._time, self._nth)
        self._met = self._met or here == last
        if not line.text and not line.whole:
            return None  # nothing of it is here yet
        if here < last:
            return None
        if here == last and (self._taken == _WHOLE or (end <= self._taken and not line.whole)):
            if line.whole and self._text is None:
                self._text = line.text[-LINE_MAX:]
            return None
        text = line.text if here > last else line.text[max(0, self._taken - start) :]
        self._text = line.text if line.begins else ((self._text or b"") + text)[-LINE_MAX:]
        self._time, self._nth = here
        self._taken = _WHOLE if line.whole else end
        self._met, self.marked, self.ends_at = True, False, None
        self.lines += line.whole
        return text

    def rest(self, line: Line) -> Line | None:
        """The same as a line: what was begun before does not begin now."""
        text = self.new(line)
        if text is None or len(text) == len(line.text):
            return None if text is None else line
        return replace(line, text=text, begins=False)

    def ends_as(self, line: Line) -> bool:
        """That line, which was read just now, is the one that was sent last, and as much of it was sent."""
        same = (self._seen, self._seen_nth) == (self._time, self._nth)
        return same and self._taken == (_WHOLE if line.whole else self._offset)

    def covers(self, line: Line) -> bool:
        """Whether a line that begins a file may be the rest of the line that was sent last."""
        return self._taken == _WHOLE and self._text is not None and ends_text(line, self._text)

    def joins(self, beginning: Line, rest: Line) -> bool:
        """The line that was sent last was made of these two, which another reader has apart."""
        return self._taken == _WHOLE and self._time == beginning.time and self._text == beginning.text + rest.text

    def is_within(self, line: Line) -> bool:
        """The line that was sent last was the rest of this one, which another reader has whole."""
        return self._taken == _WHOLE and self._text is not None and is_rest(self._text, line.text)

    def skip(self, time: bytes) -> None:
        """The line of that time is the rest of the one that was sent last: it was sent with it."""
        self._time, self._nth, self._taken, self._met = time, 1, _WHOLE, True


def attempt_of(identity: str) -> tuple[int, int] | None:
    """Run and attempt that an event's id is of, if it tells."""
    found = _IDENTITY.fullmatch(identity)
    return None if found is None or found[1] is None else (int(found[1]), int(found[2]))


def ends_text(line: Line, text: bytes) -> bool:
    """Whether a line is the end of that text, and not all of it."""
    return line.whole and line.begins and is_rest(line.text, text)


async def lines_of(chunks: AsyncIterator[bytes]) -> AsyncGenerator[Line, None]:
    """Lines out of chunks that carry times. A line that is too long comes in pieces."""
    async for lines in batches_of(chunks):
        for line in lines:
            yield line


async def batches_of(chunks: AsyncIterator[bytes]) -> AsyncGenerator[list[Line], None]:
    """The same: the lines that end, or go on for too long, in each of the chunks."""
    rest, time, inside = b"", b"", False  # `inside`: the beginning of this line has been given out already
    async for chunk in chunks:
        rest += chunk
        lines, at = list[Line](), 0
        while (end := rest.find(b"\n", at)) >= 0 or len(rest) - at > LINE_MAX + _TIME_MAX:
            if not inside:
                time, at = _timed(rest, at, end)
            last = 0 <= end - at <= LINE_MAX
            stop = end if last else at + LINE_MAX
            lines.append(Line(time, rest[at:stop], last, not inside))
            at = stop + 1 if last else stop
            inside = not last
        rest = rest[at:]
        if lines:
            yield lines
    if rest:
        begins, at = not inside, 0
        if begins:
            time, at = _timed(rest, 0, -1)
            if not time and _HALF_A_TIME.fullmatch(rest):
                return  # broken off within the time: of the line itself nothing has come
        yield [Line(time, rest[at:], False, begins)]


def _timed(rest: bytes, at: int, end: int) -> tuple[bytes, int]:
    """The time that the line at that place begins with, and where what follows it does; `end`: the line's, or -1."""
    time, space, _ = rest[at : at + _TIME_MAX if end < 0 else min(end, at + _TIME_MAX)].partition(b" ")
    if not space or time[10:11] != b"T" or time[4:5] != b"-":
        return b"", at
    return time, at + len(time) + 1
