"""History in memory: the fake of `ports.HistoryPort`, held to the real writer's suite (contracts/test_history.py).

`available = False` makes every call raise; `flushes` counts those that were written; `close_the_gate()` makes
flushes wait; `fail_over(replica)` goes on from a copy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from taskjob.core.model import AttemptId, Job, Pod, Transition, Uid
from taskjob.core.phases import Phase
from taskjob.ports import (
    Batch,
    DeposedError,
    FlushOutcome,
    HistoryUnavailableError,
    Keep,
    KeptLog,
    Log,
    OpenJob,
    Pruned,
)

TransitionKey = tuple[AttemptId, Phase | None, Phase, int]


@dataclass
class KnownJob:
    """A row of `jobs`."""

    job: Job
    transition: int
    gone_at: datetime | None = None


@dataclass
class FakeHistory:
    """Keeps what it is told as PostgreSQL would: once, in order, forward only, for one epoch."""

    available: bool = True
    epoch: int = 0
    jobs: dict[Uid, KnownJob] = field(default_factory=dict)
    attempts: dict[AttemptId, Pod] = field(default_factory=dict)
    logs: dict[tuple[AttemptId, str], Log] = field(default_factory=dict)
    log_times: dict[tuple[AttemptId, str], datetime] = field(default_factory=dict)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    flushes: int = 0
    _told: dict[TransitionKey, Transition] = field(default_factory=dict)
    broken: bool = False  # failed over, and not opened since
    _gate: asyncio.Event | None = None

    @property
    def transitions(self) -> list[Transition]:
        """Everything that was told, in the order of its sequence numbers."""
        return list(self._told.values())

    def of(self, uid: Uid) -> list[tuple[Phase | None, Phase]]:
        """What was told of one job, as pairs of phases."""
        return [(t.from_phase, t.to_phase) for t in self._told.values() if t.attempt.uid == uid]

    def close_the_gate(self) -> asyncio.Event:
        """From now on a flush waits until the event that is returned is set."""
        self._gate = asyncio.Event()
        return self._gate

    async def open(self, epoch: int) -> Sequence[OpenJob]:
        self._check_available()
        self.broken = False
        if epoch < self.epoch:
            raise DeposedError(f"epoch {epoch} is over: history belongs to epoch {self.epoch}", self.epoch)
        self.epoch = epoch
        return [
            OpenJob(
                replace(known.job, status=replace(known.job.status, transition=known.transition)),
                known.transition,
                known.job.status.phase.terminal,
            )
            for _, known in sorted(self.jobs.items())
            if known.gone_at is None
        ]

    async def flush(self, epoch: int, batch: Batch) -> FlushOutcome:
        if self._gate is not None:
            await self._gate.wait()
        self._check_available()
        if self.broken:
            raise HistoryUnavailableError("the fake was failed over: open it anew")
        if epoch < self.epoch:
            return FlushOutcome.DEPOSED
        self.epoch = epoch
        for entry in batch.entries:
            for transition in entry.transitions:
                key = (transition.attempt, transition.from_phase, transition.to_phase, transition.n)
                self._told.setdefault(key, transition)
                pod = transition.pod
                if pod is not None and (pod.uid or pod.attempt not in self.attempts):
                    self.attempts[pod.attempt] = pod
            n = max(entry.job.status.transition, *(t.n for t in entry.transitions[-1:]), 0)
            known = self.jobs.setdefault(entry.job.uid, KnownJob(entry.job, n))
            if n >= known.transition:
                known.job, known.transition = entry.job, n
            known.gone_at = known.gone_at or entry.gone_at
        for log in batch.logs:
            self._keep(log)
        self.flushes += 1
        return FlushOutcome.WRITTEN

    async def kept_logs(self, attempt: AttemptId) -> Sequence[KeptLog]:
        self._check_available()
        return [
            KeptLog(replace(log, chunks=()), tuple((chunk.n, len(chunk.body)) for chunk in log.chunks))
            for (of, _), log in sorted(self.logs.items())
            if of == attempt
        ]

    async def prune(self, epoch: int, keep: Keep, limit: int) -> Pruned:
        self._check_available()
        if epoch != self.epoch:
            return Pruned()
        now, jobs, logs = self.now(), [], []
        if keep.jobs is not None:
            gone = [
                (job.gone_at, uid) for uid, job in self.jobs.items() if job.gone_at and job.gone_at < now - keep.jobs
            ]
            jobs = [uid for _, uid in sorted(gone)[:limit]]
            self._told = {key: row for key, row in self._told.items() if row.attempt.uid not in jobs}
            self.attempts = {attempt: pod for attempt, pod in self.attempts.items() if attempt.uid not in jobs}
            self.logs = {key: log for key, log in self.logs.items() if key[0].uid not in jobs}
            for uid in jobs:
                del self.jobs[uid]
        if keep.logs is not None:
            live = {uid for uid, job in self.jobs.items() if job.gone_at is None}
            written = [(at, key) for key, at in self.log_times.items() if at < now - keep.logs and key in self.logs]
            logs = [key for _, key in sorted(written) if key[0].uid not in live][:limit]
            for key in logs:
                del self.logs[key]
        return Pruned(len(jobs), len(logs))

    def _keep(self, log: Log) -> None:
        """Chunks add up; those that were left out go."""
        kept = self.logs.get((log.attempt, log.container))
        if kept is not None and kept.complete and (kept.size > 0 or log.size == 0):
            return
        chunks = {chunk.n: chunk for of in (kept, log) if of is not None for chunk in of.chunks}
        counting = [chunks[n] for n in sorted(chunks) if n < log.head or log.tail <= n < log.number]
        self.logs[log.attempt, log.container] = replace(log, chunks=tuple(counting))
        self.log_times[log.attempt, log.container] = self.now()

    def fail_over(self, replica: FakeHistory) -> None:
        """Go on with what that copy holds. The next flush finds its connection broken; opened anew, all is well."""
        self.epoch, self.jobs, self.attempts = replica.epoch, replica.jobs, replica.attempts
        self.logs, self.log_times, self._told = replica.logs, replica.log_times, replica._told
        self.broken = True

    def _check_available(self) -> None:
        if not self.available:
            raise HistoryUnavailableError("the fake is switched off")
