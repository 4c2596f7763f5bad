"""The time of the cluster: this machine's uninterrupted clock plus the offset to the API server's `Date`.

The machine's wall clock is not trusted: it may be wrong, and it may be set. `Date` has whole seconds, so that one
reply tells the offset only to about a second; but every reply narrows it, and a reply on each side of a tick of
the server's clock tells it to some milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

DRIFT: Final = 2e-4
"""How much two clocks may run apart, in seconds per second; far more than quartz does."""


def boottime() -> float:
    """Seconds since the machine started; goes on while it sleeps, never set, never backwards."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ClusterClock:
    """`ports.Clock`: `now` never runs backwards.

    When it turns out to be ahead, it goes on at half speed until the cluster has caught up.
    `elapsed` and `wall` are this machine's clocks, given so that tests can turn them.
    """

    def __init__(self, elapsed: Callable[[], float] = boottime, wall: Callable[[], float] = time.time) -> None:
        self._elapsed = elapsed
        # Until the first answer of the server this machine's wall clock has to do.
        self._low = self._high = wall() - elapsed()
        self._observed_at: float | None = None
        self._last_date, self._last_second = "", 0.0  # parsed once, though it comes many times a second
        self._last_now = 0.0
        self._last_elapsed = elapsed()

    def elapsed(self) -> float:
        """Seconds since an arbitrary start."""
        return self._elapsed()

    def now(self) -> datetime:
        """The current instant in the cluster, aware, in UTC."""
        elapsed = self._elapsed()
        truth = elapsed + (self._low + self._high) / 2
        if truth < self._last_now:
            truth = self._last_now + (elapsed - self._last_elapsed) / 2
        self._last_now, self._last_elapsed = truth, elapsed
        return datetime.fromtimestamp(truth, UTC)

    @property
    def uncertainty_seconds(self) -> float | None:
        """How far the offset may be off; None until the server has answered once."""
        return None if self._observed_at is None else (self._high - self._low) / 2

    def observe(self, date: str | None, sent_at: float) -> None:
        """Take in the `Date` header of a reply; `sent_at` is `elapsed()` just before its request was sent."""
        if not date:
            return
        if date != self._last_date:
            try:
                self._last_second = parsedate_to_datetime(date).timestamp()
            except ValueError:
                return
            self._last_date = date
        second = self._last_second
        received_at = self._elapsed()
        # The server's clock stood in [second, second + 1) at some time between sending and receiving.
        low, high = second - received_at, second + 1 - sent_at
        if self._observed_at is not None:
            slack = DRIFT * (received_at - self._observed_at)
            narrowed_low, narrowed_high = max(low, self._low - slack), min(high, self._high + slack)
            if narrowed_low <= narrowed_high:
                low, high = narrowed_low, narrowed_high
            # Otherwise the server's clock was set, or another server with another clock answers: begin anew.
        self._low, self._high, self._observed_at = low, high, received_at
