"""Which transitions the observed facts establish, each with its number: what history is told.

A job's transitions are numbered along its canonical path: `n` is 0 for its appearance, and `status.transition`
is the number of the last one that the status shows. An attempt is always Pending -> Starting, -> Running if its
container ever started, -> its end; however many of these one status write jumps over, each has its number. So an
operator that looks again after a crash finds the same transitions under the same keys, and telling them twice
changes nothing. A rerun is one transition, back to Pending, and begins only when history holds all before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from taskjob.core.failures import told_of
from taskjob.core.model import AttemptId, Job, Pod, PodUid, Status, Transition
from taskjob.core.phases import Phase, PodPhase, Reason
from taskjob.core.values import replace


def has_started(status: Status, pod: Pod | None) -> bool:
    """Whether the container of the attempt under way ever started, as far as anybody saw."""
    return status.phase is Phase.RUNNING or (pod is not None and pod.started_at is not None)


def base(status: Status) -> int:
    """How many transitions there were before the attempt under way."""
    if status.phase is Phase.RUNNING:
        return max(status.transition - 2, 0)
    if status.phase is Phase.STARTING:
        return max(status.transition - 1, 0)
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


def established(job: Job, pods: Iterable[Pod], under_way: bool, told: int = -1) -> tuple[Transition, ...]:
    """The transitions after number `told` that `job.status` and the job's pods show, oldest first.

    `under_way` tells an attempt whose end the status does not show yet from one that is over. Earlier attempts
    are told from their pods, which stay until history has confirmed their ends: so nothing is missing when an
    operator stopped while history was behind.
    """
    status = job.status
    known = {pod.attempt.attempt: pod for pod in pods if pod.attempt.run == status.run}
    attempt = status.attempt
    rows: tuple[Transition, ...] = ()
    if under_way:
        attempt = max(attempt, *known) if known else attempt
        before = base(status)
        pod = known.get(attempt)
        rows = _launch(job, attempt, pod, before, has_started(status, pod))
    elif status.transition <= told:
        return ()
    elif status.phase.terminal and status.admitted_at is None:  # it ended while it waited
        before = status.transition - 1
        rows = (_row(job, attempt, (Phase.PENDING, status.phase), before + 1, at=_ended_at(status)),)
        attempt += 1
    elif attempt == 0:
        before, attempt = status.transition, 1
    elif status.transition > 0:  # terminal, or pending again after this attempt
        started = status.started_at is not None
        before = status.transition - (3 if started else 2)
        pod = known.get(attempt) or _remembered(job)
        judged, failure = pod, told_of(status, pod)
        if pod is not None and pod.failure is not failure:
            judged = replace(pod, failure=failure)
        last = _row(
            job, attempt, (_last_phase(started), status.phase), status.transition, at=_ended_at(status), pod=judged
        )
        rows = (*_launch(job, attempt, pod, before, started), last)
    else:
        return ()
    return tuple(row for row in (*_earlier(job, known, attempt - 1, before, told), *rows) if row.n > told)


def _earlier(job: Job, known: Mapping[int, Pod], attempt: int, n: int, told: int) -> tuple[Transition, ...]:
    """The transitions up to number `n`, of the attempts before, back to the first whose pod is not known."""
    rows: list[Transition] = []
    while n > told and attempt in known:
        pod = known[attempt]
        started = pod.started_at is not None
        before = n - (3 if started else 2)
        if before < 0:
            break
        last = _row(
            job,
            attempt,
            (_last_phase(started), Phase.PENDING),
            n,
            at=pod.finished_at or pod.started_at or pod.created_at,
            pod=pod,
            reason=Reason.BACKING_OFF,
            message=pod.message,
        )
        rows[:0] = (*_launch(job, attempt, pod, before, started), last)
        attempt, n = attempt - 1, before
    if attempt == 0 and n > told and job.status.previous_phase is not None:
        rows.insert(0, _rerun(job, job.status.previous_phase, n))
    return tuple(rows)


def _rerun(job: Job, previous: Phase, n: int) -> Transition:
    return _row(
        job,
        0,
        (previous, Phase.PENDING),
        n,
        at=job.since,
        reason=Reason.QUEUED,
        message=f"run {job.status.run}, asked for by spec.rerun",
    )


def _remembered(job: Job) -> Pod | None:
    """The pod of the attempt that the status has ended, as far as the status remembers it: it is gone, and whoever saw
    it may have died before history was told. Its uid nobody knows any more."""
    status = job.status
    if status.pod_name is None:
        return None
    return Pod(
        uid=PodUid(""),
        name=status.pod_name,
        namespace=job.namespace,
        version=0,
        attempt=AttemptId(job.uid, status.run, 0, status.attempt),
        queue=job.queue,
        request=job.request,
        phase=PodPhase.SUCCEEDED if status.phase is Phase.SUCCEEDED else PodPhase.FAILED,
        created_at=status.admitted_at or status.started_at or _ended_at(status),
        job_name=job.name,
        node=status.node_name,
        started_at=status.started_at,
        finished_at=_ended_at(status),
        exit_code=status.exit_code,
    )


def _last_phase(started: bool) -> Phase:
    return Phase.RUNNING if started else Phase.STARTING


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


def _launch(job: Job, attempt: int, pod: Pod | None, before: int, started: bool) -> tuple[Transition, ...]:
    status = job.status
    if pod is not None:
        admitted_at, started_at = pod.created_at, pod.started_at
    else:
        admitted_at, started_at = status.admitted_at or status.started_at or _ended_at(status), status.started_at
    row = _row(
        job, attempt, (Phase.PENDING, Phase.STARTING), before + 1, at=admitted_at, pod=pod, reason=Reason.LAUNCHED
    )
    if not started:
        return (row,)
    at = started_at or admitted_at
    return row, _row(job, attempt, (Phase.STARTING, Phase.RUNNING), before + 2, at=at, pod=pod, reason=Reason.STARTED)


def _row(
    job: Job,
    attempt: int,
    phases: tuple[Phase, Phase],
    n: int,
    *,
    at: datetime,
    pod: Pod | None = None,
    reason: Reason | None = None,
    message: str = "",
) -> Transition:
    """A row; without a reason of its own it takes reason and message of the status that shows it."""
    return Transition(
        attempt=AttemptId(job.uid, job.status.run, 0, attempt),
        from_phase=phases[0],
        to_phase=phases[1],
        n=n,
        at=at,
        reason=reason or job.status.reason,
        message=message if reason else job.status.message,
        pod=pod,
    )


def _ended_at(status: Status) -> datetime:
    ended_at = status.finished_at or status.queued_at
    if ended_at is None:  # a status that somebody else wrote; better a wrong instant than no row
        return datetime.fromtimestamp(0, UTC)
    return ended_at
