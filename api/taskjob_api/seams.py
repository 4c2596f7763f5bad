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
    place.restart()
    waiting: list[Line | Mark] = []  # marks since the line before, and the rest of a line whose beginning was left out
    before: Line | None = None
    behind = not place.time  # what comes next is known to lie behind all that was sent
    for each in found:
        if isinstance(each, Mark) or not (each.time or each.begins):
            waiting.append(each)
        elif not each.time:  # as earlier releases kept it
            yield from waiting
            waiting, behind = [], True
            place.lines += each.whole
            yield each
        elif until is not None and each.time >= until.time:
            yield from _up_to(place, until, each, before, waiting, behind=behind)
            return
        else:
            drop = False
            if (waiting or place.lacks(each)) and copy(place).rest(each) is not None:
                if before is not None and place.joins(before, each):
                    waiting, drop = [], True
                elif waiting or before is None or not place.is_within(before):
                    yield from _telling(place, _said(place, waiting, behind=behind) if waiting else [PASSED_OVER])
                    drop = place.marked and not behind and place.covers(each)
            marked = place.marked
            rest = place.rest(each)
            place.marked = place.marked or (drop and marked)
            behind = rest is not None or place.ends_as(each)
            waiting, before = [], each
            if rest is not None and not drop:
                yield rest
    marks = [each for each in waiting if isinstance(each, Mark)]
    if ends or behind or place.met:
        yield from _telling(place, _said(place, waiting if ends else marks, behind=behind))
    else:
        marks = []
    place.ends_at = ends_at if behind else place.ends_at
    place.restart(met=bool(marks))
    if until is not None and marks and place.covers(until):
        place.skip(until.time)


def _up_to(
    place: Place, until: Line, found: Line, before: Line | None, waiting: list[Line | Mark], *, behind: bool
) -> Iterator[Line | Mark]:
    """History has come to that line, or to the first one after it."""
    here = found.time == until.time
    said = _said(place, waiting, behind=behind and here)
    if said or (waiting and place.marked):
        yield from _telling(place, said)
        place.restart(met=True)
        if place.covers(until) and not (behind and here):
            place.skip(until.time)
    elif here:
        follows = behind or place.met or bool(waiting) or (before is not None and place.is_within(before))
        place.restart(met=follows)
    else:  # it has that line with the one before it
        covered = place.covers(until) if waiting else before is not None and ends_text(until, before.text)
        place.restart()
        if covered:
            place.skip(until.time)


def _said(place: Place, waiting: Iterable[Line | Mark], *, behind: bool) -> list[Line | Mark]:
    """What is told of what history has between two lines. Who has perhaps seen a part of what was left out is not told
    how much that was, nor shown the rest of a line of it."""
    if behind:
        return [each for each in waiting if not (place.marked and isinstance(each, Mark))]
    marks = [each for each in waiting if isinstance(each, Mark) and not place.marked]
    return [
        _LONGER if mark.kind == "cut" else mark
        for mark in marks
        if mark.ends_at is None or mark.ends_at != place.ends_at
    ]


def _telling(place: Place, found: Iterable[Line | Mark]) -> Iterator[Line | Mark]:
    for each in found:
        place.marked = place.marked or isinstance(each, Mark)
        yield each
