"""The mutable records of `state`: one for a job, one for a pod, one for a queue."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from taskjob.core.decisions import SetStatus
from taskjob.core.dependencies import Edge
from taskjob.core.lifecycle import Eviction, Refusal
from taskjob.core.model import Amounts, AttemptId, Job, JobKey, JobName, Pod, Queue, Uid
from taskjob.core.ordering import AdmissionKey
from taskjob.core.phases import Condition, Phase, Reason
from taskjob.core.quota import Ledger


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

    @property
    def live(self) -> bool:
        """It holds, or may hold, what it requested."""
        return not self.gone and not self.pod.phase.ended


@dataclass(frozen=True, slots=True)
class Cycle:
    """A cycle of dependencies: its members, each once, in the order of waiting, and the sentence they are told.

    `knot` are all jobs of the cycles that it shares members with.
    """

    knot: tuple[JobKey, ...]
    path: tuple[JobKey, ...]
    sentence: str


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
    ticket: int = 0  # entries of the admission heaps with another ticket are void
    queued: bool = False
    told: int = -1  # the number of the last transition that history was told
    told_as: tuple[Phase, Reason, int, int] | None = None  # phase, reason, priority, generation of that row
    recorded: int = -1  # the number of the last transition that history confirmed
    removal_asked: bool = False
    wake_at: datetime | None = None


Waiter = tuple[AdmissionKey, int, Uid]
"""An entry of an admission heap: the key, the ticket at that time, the job."""


@dataclass(slots=True, eq=False)
class TrackedQueue:
    """A queue by name, be there a TaskQueue or not: who names it, who waits in it, what is charged.

    Jobs that wait are kept by the shape of their request: what does not fit for the first of a shape does not
    fit for the others, so a cycle looks at one job per shape, however many wait.
    """

    queue: Queue | None = None
    ledger: Ledger = field(default_factory=Ledger)
    members: dict[Uid, None] = field(default_factory=dict)  # jobs that are not terminal
    shapes: dict[Amounts, list[Waiter]] = field(default_factory=dict)
    unexplained: dict[Uid, None] = field(default_factory=dict)  # queued since the last full look
