"""What a cycle decides: frozen values, each carried out by one function of `taskjob.control.apply`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum

from taskjob.core.model import Amounts, AttemptId, Entry, Job, Pod, Queue, Status, Uid
from taskjob.core.values import value


class Urgency(IntEnum):
    """The order in which waiting status writes are sent: smaller first."""

    TERMINAL = 0  # dependents and people wait for it
    STOP = 1  # a pod is ended only after its reason stands in the status
    RETRY = 2  # the next attempt waits for it
    PROGRESS = 3  # Starting, Running
    HOLD = 4  # why it waits


class EndBy(StrEnum):
    """How a pod is ended."""

    DEADLINE = "Deadline"  # lower activeDeadlineSeconds: the kubelet ends it with grace, outcome and log stay
    DELETE = "Delete"  # it is not on a working node: nobody would lower anything


@value
@dataclass(frozen=True, slots=True)
class Launch:
    """Create the pod of this attempt; its quota is already reserved in the state."""

    job: Job
    attempt: AttemptId
    active_deadline_seconds: int | None  # the least of the attempt's timeout and what is left of the deadline


@value
@dataclass(frozen=True, slots=True)
class SetStatus:
    """Write this status over `job` (the observation it was decided from, with its version)."""

    job: Job
    status: Status
    urgency: Urgency


@value
@dataclass(frozen=True, slots=True)
class EndPod:
    """End a live pod; its reason already stands in the job's status (or its TaskJob is gone)."""

    pod: Pod
    by: EndBy
    why: str  # for the log


@value
@dataclass(frozen=True, slots=True)
class KeepLog:
    """Capture the log of an attempt that ended into history."""

    pod: Pod


@value
@dataclass(frozen=True, slots=True)
class RemovePod:
    """Delete an ended pod: status and history hold its outcome and log."""

    pod: Pod


@value
@dataclass(frozen=True, slots=True)
class RemoveJob:
    """Delete a finished TaskJob whose time to live is over: history has its final row, nobody live names it."""

    job: Job


@value
@dataclass(frozen=True, slots=True)
class QueueCondition:
    """A condition of a TaskQueue: its type, whether it holds, why in a word and in a sentence that may be empty."""

    type: str
    holds: bool
    reason: str
    message: str = ""


@value
@dataclass(frozen=True, slots=True)
class SetQueueStatus:
    """Write a TaskQueue's figures."""

    queue: Queue
    pending: int
    admitted: int
    usage: Amounts
    quota: Amounts = ()
    borrowed: Amounts = ()
    conditions: tuple[QueueCondition, ...] = ()


Decision = Launch | SetStatus | EndPod | KeepLog | RemovePod | RemoveJob


@value
@dataclass(frozen=True, slots=True)
class Fault:
    """Deciding about this job failed: a defect of ours. It is left alone; the others go on."""

    uid: Uid
    error: str


@value
@dataclass(frozen=True, slots=True)
class Plan:
    """The outcome of one cycle: what to do, what to tell history, and when to look again without an event."""

    decisions: tuple[Decision, ...]
    entries: tuple[Entry, ...]
    wake_at: datetime | None
    faults: tuple[Fault, ...] = ()
