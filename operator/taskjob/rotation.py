"""What the kubelet's rotation of a log may take from who reads it, judged by what can be seen. Pure.

When the kubelet looks (every 10 s by default) and a log has reached 10 MiB, it begins a new file, and from then on it
serves only that. Nothing in what it serves says so:

1. What was written before reading began may have stood in a file that is gone: `Beginning`.
2. A stream that is followed reads its file to the end first, and the kubelet looks for new files only from then on:
   one begun before goes unnoticed. The stream stays in the old file until yet another is begun, and goes on with that.
   The same happens if two are begun before it comes to the end of the old one. A whole file is passed over, and all
   that shows of it is that the times of the lines leap: `Sequence` says when that is to be looked into.

The operator reads logs for history, the API for who follows them: both judge by this.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

LEAP: Final = timedelta(seconds=2)
"""The kubelet begins files further apart than that."""

ROTATED_BYTES: Final = 5 * 2**20
"""The kubelet begins a new file after 10 MiB: half of that, written before reading began, may have been lost."""

STAMP_BYTES: Final = 40
"""What stands before a line in the kubelet's file."""

_PACE_BYTES: Final = 2**20
_MOMENT: Final = timedelta(seconds=1)
_LATE: Final = timedelta(seconds=2)


def instant(time: bytes) -> datetime | None:
    """The time of a line; None for what is none."""
    try:
        return datetime.fromisoformat(time.decode())
    except ValueError:
        return None


def leaps(before: datetime | None, time: datetime) -> bool:
    """Whether there may be a file between two lines that follow each other in a stream."""
    return before is not None and time - before >= LEAP


def is_rest(text: bytes, line: bytes) -> bool:
    """Whether the text of a line that begins a file may be the end of that line: the kubelet makes one line of what the
    container began in one file and ended in the next, for who follows it from one to the other."""
    return len(text) < len(line) and line.endswith(text)


class Beginning:
    """Whether a container wrote more before the first line that was read than the kubelet keeps: guessed from its pace.

    A start is known to the second only. Of a log that goes on for long enough at that pace to have filled a file, the
    earliest possible start counts; of a smaller one the latest, and a burst counts as if it had taken a second.
    """

    def __init__(self, started_at: datetime | None) -> None:
        self._started_at = started_at
        self._opened_at: datetime | None = None
        self._first: datetime | None = None
        self._last: datetime | None = None
        self._size = 0
        self._part: tuple[datetime, int] | None = None  # what the pace is measured by: from when, at which size
        self._pace = 0.0  # the highest so far, in bytes of the kubelet's file a second
        self._judged = False

    def opened(self, now: datetime) -> None:
        """Reading begins, or begins again."""
        self._opened_at = self._opened_at or now

    def feed(self, size: int, times: tuple[bytes, ...]) -> str:
        """So many bytes were read, and lines of these times. Returns why something may be missing before them."""
        if self._judged:
            return ""
        self._size += size + STAMP_BYTES * len(times)
        if times and (last := instant(times[-1])) is not None:
            self._first = self._first or instant(times[0])
            self._last = last
            self._part = self._part or (self._first or last, 0)
            since, before = self._part
            if self._size - before >= _PACE_BYTES:
                self._pace = max(self._pace, (self._size - before) / max((last - since).total_seconds(), 0.001))
                self._part = last, self._size
        return self._judge(self._pace, timedelta(0)) if self._size >= ROTATED_BYTES else ""

    def finish(self) -> str:
        """That was all. Returns as `feed` does."""
        if self._judged or self._first is None or self._last is None:
            return ""
        seconds = max((self._last - self._first).total_seconds(), 1.0)
        return self._judge(self._size / seconds, _MOMENT)

    def _judge(self, pace: float, doubtful: timedelta) -> str:
        self._judged = True
        if self._first is None or self._opened_at is None or self._started_at is None:
            return ""
        if self._first >= self._opened_at + _MOMENT:  # it was seen to begin
            return ""
        unseen = (min(self._first, self._opened_at) - self._started_at - doubtful).total_seconds()
        if unseen <= 0 or pace * unseen < ROTATED_BYTES:
            return ""
        return f"reading began {unseen:.1f} s after the container did: at its pace the kubelet had begun a new file"


class Sequence:
    """Whether the kubelet may have passed over a file within a stream that is followed.

    It cannot have in a stream that came to the end of the newest file, and has kept up with the container since: new
    files are a few seconds apart at least. Of any other, a leap of the times is looked into.
    """

    def __init__(self, volume: int) -> None:
        self.volume = volume  # bytes read of this log
        self.silent = True  # nothing has come of this stream
        self._opened_at: datetime | None = None
        self._ahead = timedelta(0)  # the node's clock, of ours
        self._sure = False

    def opened(self, now: datetime) -> None:
        """A stream begins."""
        self._opened_at, self._ahead, self._sure, self.silent = now, timedelta(0), False, True

    def come(self, size: int, time: bytes, now: datetime) -> None:
        """So many bytes have come; `time` is that of the first line in them."""
        self.volume += size
        self.silent = False
        written = instant(time)
        if written is None:
            return
        self._ahead = max(self._ahead, written - now)
        if now + self._ahead - written >= _LATE:
            self._sure = False

    @property
    def sure(self) -> bool:
        """Nothing was passed over, and nothing will be while the stream keeps up."""
        return self._sure

    @property
    def small(self) -> bool:
        """So little was read that the kubelet has not begun a new file yet."""
        return self.volume < ROTATED_BYTES

    def behind(self, last: bytes, now: datetime) -> bool:
        """Whether more may have been written than was read, `last` being the time of the last line of a stream that
        has ended."""
        written = instant(last)
        doubtful = self.doubtful_from is not None
        return doubtful and written is not None and now + self._ahead - written >= _LATE

    def at_end(self) -> None:
        """The stream has come to the end of the newest file."""
        self._sure = True

    @property
    def doubtful_from(self) -> datetime | None:
        """Lines from then on may be of a file that does not follow the one before; None: no line may."""
        if self._sure or self.small or self._opened_at is None:
            return None
        return self._opened_at + _MOMENT
