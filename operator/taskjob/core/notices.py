"""What is told of a TaskJob as a Kubernetes Event: what a person wants to read in `kubectl describe`.

Nothing on the path of an ordinary success: an Event costs the API server as much as a status. An Event is told once
the status that it follows from is written; it is a courtesy, and one that is lost in a crash is not told again.
"""

from __future__ import annotations

from dataclasses import dataclass

from taskjob.core.model import Job, Status
from taskjob.core.phases import Phase, Reason

_HELD = frozenset({Reason.POD_REFUSED, Reason.INVALID_SPEC})
"""Reasons of a wait that somebody has to do something about."""

_QUEUED_AGAIN = frozenset({Reason.SUSPENDED, Reason.PREEMPTED, Reason.QUEUE_HELD})


@dataclass(frozen=True, slots=True)
class Notice:
    """One Event on `job`, whose status it is about; told twice, it is one."""

    job: Job
    reason: str  # one CamelCase word
    message: str
    warning: bool = True


def notice_of(before: Status, job: Job) -> Notice | None:
    """What is worth an Event now that the status is no longer as `before`; None if nothing is."""
    status = job.status
    if status.phase.terminal:
        return _end(before, job)
    if status.phase is not Phase.PENDING:
        return None
    if status.reason is Reason.BACKING_OFF and status.attempt > 0 and _ended(before, status):
        return Notice(job, "AttemptFailed", status.message)
    if status.reason in _QUEUED_AGAIN and _ended(before, status):
        said = f"attempt {status.attempt} was stopped and is not charged: {status.message}"
        return Notice(job, str(status.reason), said, warning=False)
    if status.reason in _HELD and (before.reason, before.message) != (status.reason, status.message):
        return Notice(job, str(status.reason), status.message)
    return None


def _ended(before: Status, status: Status) -> bool:
    """Whether an attempt ended between the two."""
    return before.transition < status.transition


def _end(before: Status, job: Job) -> Notice | None:
    status = job.status
    if before.phase.terminal or (status.phase is Phase.SUCCEEDED and not status.message):
        return None
    return Notice(job, str(status.reason), status.message, warning=status.phase in (Phase.FAILED, Phase.SKIPPED))
