"""Where two parts of a log meet, two files of the kubelet's or a file and history: is anything missing between? Pure.

The kubelet says nothing of its files (see `taskjob.rotation`). Three things tell:

1. A part that is read anew does not show the line that was sent last: `Place.lacks`.
2. Within a stream the times of the lines leap: `Flow`. It is left, and 1 decides.
3. A stream that has not kept up pauses: the follower looks whether its last line stands in the newest file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

from taskjob.rotation import STAMP_BYTES, Sequence, instant, leaps
from taskjob_api.kept import Line, Mark
from taskjob_api.place import Place

PASSED_OVER: Final = Mark(
    "gap",
    None,
    "the kubelet began a new file before the one before it was read to its end, and history has no more of it (yet)",
)
LEFT_UNREAD: Final = Mark("gap", None, "the pod is gone, its log was not read to its end, and history has none of it")
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


def unsent(place: Place, found: Iterable[Line | Mark], *, until: bytes = b"", ends: bool) -> Iterator[Line | Mark]:
    """What of a kept log, or of its part before the time `until`, lies behind `place`, which moves on with it.

    Marks stand where they stood; where the line that was sent last is not in it, there is one before all that follows.
    With `until`: the line of that time follows without another mark unless `place` is still seeking afterwards. `ends`:
    the log is complete, so that marks at its end count, however far it comes.
    """
    place.restart()
    marks: list[Mark] = []
    told = False
    for each in found:
        if isinstance(each, Mark):
            marks.append(each)
            continue
        astray = place.seeking
        if until and each.time >= until:
            joined = each.time == until and not astray
            yield from marks if joined else _without_size(marks)
            told = joined or bool(marks)
            break
        rest = place.rest(each) if each.time else each
        if rest is not None:
            place.lines += each.whole and not each.time
            yield from (_without_size(marks) or [PASSED_OVER]) if astray and each.time else marks
            yield rest
        marks = []
    else:
        if ends or not place.seeking:
            yield from marks
            told = bool(marks)
    place.restart(met=told)


def _without_size(marks: Iterable[Mark]) -> list[Mark]:
    """Who has seen a part of what was left out is not told how much that was."""
    return [_LONGER if mark.kind == "cut" else mark for mark in marks]
