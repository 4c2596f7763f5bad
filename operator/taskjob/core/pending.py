"""A job that waits: what ends its wait, else what holds it, else it may be admitted.

The order of the questions in `waits` is the order in which a user is told: the first that applies is the reason.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from taskjob.core.deadlines import deadline_at, deadline_message, earliest, queue_timeout_at
from taskjob.core.decisions import Urgency
from taskjob.core.defaults import field_of
from taskjob.core.dependencies import Edge
from taskjob.core.facts import Facts
from taskjob.core.model import Job, Status
from taskjob.core.phases import FailureClass, OnDependencyFailure, Phase, Reason, RetryAction
from taskjob.core.retry import judge
from taskjob.core.steps import Step, stay, terminal, whole_second
from taskjob.core.values import replace

HISTORY_PATIENCE = timedelta(seconds=5)
"""So long the next attempt waits for history to hold the end of one whose pod is gone, counted anew by each operator.
PostgreSQL may be away."""


def waits(facts: Facts, now: datetime) -> Step:
    """Decide about a job of which no attempt is under way."""
    job, status = facts.job, facts.job.status
    if facts.launching or job.deleting:
        return stay(status)
    if job.wants_rerun and status.attempt == 0 and status.run_at is None:
        # Nothing has begun (a manifest that was applied anew, say): the first run is the one that is wanted. Its
        # attempts wait for the status that says so. (A later run has its number in history already.)
        status = replace(status, run=job.rerun, queued_at=status.queued_at or job.created_at)
        job = replace(job, status=status)
    if job.cancel:
        return _end_waiting(job, Phase.CANCELLED, Reason.CANCELLED_BY_USER, "cancelled by spec.cancel", now)
    if job.problem is not None:
        return hold(job, Reason.INVALID_SPEC, job.problem)
    refusal = facts.refusal
    if refusal and refusal.asked and judge(job.retrying, FailureClass.POD_REFUSED).action is RetryAction.FAIL:
        return _end_waiting(job, Phase.FAILED, Reason.POD_REFUSED, refusal.message, now)
    deadline = deadline_at(job)
    if deadline is not None and now >= deadline:
        return _end_waiting(job, Phase.FAILED, Reason.DEADLINE_EXCEEDED, deadline_message(job), now)
    block = facts.block
    if block is not None and block.cycle:
        return _end_waiting(job, Phase.FAILED, Reason.DEPENDENCY_CYCLE, block.message, now)
    if block is not None and block.edge is Edge.IMPOSSIBLE:
        if job.on_dependency_failure is OnDependencyFailure.SKIP:
            return _end_waiting(job, Phase.SKIPPED, Reason.DEPENDENCY_NOT_SATISFIED, block.message, now)
        if job.on_dependency_failure is OnDependencyFailure.FAIL:
            return _end_waiting(job, Phase.FAILED, Reason.DEPENDENCY_NOT_SATISFIED, block.message, now)
    if job.suspend:
        return hold(job, Reason.SUSPENDED, "suspended by spec.suspend; set it to false to go on", deadline)
    if block is not None:
        # That it waits in vain is news worth a write, though the reason is the same.
        anew = block.edge is Edge.IMPOSSIBLE and status.message != block.message
        return hold(job, Reason.WAITING_FOR_DEPENDENCIES, block.message, deadline, anew=anew)
    if job.queue_timeout_seconds is not None:
        if status.reason is Reason.SUSPENDED:  # it was resumed: its wait begins now, which only the status can remember
            again = replace(status, reason=Reason.QUEUED, message="", queued_at=whole_second(now))
            return Step(again, again, Urgency.RETRY, wake_at=deadline)
        waited_out = queue_timeout_at(job, facts.ready_at)
        if waited_out is not None and now >= waited_out:
            said = field_of(job, "queue_timeout_seconds")
            message = f"not started within {job.queue_timeout_seconds} s of waiting ({said})"
            return _end_waiting(job, Phase.FAILED, Reason.QUEUE_TIMEOUT_EXCEEDED, message, now)
        deadline = earliest(deadline, waited_out)
    if status.not_before is not None and now < status.not_before:
        # Held for another reason meanwhile, its status no longer tells what failed: history does.
        said = status.message if status.reason is Reason.BACKING_OFF else ""
        message = said or f"the next attempt not before {status.not_before:%H:%M:%S} UTC"
        return hold(job, Reason.BACKING_OFF, message, earliest(deadline, status.not_before))
    if refusal is not None and now < refusal.until:
        return hold(job, Reason.POD_REFUSED, refusal.message, earliest(deadline, refusal.until))
    if facts.occupied:  # an earlier attempt's pod still runs; its end wakes us
        return stay(status, deadline)
    if status is not facts.job.status:
        return Step(status, status, Urgency.RETRY, wake_at=deadline)
    if status.attempt and not facts.recorded and (facts.pod is None or facts.pod_gone or facts.pod.deleting):
        # Nothing but the status tells of the attempt before, or soon will, and the next one will overwrite it.
        # An operator that has just begun had no time to tell, however long ago that end was.
        waits_since = max(status.queued_at or job.created_at, facts.begun_at or job.created_at)
        patience_ends = waits_since + HISTORY_PATIENCE
        if now < patience_ends:
            return stay(status, earliest(deadline, patience_ends))
    return Step(status, status, eligible=True, wake_at=deadline)


def hold(job: Job, reason: Reason, message: str, wake_at: datetime | None = None, *, anew: bool = False) -> Step:
    """Leave it pending for a typed reason, to be said as `told` does, or `anew` in any case."""
    status = _saying(job, reason, message) if anew else told(job, reason, message)
    return stay(status, wake_at) if status is job.status else Step(status, status, Urgency.HOLD, wake_at=wake_at)


def told(job: Job, reason: Reason, message: str) -> Status:
    """The status of a job that is told why it is pending: its own, if that says so already.

    Figures in the message age: only a new reason or a new spec is worth a write.
    """
    status = job.status
    if is_told(job, reason) or (_says(status, reason) and status.message == message):
        return status
    return _saying(job, reason, message)


def _saying(job: Job, reason: Reason, message: str) -> Status:
    return replace(
        job.status,
        reason=reason,
        message=message,
        queued_at=job.status.queued_at or job.created_at,
        observed_generation=job.generation,
    )


def is_told(job: Job, reason: Reason) -> bool:
    """Whether the status says so of the spec as it is: then `hold` has nothing to add, whatever the figures."""
    return _says(job.status, reason) and job.status.observed_generation >= job.generation


def _says(status: Status, reason: Reason) -> bool:
    return status.reason is reason and status.queued_at is not None


def reject(job: Job, message: str, now: datetime) -> Step:
    """Others hold its concurrency key, and it does not want to wait: it is over, and has not failed."""
    return _end_waiting(job, Phase.SKIPPED, Reason.CONCURRENCY_CONFLICT, message, now)


def _end_waiting(job: Job, phase: Phase, reason: Reason, message: str, now: datetime) -> Step:
    ended = replace(
        job.status,
        transition=job.status.transition + 1,
        queued_at=job.status.queued_at or job.created_at,
        admitted_at=None,
        stopping=None,
        observed_generation=job.generation,
    )
    return terminal(ended, phase, reason, message, at=whole_second(now), shown=job.status)
