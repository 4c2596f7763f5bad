"""Where two parts of a log meet, two files of the kubelet's or a file and history: is anything missing between? Pure.

The kubelet says nothing of its files (see `taskjob.rotation`). Three things tell:

1. A part that is read anew does not show the line that was sent last: `Place.lacks`.
2. Within a stream the times of the lines leap: `Flow`. It is left, and 1 decides.
3. A stream that has not kept up pauses: the follower looks whether its last line stands in the newest file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from copy import copy
from datetime import datetime, timedelta
from typing import Final

from taskjob.rotation import STAMP_BYTES, Sequence, instant, leaps
from taskjob_api.kept import Line, Mark
from taskjob_api.place import Place, ends_text

PASSED_OVER: Final = Mark(
    "gap",
    None,
    "the kubelet began a new file before the one before it was read to its end, and history has no more of it (yet)",
)
LEFT_UNREAD: Final = Mark("gap", None, "the log was not read to its end, and history has no more of it (yet)")
_LONGER: Final = Mark("gap", None, "the log was longer than is kept")

_ROTATION: Final = timedelta(seconds=12)
"""A file that is full is followed by another within the 10 s between two looks of the kubelet."""


def before_all(why: str) -> Mark:
    """Said once it is known, which is some megabytes after the first line."""
    return Mark("gap", None, why, "something may be missing before the first line")


class Flow:
    """The lines of one stream of a pod's log, up to one that may not follow the one before it.

    The kubelet makes one line of the last of a file, if that has no end, and the first of another. So in doubt a line
    that may be the last of its file waits for the one after it, or for a look at the newest file: `held`.
    """

    def __init__(self, sequence: Sequence) -> None:
        self._sequence = sequence
        self._before: datetime | None = None
        self.held: Line | None = None
        self.leapt = False  # nothing from `held` on was given out

    def feed(self, line: Line, now: datetime) -> list[Line]:
        """What can be sent now that this line has come."""
        if self.leapt:
            return []
        self._sequence.come(len(line.text) + STAMP_BYTES, line.time, now)
        since = self._sequence.doubtful_from
        at = instant(line.time) if line.begins else None
        if since is not None and at is not None and at >= since and leaps(self._before, at):
            self.leapt, self.held = True, None
            return []
        given = self.release()
        self._before = at or self._before
        if since is not None and at is not None and at >= since - _ROTATION and line.whole:
            self.held = line
            return given
        return [*given, line]

    def release(self) -> list[Line]:
        """What was held."""
        held, self.held = self.held, None
        return [] if held is None else [held]


def unsent(
    place: Place, found: Iterable[Line | Mark], *, until: Line | None = None, ends: bool, ends_at: int | None = None
) -> Iterator[Line | Mark]:
    """What of a kept log, or of its part before the line `until`, lies behind `place`, which moves on with it.

    Marks stand where they stood; where the line that was sent last is not in it, there is one before all that follows.
    With `until`: that line follows without another mark unless `place` is still seeking afterwards. `ends`: the log is
    complete, so that marks at its end count, however far it comes. `ends_at`: so many bytes of the whole log do.
    """
    walk = _Walk(place)
    for each in found:
        if isinstance(each, Mark) or not (each.time or each.begins):
            walk.between(each)
        elif not each.time:
            yield from walk.timeless(each)
        elif until is None or each.time < until.time:
            yield from walk.line(each)
        else:
            yield from walk.arrived(until, each.time)
            return
    yield from walk.ended(until, ends=ends, ends_at=ends_at)


class _Walk:
    """On the way through a kept log. Between two of its lines marks wait until it is known whether they are news."""

    def __init__(self, place: Place) -> None:
        place.restart()
        self._place = place
        self._before: Line | None = None  # the line that was met last
        self._waiting: list[Line | Mark] = []  # since then
        self._behind = not place.time  # all that was sent lies before this point: that is known

    def between(self, each: Line | Mark) -> None:
        """A mark, or the rest of a line whose beginning was left out: told or not with the line that follows."""
        self._waiting.append(each)

    def timeless(self, line: Line) -> Iterator[Line | Mark]:
        """A line as earlier releases kept it."""
        yield from self._waiting
        self._waiting, self._behind = [], True
        self._place.lines += line.whole
        yield line

    def line(self, line: Line) -> Iterator[Line | Mark]:
        """A line, and before it what is told of what waits or is missing."""
        place, shown = self._place, False  # `shown`: as the rest of the line that was sent last
        if (self._waiting or place.lacks(line)) and copy(place).rest(line) is not None:
            if self._before is not None and place.joins(self._before, line):
                shown = True
            elif self._waiting or not self._ends_as_sent():
                yield from self._telling(self._news(behind=self._behind) if self._waiting else [PASSED_OVER])
                shown = place.marked and not self._behind and place.covers(line)
        marked = place.marked
        rest = place.rest(line)
        if shown:
            place.marked = marked  # nothing has followed the mark yet
        elif rest is not None:
            yield rest
        self._before, self._waiting = line, []
        self._behind = rest is not None or place.ends_as(line)

    def arrived(self, until: Line, time: bytes) -> Iterator[Line | Mark]:
        """At the line that the walk was to end at, or at the first after it, which is of that time."""
        place, here = self._place, time == until.time
        behind = self._behind and here
        news = self._news(behind=behind)
        if news or (self._waiting and place.marked):
            yield from self._telling(news)
            place.restart(met=True)
            if place.covers(until) and not behind:
                place.skip(until.time)
        elif here:
            place.restart(met=behind or place.met or bool(self._waiting) or self._ends_as_sent())
        else:  # that line is here the end of the one before it, if it is here
            before = self._before
            joined = place.covers(until) if self._waiting else before is not None and ends_text(until, before.text)
            place.restart()
            if joined:
                place.skip(until.time)

    def ended(self, until: Line | None, *, ends: bool, ends_at: int | None) -> Iterator[Line | Mark]:
        """There is no more."""
        place = self._place
        if not ends:  # the rest of a line may still grow
            self._waiting = [each for each in self._waiting if isinstance(each, Mark)]
        told = ends or self._behind or place.met
        if told:
            yield from self._telling(self._news(behind=self._behind))
        place.ends_at = ends_at if self._behind else place.ends_at
        marked = told and any(isinstance(each, Mark) for each in self._waiting)
        place.restart(met=marked)
        if until is not None and marked and place.covers(until):
            place.skip(until.time)

    def _ends_as_sent(self) -> bool:
        """What was sent last is the rest of the line that was met last."""
        return self._before is not None and self._place.is_within(self._before)

    def _news(self, *, behind: bool) -> list[Line | Mark]:
        """What is told of what waits. Who has perhaps seen a part of what was left out is not told how much that was,
        nor shown the rest of a line of it."""
        place = self._place
        if behind:
            return [each for each in self._waiting if not (place.marked and isinstance(each, Mark))]
        marks = [each for each in self._waiting if isinstance(each, Mark) and not place.marked]
        return [
            _LONGER if mark.kind == "cut" else mark
            for mark in marks
            if mark.ends_at is None or mark.ends_at != place.ends_at
        ]

    def _telling(self, found: Iterable[Line | Mark]) -> Iterator[Line | Mark]:
        for each in found:
            self._place.marked = self._place.marked or isinstance(each, Mark)
            yield each
