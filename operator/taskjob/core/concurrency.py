"""Concurrency keys: at most so many attempts under one key at a time, and who of those that wait may try.

Who holds a key is derived from the attempts that live, or are being created; nothing of it is stored, so nothing can
leak. A job whose key has no room is parked: it does not stand in the line of its queue, so that it keeps nobody behind
it. As many as there is room for stand in line, of each group that waits alike (the same queue, namespace, request and
limit): which of them gets the key is decided where the quota is.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import Final

from taskjob.core.model import (
    AttemptId,
    Concurrency,
    Hold,
    Job,
    JobName,
    KeyId,
    Namespace,
    Pod,
    QueueName,
    Uid,
)
from taskjob.core.ordering import AdmissionKey
from taskjob.core.phases import ConcurrencyScope, OnConflict
from taskjob.core.queues import Queues
from taskjob.core.tracked import Group, Place, TrackedJob, TrackedPod


@dataclass(slots=True, eq=False)
class Row:
    """One group in the order of admission; the first `lined` stand in the line of their queue."""

    waiters: list[AdmissionKey] = field(default_factory=list)
    lined: int = 0


@dataclass(slots=True, eq=False)
class TrackedKey:
    """A key: the attempts that hold it, and who waits for it."""

    holders: dict[AttemptId, Hold] = field(default_factory=dict)
    limits: dict[int, int] = field(default_factory=dict)  # the holders' limits, how many hold with each
    rows: dict[Group, Row] = field(default_factory=dict)

    def room(self, limit: int) -> int:
        """How many more may hold it with that limit: the least limit of the holders and theirs counts."""
        return max(0, min(limit, *self.limits) - len(self.holders)) if self.limits else limit


_NOBODY: Final = TrackedKey()


def key_of(concurrency: Concurrency, namespace: Namespace, queue: QueueName) -> KeyId:
    """Which key that is: keys of one name in another namespace, or queue, have nothing to do with it."""
    of = namespace if concurrency.scope is ConcurrencyScope.NAMESPACE else queue
    return KeyId(concurrency.scope, of, concurrency.key)


class Keys:
    """All keys. Moves jobs in and out of the lines of `queues`; `unexplained` are those that wait and were not told."""

    __slots__ = ("_dirty", "_held", "_jobs", "_queues", "_settled", "by_id", "unexplained")

    def __init__(self, jobs: dict[Uid, TrackedJob], queues: Queues) -> None:
        self._jobs = jobs
        self._queues = queues
        self._held: dict[AttemptId, Hold] = {}
        self._dirty: dict[KeyId, None] = {}
        self._settled: dict[KeyId, None] = {}  # since those that wait were last told
        self.by_id: dict[KeyId, TrackedKey] = {}
        self.unexplained: dict[Uid, None] = {}

    # ------------------------------------------------------------------ holders
    def settle_pod(self, tracked: TrackedPod) -> None:
        """A live pod holds the key that it was created with; one that is ended or gone holds none."""
        pod: Pod = tracked.pod
        if not tracked.live or pod.concurrency is None:
            self.release(pod.attempt)
        else:
            key = key_of(pod.concurrency, pod.namespace, pod.queue)
            self._hold(pod.attempt, Hold(key, pod.concurrency.limit, pod.job_name))

    def reserve(self, job: Job, attempt: AttemptId) -> None:
        """An attempt is about to be created: it holds its key from now on."""
        if job.concurrency is not None:
            key = key_of(job.concurrency, job.namespace, job.queue)
            self._hold(attempt, Hold(key, job.concurrency.limit, job.name))

    def _hold(self, attempt: AttemptId, hold: Hold) -> None:
        if self._held.get(attempt) == hold:
            return
        self.release(attempt)
        tracked = self._at(hold.key)
        tracked.holders[attempt] = hold
        tracked.limits[hold.limit] = tracked.limits.get(hold.limit, 0) + 1
        self._held[attempt] = hold
        self._dirty[hold.key] = None

    def release(self, attempt: AttemptId) -> None:
        """The attempt holds nothing any more."""
        hold = self._held.pop(attempt, None)
        if hold is None:
            return
        tracked = self.by_id[hold.key]
        del tracked.holders[attempt]
        tracked.limits[hold.limit] -= 1
        if not tracked.limits[hold.limit]:
            del tracked.limits[hold.limit]
        self._dirty[hold.key] = None
        self._forget_if_empty(hold.key)

    def has_room(self, job: Job) -> bool:
        """Whether the job may start as far as its key is concerned."""
        if job.concurrency is None:
            return True
        tracked = self.by_id.get(key_of(job.concurrency, job.namespace, job.queue))
        return tracked is None or tracked.room(job.concurrency.limit) > 0

    def attempts_with_key_of(self, job: Job) -> list[AttemptId]:
        """The attempts that hold its key, the first first."""
        if job.concurrency is None:
            return []
        tracked = self.by_id.get(key_of(job.concurrency, job.namespace, job.queue))
        return list(tracked.holders) if tracked is not None else []

    def holders_of(self, job: Job) -> list[JobName]:
        """The names of the jobs that hold its key, the first attempts first."""
        if job.concurrency is None:
            return []
        tracked = self.by_id.get(key_of(job.concurrency, job.namespace, job.queue))
        return [hold.job for hold in tracked.holders.values()] if tracked is not None else []

    def _at(self, key: KeyId) -> TrackedKey:
        tracked = self.by_id.get(key)
        if tracked is None:
            tracked = self.by_id[key] = TrackedKey()
        return tracked

    def _forget_if_empty(self, key: KeyId) -> None:
        tracked = self.by_id[key]
        if not tracked.holders and not tracked.rows:
            del self.by_id[key]
            self._dirty.pop(key, None)

    # ------------------------------------------------------------------ waiting
    def park(self, tracked: TrackedJob, concurrency: Concurrency) -> None:
        """The job may start as soon as its key and its queue let it."""
        job = tracked.job
        key = key_of(concurrency, job.namespace, job.queue)
        rejects = concurrency.on_conflict is OnConflict.REJECT and job.status.attempt == 0  # once begun, it waits
        group = Group(job.queue, job.namespace, job.request, concurrency.limit, rejects)
        place = Place(key, group, self._queues.order_of(job))
        if tracked.parked != place:
            self.leave(tracked)
            row = self._at(key).rows.setdefault(group, Row())
            if row.lined and place.order < row.waiters[row.lined - 1]:
                row.lined += 1  # among those that stand in line: `settle` takes the last out, if they are too many
            insort(row.waiters, place.order)
            tracked.parked = place
            self._dirty[key] = None
        row = self.by_id[key].rows[group]
        if row.lined and place.order <= row.waiters[row.lined - 1]:
            self._queues.enqueue(tracked)
        else:
            self._queues.unqueue(tracked)
            self.unexplained[job.uid] = None

    def leave(self, tracked: TrackedJob) -> None:
        """The job may not start (any more), or has."""
        place = tracked.parked
        if place is None:
            return
        tracked.parked = None
        self.unexplained.pop(tracked.job.uid, None)
        waiting = self.by_id[place.key]
        row = waiting.rows[place.group]
        at = bisect_left(row.waiters, place.order)
        del row.waiters[at]
        if at < row.lined:
            row.lined -= 1
            self._dirty[place.key] = None
        if not row.waiters:
            del waiting.rows[place.group]
            self._forget_if_empty(place.key)

    def settle(self) -> None:
        """As many stand in line as there is room for."""
        dirty, self._dirty = self._dirty, {}
        self._settled.update(dirty)
        for key in dirty:
            tracked = self.by_id.get(key, _NOBODY)
            for group, row in tracked.rows.items():
                self._line_up(row, min(tracked.room(group.limit), len(row.waiters)))

    def _line_up(self, row: Row, wanted: int) -> None:
        while row.lined > wanted:
            row.lined -= 1
            uid = row.waiters[row.lined][-1]
            self._queues.unqueue(self._jobs[uid])
            self.unexplained[uid] = None
        while row.lined < wanted:
            uid = row.waiters[row.lined][-1]
            row.lined += 1
            self.unexplained.pop(uid, None)
            self._queues.enqueue(self._jobs[uid])

    def take_unexplained(self) -> list[TrackedJob]:
        """Who waits for a key and was not told so; and those that do not want to, when their key has become full."""
        settled, self._settled = self._settled, {}
        for key in settled:
            tracked = self.by_id.get(key, _NOBODY)
            for group, row in tracked.rows.items():
                if group.rejects and not tracked.room(group.limit):
                    self.unexplained.update((order[-1], None) for order in row.waiters)
        taken, self.unexplained = self.unexplained, {}
        return [self._jobs[uid] for uid in taken]
