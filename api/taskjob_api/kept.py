"""A log as history keeps it, in the form in which a pod's own comes: lines with their times, and marks between them.

So both are read alike, and whoever goes from one to the other knows each line again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from taskjob.history.views import LogPart, LogRow

LINE_MAX: Final = 262_144
"""Bytes of a line that are passed on as one; what is longer is cut into several, at the same places always."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log, with the time that the kubelet gave it (empty if none)."""

    time: bytes
    text: bytes
    whole: bool = True  # its end was seen
    begins: bool = True  # otherwise it goes on with the one before


@dataclass(frozen=True, slots=True)
class Mark:
    """Something is not there: a cut is what was left out of a long log, a gap is what was lost."""

    kind: str  # cut or gap
    size: int | None  # bytes, where known
    why: str = ""
    what: str = "something is missing here"
    ends_at: int | None = field(default=None, compare=False)  # of a cut: so many bytes of the whole log end with it

    @property
    def sentence(self) -> str:
        """For people."""
        if self.kind == "cut":
            return f"{self.size} bytes are left out here: the log was longer than is kept"
        size = "" if self.size is None else f"{self.size} bytes, "
        return f"{self.what}: {size}{self.why}"

    @property
    def line(self) -> bytes:
        """As it stands in a text."""
        return f"[taskjobs: {self.sentence}]\n".encode()


def has_times(row: LogRow) -> bool:
    """Whether its lines have times: logs of earlier releases have none."""
    return any(part.times for part in row.parts)


def contents(row: LogRow) -> Iterator[Line | Mark]:
    """All that is kept. Of a log that goes on, a last line that has no end yet is left to whoever reads on. The rest of
    a line whose beginning was left out has no time, and does not begin."""
    time, rest, begins = b"", b"", True
    inside = False  # a line has begun, be it that nothing of its text is here yet
    expected = 0
    for part in row.parts:
        lines, begun = part.body.split(b"\n"), part.times.split()
        if marks := list(_marks_before(row, part, expected)):
            if rest:
                yield from _pieces(time, rest, ends=False, begins=begins)
            rest, inside = b"", False
            yield from marks
        if part.n > expected and len(begun) < len(lines) - (lines[-1] == b""):
            time, begins, inside = b"", False, True
        expected = part.n + 1
        times = iter(begun)
        for n, text in enumerate(lines):
            ends = n < len(lines) - 1
            if not inside and (text or ends):
                time, begins, inside = next(times, time), True, True
            rest += text
            if ends:
                yield from _pieces(time, rest, ends=True, begins=begins)
                rest, inside = b"", False
        if not inside and (last := next(times, None)) is not None:
            time, begins, inside = last, True, True
    if rest and row.complete:
        yield from _pieces(time, rest, ends=False, begins=begins)
    yield from (Mark("gap", gap.size, gap.why) for gap in row.gaps if gap.before >= expected)


def _marks_before(row: LogRow, part: LogPart, expected: int) -> Iterator[Mark]:
    if part.n > expected and row.cut_bytes:
        after = sum(len(other.body) for other in row.parts if other.n >= part.n)
        yield Mark("cut", row.cut_bytes, ends_at=row.size - after)
    for gap in row.gaps:
        if expected <= gap.before <= part.n:
            yield Mark("gap", gap.size, gap.why)


def end_of(row: LogRow) -> int:
    """How many bytes of the whole log end where `contents` does."""
    unended = 0
    for part in () if row.complete else reversed(row.parts):
        end = part.body.rfind(b"\n") + 1
        unended += len(part.body) - end
        if end:
            break
    return row.size - unended


def _pieces(time: bytes, text: bytes, *, ends: bool, begins: bool) -> Iterator[Line]:
    while len(text) > LINE_MAX:
        yield Line(time, text[:LINE_MAX], False, begins)
        text, begins = text[LINE_MAX:], False
    yield Line(time, text, ends, begins)


def as_text(found: Iterable[Line | Mark], *, timestamps: bool = False) -> Iterator[bytes]:
    """As plain text; a mark has a line of its own."""
    inside = False
    for each in found:
        if isinstance(each, Mark):
            yield b"\n" + each.line if inside else each.line
            inside = False
            continue
        stamp = each.time + b" " if timestamps and each.time and each.begins else b""
        yield stamp + each.text + (b"\n" if each.whole else b"")
        inside = not each.whole


def since(found: Iterable[Line | Mark], second: str | None) -> Iterator[Line | Mark]:
    """What was written since; marks before it are left out. Lines without a time pass, if they begin."""
    if second is None:
        yield from found
        return
    begin = second[:19].encode()
    passed = False
    for each in found:
        if isinstance(each, Line) and ((each.begins and not each.time) or each.time[:19] >= begin):
            passed = True
        if passed:
            yield each
