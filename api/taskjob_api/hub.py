"""The one place of this process where transitions arrive: one LISTEN, one read a flush, and the recent ones kept.

Clients do not own queues: each has a position, and reads on from the shared, bounded row of recent transitions. Who
falls behind its beginning has lagged. So memory does not grow with clients, and a frame is encoded once for all.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from bisect import bisect_right
from collections.abc import AsyncIterator
from operator import attrgetter
from typing import Final, Protocol
from uuid import UUID

from taskjob.history.cursors import read_position
from taskjob.history.reader import Changes, CursorUnknownError, HistoryReader, JobFilter, TransitionView
from taskjob.ports import HistoryUnavailableError
from taskjob_api import metrics
from taskjob_api.views import transition_frame

log = logging.getLogger(__name__)

_READ: Final = 1000  # transitions by one read
_ALL: Final = JobFilter()
_POLL_SECONDS: Final = 5.0  # should a notification be lost
_RETRY_SECONDS: Final = 1.0


class LaggedError(Exception):
    """The client is further behind than transitions are kept here."""


class Told:
    """One transition, ready to be sent to everybody."""

    __slots__ = ("_frame", "seq", "transition")

    def __init__(self, transition: TransitionView) -> None:
        self.transition = transition
        self.seq = read_position(transition.cursor).seq
        self._frame: str | None = None

    @property
    def frame(self) -> str:
        """The frame as JSON; made when it is first wanted."""
        if self._frame is None:
            self._frame = transition_frame(self.transition)
        return self._frame


_seq = attrgetter("seq")


class Follower(Protocol):
    """Somebody who reads along; for the figure of the slowest."""

    @property
    def seq(self) -> int:
        """How far it has come."""


class Hub:
    """Recent transitions and the news that there are more. `async with hub.running()`."""

    def __init__(self, reader: HistoryReader, *, kept: int = 8192) -> None:
        self._reader = reader
        self._kept = kept
        self._recent: list[Told] = []
        self._floor = 0  # everything after this number is in `_recent`
        self._grown = asyncio.Event()
        self._wanted = asyncio.Event()
        self._noticed_at: float | None = None
        self.incarnation: UUID | None = None
        self.cursor: str | None = None  # of the last transition read; None: history was never reached
        self.seq = 0
        self.followers: set[Follower] = set()
        self.unavailable: str | None = "history has not been reached yet"

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keeps itself up to date meanwhile, whatever becomes of PostgreSQL."""
        tasks = [
            asyncio.create_task(self._reader.listen(self._notice), name="history listener"),
            asyncio.create_task(self._follow(), name="history follower"),
        ]
        metrics.stream_lag.set_function(self.lag)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def ping(self) -> None:
        """Whether history can be read now. Raises `HistoryUnavailableError`."""
        await self._reader.ping()

    def lag(self) -> int:
        """How many transitions the slowest follower is behind, by their numbers."""
        return max((self.seq - follower.seq for follower in self.followers), default=0)

    def keeps(self, incarnation: UUID | None, seq: int) -> bool:
        """Whether everything after this number of that incarnation is here, or will be."""
        return self.cursor is not None and incarnation == self.incarnation and self._floor <= seq <= self.seq

    def look(self) -> None:
        """Somebody has reason to believe that there is news."""
        self._wanted.set()

    def after(self, seq: int, limit: int) -> list[Told]:
        """The next transitions after a number, oldest first. Raises `LaggedError`."""
        if seq < self._floor:
            raise LaggedError
        if seq >= self.seq:
            return []
        start = bisect_right(self._recent, seq, key=_seq)
        return self._recent[start : start + limit]

    @property
    def grown(self) -> asyncio.Event:
        """Set once when something has changed; take a new one after that."""
        return self._grown

    # ------------------------------------------------------------ reading
    def _notice(self) -> None:
        if self._noticed_at is None:
            self._noticed_at = time.monotonic()
        self._wanted.set()

    async def _follow(self) -> None:
        while True:
            try:
                await self._read()
            except HistoryUnavailableError as error:
                self._lost(str(error))
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            except CursorUnknownError:
                log.warning("history is another one than before (set up or restored anew): clients start anew")
                self.cursor = None
                await asyncio.sleep(0.1)
                continue
            except Exception:
                log.exception("reading history for the stream failed; trying again")
                self._lost("an error of the API itself, see its log")
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if self.unavailable is not None:
                self.unavailable = None
                metrics.history_connected.set(1)
                log.info("history can be read")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._wanted.wait()

    def _lost(self, why: str) -> None:
        metrics.history_connected.set(0)
        if self.unavailable != why:
            self.unavailable = why
            log.warning("history cannot be read: %s", why)

    async def _read(self) -> None:
        """Read what is new, to the end."""
        self._wanted.clear()
        noticed_at, self._noticed_at = self._noticed_at, None
        if self.cursor is None:
            self._begin(await self._reader.head())
        more = True
        while more:
            assert self.cursor is not None  # noqa: S101 - set just above
            changes = await self._reader.transitions_after(self.cursor, _ALL, _READ)
            self._take(changes)
            more = changes.more
            if changes.rows and noticed_at is not None:
                metrics.stream_read_seconds.observe(time.monotonic() - noticed_at)

    def _begin(self, head: str) -> None:
        position = read_position(head)
        self._recent.clear()
        self._floor = self.seq = position.seq
        self.incarnation, self.cursor = position.incarnation, head
        self._tell()

    def _take(self, changes: Changes) -> None:
        if changes.cursor == self.cursor:
            return
        self.cursor, self.seq = changes.cursor, read_position(changes.cursor).seq
        self._recent += map(Told, changes.rows)
        # Trimmed a quarter at a time: each trim moves the whole list.
        if len(self._recent) > self._kept + self._kept // 4:
            excess = len(self._recent) - self._kept
            self._floor = self._recent[excess - 1].seq
            del self._recent[:excess]
        metrics.stream_transitions.inc(len(changes.rows))
        self._tell()

    def _tell(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()
