"""The mutable records of `state`: one for a job, one for a pod, one for a queue."""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from taskjob.core.decisions import SetStatus
from taskjob.core.dependencies import Edge
from taskjob.core.facts import Eviction, Refusal
from taskjob.core.line import Line
from taskjob.core.model import (
    Amounts,
    AttemptId,
    CohortName,
    Job,
    JobKey,
    JobName,
    KeyId,
    Namespace,
    Pod,
    Queue,
    QueueName,
    Uid,
)
from taskjob.core.ordering import AdmissionKey
from taskjob.core.phases import Condition, Phase, Reason
from taskjob.core.quota import Ledger, Pool
from taskjob.core.standing import Standing
from taskjob.core.values import value


class LogCare(Enum):
    """How far the log of an ended attempt has come."""

    NONE = "none"
    ASKED = "asked"
    KEPT = "kept"  # or known to be lost: there is nothing more to wait for


@dataclass(slots=True, eq=False)
class TrackedPod:
    """A pod and what was asked about it. A gone pod stays until the status shows its attempt's end."""

    pod: Pod
    gone: bool = False
    end_asked_at: datetime | None = None
    log: LogCare = LogCare.NONE
    removal_asked: bool = False
    hangs_since: datetime | None = None  # since when, as far as seen, it is kept from starting

    def note_trouble(self, now: datetime) -> None:
        """Remember since when it is kept from starting.

        An image may be pulled for long before that fails, and no status tells since when it does: a restart of the
        operator begins to count anew.
        """
        pod = self.pod
        if pod.started_at is not None:
            self.hangs_since = None
        elif pod.unplaced:  # whether a scheduler says why, or none looks at it
            self.hangs_since = pod.created_at
        elif pod.trouble is None:
            self.hangs_since = None
        elif self.hangs_since is None:
            self.hangs_since = now

    @property
    def live(self) -> bool:
        """It holds, or may hold, what it requested."""
        return not self.gone and not self.pod.phase.ended


@value
@dataclass(frozen=True, slots=True)
class Cycle:
    """A cycle of dependencies: its members, each once, in the order of waiting, and the sentence they are told.

    `knot` are all jobs of the cycles that it shares members with.
    """

    knot: tuple[JobKey, ...]
    path: tuple[JobKey, ...]
    sentence: str


class Group(NamedTuple):
    """What waits alike: if the first of them does not fit, none does."""

    queue: QueueName
    namespace: Namespace
    request: Amounts
    limit: int
    rejects: bool  # ends when its key is full, instead of waiting


class Place(NamedTuple):
    """Where a job waits for its key."""

    key: KeyId
    group: Group
    order: AdmissionKey


@dataclass(slots=True, eq=False)
class TrackedJob:
    """A job and what the state derived, asked and told about it."""

    job: Job
    edges: dict[JobName, tuple[tuple[Condition, ...], Edge]] = field(default_factory=dict)
    waiting: int = 0  # edges that are not met yet
    impossible: int = 0  # edges that never will be
    cycle: Cycle | None = None
    launching: AttemptId | None = None
    refusals: int = 0
    refusal: Refusal | None = None
    eviction: Eviction | None = None  # decided, and the status does not say so yet
    asked: SetStatus | None = None  # the status write that should be on its way
    place: AdmissionKey | None = None  # in the line of its queue, while it waits in it
    parked: Place | None = None  # where it waits for its concurrency key, if it has one and may start
    blocked_since: datetime | None = None  # when it was first in line and did not fit, as far as we saw
    told: int = -1  # the number of the last transition that history was told
    told_as: tuple[Phase, Reason, int, int] | None = None  # phase, reason, priority, generation of that row
    recorded: int = -1  # the number of the last transition that history confirmed
    removal_asked: bool = False

    @property
    def queued(self) -> bool:
        """It stands in line: nothing but its queue keeps it."""
        return self.place is not None


Order = tuple[bool, float, float, float, Namespace, str, Uid]
"""Of an offer (see `offers`): borrows, share, -priority, created, namespace, name, uid."""


@value
@dataclass(frozen=True, slots=True)
class Claim:
    """A first in line that waits with a reservation: what it asks, and what of the cohort's pool is kept for it."""

    order: Order
    request: Amounts
    pool: Mapping[str, int]

    @property
    def uid(self) -> Uid:
        """Whose it is."""
        return self.order[-1]


STARTS = 1000
"""How many starts are remembered for a queue whose limit is not known yet."""

SECOND = timedelta(seconds=1)


@lru_cache(maxsize=1024)
def _seconds(number: int) -> timedelta:
    return timedelta(seconds=number)


@dataclass(slots=True, eq=False)
class TrackedQueue:
    """A queue by name, be there a TaskQueue or not: who names it, who waits in it, what is charged."""

    queue: Queue | None = None
    ledger: Ledger = field(default_factory=Ledger)
    cohort: TrackedCohort | None = None
    capacity: dict[str, int] = field(default_factory=dict)  # the ledger's, since it changes rarely
    members: dict[Uid, None] = field(default_factory=dict)  # jobs that are not terminal
    line: Line = field(default_factory=Line)  # of them, those that may start
    unexplained: dict[Uid, None] = field(default_factory=dict)  # waiting, and not told why since that may have changed
    limited: dict[Uid, None] = field(default_factory=dict)  # told that the limit of starts keeps them
    blocked: Uid | None = None  # the first in line, if it did not fit at the last look
    claim: Claim | None = None  # what is kept for it
    holders: dict[AttemptId, None] = field(default_factory=dict)  # the attempts that are charged
    standing: Standing = field(default_factory=Standing)  # the same, in the order of those who preempt
    starts: list[datetime] = field(default_factory=list)  # the last starts, while their number is limited; sorted
    turn: int = 0  # when, in the order of all starts, it had its last; of a queue without a cohort

    def claims_at(self, waiter: TrackedJob) -> datetime | None:
        """When this first in line will have waited long enough for a claim, if it waits in vain."""
        if self.queue is None or waiter.blocked_since is None:
            return None
        return waiter.blocked_since + _seconds(self.queue.reserve_after_seconds)

    def is_due(self, waiter: TrackedJob, now: datetime) -> bool:
        """Whether this first in line has waited long enough for a claim."""
        queue, since = self.queue, waiter.blocked_since
        return queue is not None and since is not None and now - since >= _seconds(queue.reserve_after_seconds)

    def changes_at(self, blocked: TrackedJob | None, now: datetime) -> datetime | None:
        """When admission may decide something else without an event: the limit of starts allows one again, if somebody
        waits for that, or the first in line, which is `blocked`, has waited long enough to have a claim."""
        starts_at = self.starts_again_at(now) if self.line else None
        claims_at = self.claims_at(blocked) if blocked is not None else None
        if claims_at is None or claims_at <= now:
            return starts_at
        return claims_at if starts_at is None else min(starts_at, claims_at)

    def started(self, at: datetime) -> None:
        """An attempt is started; remembered as far as the limit of starts asks for it, or might."""
        most = self.queue.max_starts_per_second if self.queue is not None else STARTS
        if most:
            insort(self.starts, at)
            if len(self.starts) > most:
                del self.starts[:-most]

    def starts_again_at(self, now: datetime) -> datetime | None:
        """When the limit of starts allows the next, if it does not now: no second sees more of them than allowed."""
        most = self.queue.max_starts_per_second if self.queue is not None else 0
        if not most or len(self.starts) < most:
            return None
        again_at = self.starts[-most] + SECOND
        return again_at if now < again_at else None


@dataclass(slots=True, eq=False)
class TrackedCohort:
    """The queues that lend to each other under one name, and what they lend."""

    name: CohortName
    pool: Pool = field(default_factory=Pool)
    queues: dict[QueueName, TrackedQueue] = field(default_factory=dict)
    turn: int = 0  # as of a queue
