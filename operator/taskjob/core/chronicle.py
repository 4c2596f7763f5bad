"""Which transitions the observed facts establish, each with its number: what history is told.

A job's transitions are numbered along its canonical path: `n` is 0 for its appearance, and `status.transition`
is the number of the last one that the status shows. An attempt is always Pending -> Starting, -> Running if its
container ever started, -> its end; however many of these one status write jumps over, each has its number. So an
operator that looks again after a crash finds the same transitions under the same keys, and telling them twice
changes nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime

from taskjob.core.model import AttemptId, Job, Pod, Status, Transition
from taskjob.core.phases import Phase, Reason


def has_started(status: Status, pod: Pod | None) -> bool:
    """Whether the container of the attempt under way ever started, as far as anybody saw."""
    return status.phase is Phase.RUNNING or (pod is not None and pod.started_at is not None)


def base(status: Status) -> int:
    """How many transitions there were before the attempt under way."""
    if status.phase is Phase.RUNNING:
        return status.transition - 2
    if status.phase is Phase.STARTING:
        return status.transition - 1
    return status.transition


def appearance(job: Job) -> Transition:
    """The first row: the TaskJob was created."""
    return Transition(
        attempt=AttemptId(job.uid, 0, 0, 0),
        from_phase=None,
        to_phase=Phase.PENDING,
        n=0,
        at=job.created_at,
        reason=Reason.QUEUED,
    )


def established(job: Job, pod: Pod | None, under_way: bool) -> tuple[Transition, ...]:
    """The transitions of the current or last attempt that `job.status` and `pod` (of that attempt) show.

    `under_way` tells an attempt whose end the status does not show yet from one that is over. Oldest first.
    """
    status = job.status
    if under_way:
        return _launch(job, pod, base(status), has_started(status, pod))
    if status.transition == 0:
        return ()
    n = status.transition
    if status.phase.terminal:
        if status.admitted_at is None:  # it ended while it waited
            return (_row(job, status.attempt, (Phase.PENDING, status.phase), n, at=_ended_at(status)),)
        started = status.started_at is not None
    elif pod is not None and pod.attempt.attempt == status.attempt:  # pending again after this attempt
        started = pod.started_at is not None
    else:
        return ()
    last = _row(
        job,
        status.attempt,
        (Phase.RUNNING if started else Phase.STARTING, status.phase),
        n,
        at=_ended_at(status),
        pod=pod,
    )
    return (*_launch(job, pod, n - (3 if started else 2), started), last)


def deletion(job: Job, pod: Pod | None, under_way: bool, now: datetime) -> tuple[Transition, Status]:
    """The last row of a job whose TaskJob was deleted before its end, and its status then."""
    status = job.status
    started = under_way and has_started(status, pod)
    n = (base(status) + (2 if started else 1) if under_way else status.transition) + 1
    attempt = pod.attempt.attempt if under_way and pod is not None else status.attempt
    here = (Phase.RUNNING if started else Phase.STARTING) if under_way else status.phase
    row = Transition(
        attempt=AttemptId(job.uid, status.run, 0, attempt),
        from_phase=here,
        to_phase=Phase.CANCELLED,
        n=n,
        at=now,
        reason=Reason.DELETED,
        message="the TaskJob was deleted",
        pod=pod if under_way else None,
    )
    end = Status(
        phase=Phase.CANCELLED,
        reason=Reason.DELETED,
        message=row.message,
        run=status.run,
        attempt=attempt,
        retries=status.retries,
        transition=n,
        queued_at=status.queued_at,
        admitted_at=status.admitted_at,
        started_at=pod.started_at if pod is not None else status.started_at,
        finished_at=now,
        pod_name=pod.name if pod is not None else status.pod_name,
        node_name=pod.node if pod is not None else status.node_name,
    )
    return row, end


def _launch(job: Job, pod: Pod | None, before: int, started: bool) -> tuple[Transition, ...]:
    status = job.status
    attempt = pod.attempt.attempt if pod is not None else status.attempt
    admitted_at = (pod.created_at if pod is not None else status.admitted_at) or job.created_at
    rows = [
        _row(
            job,
            attempt,
            (Phase.PENDING, Phase.STARTING),
            before + 1,
            at=admitted_at,
            pod=pod,
            reason=Reason.LAUNCHED,
        )
    ]
    if started:
        started_at = (pod.started_at if pod is not None else status.started_at) or admitted_at
        rows.append(
            _row(
                job,
                attempt,
                (Phase.STARTING, Phase.RUNNING),
                before + 2,
                at=started_at,
                pod=pod,
                reason=Reason.STARTED,
            )
        )
    return tuple(rows)


def _row(
    job: Job,
    attempt: int,
    phases: tuple[Phase, Phase],
    n: int,
    *,
    at: datetime,
    pod: Pod | None = None,
    reason: Reason | None = None,
) -> Transition:
    """A row; without a reason of its own it takes reason and message of the status that shows it."""
    return Transition(
        attempt=AttemptId(job.uid, job.status.run, 0, attempt),
        from_phase=phases[0],
        to_phase=phases[1],
        n=n,
        at=at,
        reason=reason or job.status.reason,
        message="" if reason else job.status.message,
        pod=pod,
    )


def _ended_at(status: Status) -> datetime:
    ended_at = status.finished_at or status.queued_at
    if ended_at is None:  # a status that somebody else wrote; better a wrong instant than no row
        return datetime.fromtimestamp(0, UTC)
    return ended_at
