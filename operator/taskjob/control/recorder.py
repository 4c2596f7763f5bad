"""Tells history: entries and logs in, batches out, confirmations back into the state.

Nothing waits for PostgreSQL: entries are buffered up to a bound while it is away, and every batch may be told
twice. What the buffer had to drop is told anew from the live objects once PostgreSQL is back.

The PostgreSQL that comes back may be a replica that lacks the last seconds. So what it confirmed lately is remembered
and told again then; what it lost besides is told anew from the live objects as well.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from taskjob import metrics
from taskjob.control.mirror import Mirror
from taskjob.core.model import AttemptId, Entry, Job, Transition, Uid
from taskjob.core.phases import Phase, Reason
from taskjob.ports import (
    Batch,
    Clock,
    DeposedError,
    FlushOutcome,
    HistoryPort,
    HistoryUnavailableError,
    Log,
    OpenJob,
)

logger = logging.getLogger(__name__)

BATCH_ENTRIES = 1000
BATCH_LOG_BYTES = 16 * 2**20
BUFFERED_LOG_BYTES = 64 * 2**20
LOOK_SECONDS = 5.0
REMEMBERED_SECONDS = 10.0
REMEMBERED_ENTRIES = 10_000
REMEMBERED_LOG_BYTES = 8 * 2**20
RECONNECT_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True, slots=True)
class Written:
    """A batch that history confirmed."""

    at: float
    entries: tuple[Entry, ...]
    logs: tuple[tuple[AttemptId | None, tuple[Log, ...]], ...]

    @property
    def log_bytes(self) -> int:
        """How much memory its logs take, about."""
        return sum(log.held_bytes for _, logs in self.logs for log in logs)


class Lately:
    """The batches of the last seconds, the oldest first, within bounds."""

    def __init__(self) -> None:
        self._batches: deque[Written] = deque()
        self._entries = 0
        self._log_bytes = 0

    def add(self, batch: Written) -> None:
        """Remember it, and forget what is too old or too much."""
        self._batches.append(batch)
        self._entries += len(batch.entries)
        self._log_bytes += batch.log_bytes
        while self._batches and (
            self._batches[0].at < batch.at - REMEMBERED_SECONDS
            or self._entries > REMEMBERED_ENTRIES
            or self._log_bytes > REMEMBERED_LOG_BYTES
        ):
            oldest = self._batches.popleft()
            self._entries -= len(oldest.entries)
            self._log_bytes -= oldest.log_bytes

    def take(self) -> list[Written]:
        """All of it; nothing is remembered any more."""
        taken = list(self._batches)
        self._batches.clear()
        self._entries = self._log_bytes = 0
        return taken


class Recorder:
    """The one writer of history. `run` is its task; `tell` and `keep` never block on PostgreSQL."""

    def __init__(
        self,
        history: HistoryPort,
        mirror: Mirror,
        clock: Clock,
        wake: Callable[[], None],
        *,
        epoch: int,
        flush_seconds: float = 0.1,
        buffer: int = 200_000,
        namespaces: Collection[str] = (),
    ) -> None:
        """`namespaces`: those that are followed, none named: all. Nobody knows whether jobs elsewhere are there."""
        self._history = history
        self._mirror = mirror
        self._clock = clock
        self._wake = wake
        self._epoch = epoch
        self._flush_seconds = flush_seconds
        self._buffer = buffer
        self._namespaces = frozenset(namespaces)
        self._entries: deque[Entry] = deque()
        self._logs: deque[tuple[AttemptId | None, tuple[Log, ...]]] = deque()  # with the attempt that is kept by it
        self._log_bytes = 0
        self._log_room = asyncio.Event()
        self._log_room.set()
        self._news = asyncio.Event()
        self._dropped = 0
        self._lately = Lately()
        self._known: dict[Uid, int] = {}  # what history held when it was opened; used once per job
        self._begun: float | None = None  # when the oldest unwritten entry was told
        self.open = False

    # ------------------------------------------------------------------ in
    def tell(self, entries: Iterable[Entry]) -> None:
        """Take entries. Beyond the buffer's bound the oldest are dropped, and told anew later."""
        before = len(self._entries)
        self._entries.extend(entries)
        while len(self._entries) > self._buffer:
            self._entries.popleft()
            self._dropped += 1
            metrics.history_dropped.inc()
        if self._entries and not before:
            self._begun = self._clock.elapsed()
        if self._entries:
            self._news.set()

    async def keep(self, attempt: AttemptId, logs: tuple[Log, ...]) -> None:
        """Take an attempt's logs, now whole; waits while too many bytes are buffered (the pod keeps them meanwhile)."""
        await self._log_room.wait()
        self._put(attempt, logs)

    async def keep_part(self, take: Callable[[], Log]) -> None:
        """Take what there is so far of a log: `take` is called once there is room."""
        await self._log_room.wait()
        self._put(None, (take(),))

    def _put(self, attempt: AttemptId | None, logs: tuple[Log, ...]) -> None:
        self._logs.append((attempt, logs))
        self._log_bytes += sum(log.held_bytes for log in logs)
        if self._log_bytes >= BUFFERED_LOG_BYTES:
            self._log_room.clear()
        self._news.set()

    @property
    def lag_seconds(self) -> float:
        """How old the oldest entry is that history does not hold yet."""
        return self._clock.elapsed() - self._begun if self._begun is not None and self._entries else 0.0

    @property
    def buffered(self) -> int:
        """How many entries wait to be written."""
        return len(self._entries)

    @property
    def idle(self) -> bool:
        """Whether all that was told is written."""
        return not self._entries and not self._logs

    # ------------------------------------------------------------------ out
    async def run(self) -> None:
        """Write until cancelled. Raises `DeposedError` when a newer epoch owns history."""
        failures = 0
        while True:
            try:
                if not self.open:
                    self._opened(await self._history.open(self._epoch))
                failures = 0
                await self._wait_for_news()
                await self._drain()
                if self._dropped and 2 * len(self._mirror.state.jobs) < self._buffer:
                    # It was slow, and has caught up: there is room to tell it all anew, of lately too.
                    self._lately.take()
                    self.open = False
            except HistoryUnavailableError as error:
                self.open = False
                metrics.history_failures.inc()
                if failures == 0:
                    logger.warning("history is away, scheduling goes on without it: %s", error)
                await asyncio.sleep(RECONNECT_SECONDS[min(failures, len(RECONNECT_SECONDS) - 1)])
                failures += 1

    async def finish(self, seconds: float) -> None:
        """Write what is left, for so many seconds at most; for a process that is about to end."""
        try:
            async with asyncio.timeout(seconds):
                if self.open and not self.idle:
                    await self._drain()
        except (TimeoutError, HistoryUnavailableError):
            logger.warning(
                "%d entries of history were left unwritten; the next start tells them again", len(self._entries)
            )
        except DeposedError:
            logger.warning("%d entries of history are left to the newer epoch", len(self._entries))

    async def _wait_for_news(self) -> None:
        """Until there is something to write, and a moment longer. While there is not, look whether history is the same:
        what a failover lost is told again by whoever told it, while it lives."""
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._news.wait()
                break
            except TimeoutError:
                await self._flush(Batch())
        await asyncio.sleep(self._flush_seconds)

    async def _flush(self, batch: Batch) -> None:
        if await self._history.flush(self._epoch, batch) is FlushOutcome.DEPOSED:
            raise DeposedError("a newer epoch writes history")

    async def _drain(self) -> None:
        self._news.clear()
        while not self.idle:
            entries = tuple(islice(self._entries, BATCH_ENTRIES))
            logs = self._next_logs()
            batch = Batch(
                entries=tuple(kept for entry in entries if (kept := self._without_known(entry)) is not None),
                logs=tuple(log for _, of_attempt in logs for log in of_attempt),
            )
            begun = self._clock.elapsed()
            await self._flush(batch)
            metrics.history_flush_seconds.observe(self._clock.elapsed() - begun)
            metrics.history_entries.inc(len(batch.entries))
            self._confirm(entries, logs)

    def _next_logs(self) -> list[tuple[AttemptId | None, tuple[Log, ...]]]:
        taken: list[tuple[AttemptId | None, tuple[Log, ...]]] = []
        size = 0
        for attempt, logs in self._logs:
            size += sum(log.held_bytes for log in logs)
            if taken and size > BATCH_LOG_BYTES:
                break
            taken.append((attempt, logs))
        return taken

    def _confirm(self, entries: tuple[Entry, ...], logs: list[tuple[AttemptId | None, tuple[Log, ...]]]) -> None:
        # Meanwhile `tell` may have dropped from the left: only what was written leaves, by identity.
        for entry in entries:
            if self._entries and self._entries[0] is entry:
                self._entries.popleft()
            if entry.transitions:
                self._mirror.state.recorded(entry.job.uid, entry.transitions[-1].n)
            self._known.pop(entry.job.uid, None)
        for attempt, of_attempt in logs:
            self._logs.popleft()
            self._log_bytes -= sum(log.held_bytes for log in of_attempt)
            if attempt is not None:
                self._mirror.state.log_kept(attempt)
        if self._log_bytes < BUFFERED_LOG_BYTES:
            self._log_room.set()
        self._lately.add(Written(self._clock.elapsed(), entries, tuple(logs)))
        self._begun = self._clock.elapsed() if self._entries else None
        if entries or logs:
            self._wake()

    def _without_known(self, entry: Entry) -> Entry | None:
        """The entry less what history held before this process; None if that is all of it."""
        known = self._known.get(entry.job.uid)
        if known is None or not entry.transitions:
            return entry
        # The last known one is told again: what is recorded under its number may be another transition.
        rows = tuple(row for row in entry.transitions if row.n >= known)
        if not rows and entry.gone_at is None:
            return None
        return replace(entry, transitions=rows)

    # ------------------------------------------------------------------ opening
    def _opened(self, told: Iterable[OpenJob]) -> None:
        """History is there (again): see what it knows, tell again what it lost, close what left unseen."""
        self.open = True
        state = self._mirror.state
        held = {known.job.uid: known for known in told}
        self._remind()
        self._look_for_lost({uid: known.recorded for uid, known in held.items()})
        # Of those that left since the last cycle the next one tells.
        leaving = {entry.job.uid for entry in (*self._entries, *state.entries) if entry.gone_at is not None}
        closed: list[Entry] = []
        for uid, known in held.items():
            if not self._dropped:  # what it holds may have holes below
                self._known[uid] = known.recorded
            if uid in state.jobs:
                state.recorded(uid, known.recorded)
            elif self._mirror.synced and uid not in leaving and self._is_followed(known.job.namespace):
                closed.append(_closing(known, self._clock))
        if closed:
            logger.info("%d TaskJobs left while no operator looked: closed in history", len(closed))
        self.tell(closed)
        if self._dropped:
            logger.warning("%d entries were dropped while history was away or slow: telling it anew", self._dropped)
            self._dropped = 0
            state.tell_again()
        self._wake()

    def _is_followed(self, namespace: str) -> bool:
        return not self._namespaces or namespace in self._namespaces

    def _remind(self) -> None:
        """Tell again what was confirmed lately, before what was not."""
        batches = self._lately.take()
        self._entries.extendleft(reversed([entry for batch in batches for entry in batch.entries]))
        self._logs.extendleft(reversed([logs for batch in batches for logs in batch.logs]))
        self._log_bytes += sum(batch.log_bytes for batch in batches)
        if not self.idle:
            self._begun = self._clock.elapsed() if self._begun is None else self._begun
            self._news.set()

    def _look_for_lost(self, held: Mapping[Uid, int]) -> None:
        """Find the jobs of which it had confirmed more than it holds; `held`: up to which number it does."""
        first: dict[Uid, int] = {}  # number that is about to be told
        for entry in self._entries:
            for row in entry.transitions[:1]:
                first.setdefault(entry.job.uid, row.n)
        lost = [uid for uid, tracked in self._mirror.state.jobs.items() if tracked.recorded > held.get(uid, -1)]
        for uid in lost:
            n = held.get(uid, -1)
            self._mirror.state.unrecorded(uid, n, tell=first.get(uid, n + 2) > n + 1)
        if lost:
            logger.warning("history lost rows of %d TaskJobs that it had confirmed: telling anew", len(lost))


def _closing(known: OpenJob, clock: Clock) -> Entry:
    """The last entry of a job that left the cluster while nobody looked."""
    now = clock.now()
    if known.terminal:
        return Entry(known.job, (), gone_at=now)
    job: Job = known.job
    status = replace(
        job.status,
        phase=Phase.CANCELLED,
        reason=Reason.OUTCOME_UNKNOWN,
        message="the TaskJob was deleted while no operator looked",
        transition=known.recorded + 1,
        finished_at=now,
    )
    row = Transition(
        attempt=AttemptId(job.uid, status.run, 0, status.attempt),
        from_phase=job.status.phase,
        to_phase=Phase.CANCELLED,
        n=known.recorded + 1,
        at=now,
        reason=status.reason,
        message=status.message,
    )
    return Entry(replace(job, status=status), (row,), gone_at=now)
