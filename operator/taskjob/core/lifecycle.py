"""The life of one job: from what is observed of it (`facts`) to what its status should say and what its pod needs
(`steps`).

`step` is level-triggered: it looks at facts, never at the event that brought them, so looking twice decides
the same, and an operator that starts in the middle goes on as if it had been there. While no attempt is under way,
`pending` decides. The queue is not here: `step` says whether a job may be admitted, `cycle` whether it is.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from taskjob.core.chronicle import base, has_started
from taskjob.core.deadlines import (
    KUBELET_SLACK,
    STOP_SLACK,
    deadline_at,
    deadline_message,
    earliest,
    start_timeout,
    timeout_at,
)
from taskjob.core.decisions import EndBy, Urgency
from taskjob.core.defaults import field_of
from taskjob.core.facts import Facts, under_way
from taskjob.core.failures import failure_of, is_lost, judged, lost_at, no_answer_message, timeout_message, told
from taskjob.core.model import AttemptId, Job, Pod, Status
from taskjob.core.pending import waits
from taskjob.core.phases import FailureClass, Phase, PodPhase, Reason, RetryAction, Stopping
from taskjob.core.retry import FREE_RETRIES_MAX, backoff_seconds, jitter_fraction
from taskjob.core.steps import Step, stay, terminal, whole_second
from taskjob.core.values import replace

STARTING_PATIENCE = timedelta(seconds=10)
"""A pod that starts sooner costs no status write for having been created; one that does not has something to tell."""

CUT = timedelta(seconds=1)
"""Instants of the cluster are cut to the second: it was up to one later."""

RUNNING_PATIENCE = timedelta(seconds=2)
"""A container that ends sooner costs no status write for having run; history and the stream tell it at once."""


def step(facts: Facts, now: datetime) -> Step:
    """Decide about one job. Three cases: it is over, an attempt is under way, or it waits."""
    job, pod = facts.job, facts.pod
    if job.status.phase.terminal:
        # A rerun overwrites how the run ended: like a removal it comes after history holds it.
        return _run_again(job, now) if job.wants_rerun and facts.recorded else stay(job.status)
    if under_way(job, pod):
        if pod is not None and not facts.pod_gone and not pod.phase.ended:
            if job.retrying.allow_overlap and is_lost(pod, now):
                return _attempt_ended(facts, now)  # it stays charged until it is gone
            return _attempt_lives(facts, pod, now)
        return _attempt_ended(facts, now)
    return waits(facts, now)


def _run_again(job: Job, now: datetime) -> Step:
    """The next run begins, with attempts and retries of its own."""
    status = Status(
        message=f"run {job.rerun}, asked for by spec.rerun",
        run=job.rerun,
        run_at=whole_second(now),
        previous_phase=job.status.phase,
        transition=job.status.transition + 1,
        epoch=job.status.epoch,
        queued_at=whole_second(now),
        observed_generation=job.generation,
    )
    return Step(status, job.status, Urgency.RETRY)


def _progress(job: Job, pod: Pod) -> Status:
    started = has_started(job.status, pod)
    return replace(
        job.status,
        phase=Phase.RUNNING if started else Phase.STARTING,
        reason=Reason.STARTED if started else Reason.LAUNCHED,
        message="" if started else pod.message,  # why it does not start, if something is known against it
        run=pod.attempt.run,
        attempt=pod.attempt.attempt,
        transition=base(job.status) + (2 if started else 1),
        queued_at=job.status.queued_at or job.created_at,
        admitted_at=pod.created_at,
        started_at=pod.started_at or (job.status.started_at if job.status.phase is Phase.RUNNING else None),
        finished_at=None,
        not_before=None,
        pod_name=pod.name,
        node_name=pod.node,
        exit_code=None,
        observed_generation=job.generation,
    )


def _attempt_lives(facts: Facts, pod: Pod, now: datetime) -> Step:
    job, status = facts.job, facts.job.status
    view = _progress(job, pod)
    wanted, why, wake_at = _stop_wanted(facts, pod, now)
    if wanted is not None and wanted is not status.stopping:
        stopping = replace(view, reason=Reason.STOPPING, message=why, stopping=wanted)
        return Step(stopping, stopping, Urgency.STOP)
    if is_lost(pod, now):
        view = replace(view, reason=Reason.NODE_LOST, message=no_answer_message(pod), stopping=status.stopping)
        return Step(status if status.reason is Reason.NODE_LOST else view, view, Urgency.PROGRESS, wake_at=wake_at)
    wake_at = earliest(wake_at, lost_at(pod))
    if status.stopping is not None:
        view = replace(view, reason=Reason.STOPPING, message=status.message, stopping=status.stopping)
        by, again_at = _how_to_end(facts, pod, now)
        if by is EndBy.DELETE and view.phase is not status.phase:
            # A deleted pod tells no more that its container ran: the status must, before.
            return Step(view, view, Urgency.STOP, wake_at=again_at)
        why = f"{status.stopping}: {status.message}"
        return Step(status, view, end=by, why=why, wake_at=earliest(wake_at, again_at))
    write_at = pod.created_at + STARTING_PATIENCE if pod.started_at is None else pod.started_at + CUT + RUNNING_PATIENCE
    if now < write_at:
        return Step(status, view, wake_at=earliest(wake_at, write_at))
    hangs = view.message != "" and status.message == ""
    if view.phase is status.phase and view.attempt == status.attempt and not hangs:
        # Only the node or the generation differ: not worth a write of its own.
        return Step(status, view, wake_at=wake_at)
    return Step(view, view, Urgency.PROGRESS, wake_at=wake_at)


def _stop_wanted(facts: Facts, pod: Pod, now: datetime) -> tuple[Stopping | None, str, datetime | None]:
    """Why the attempt must stop, if it must, in a word and a sentence; else when time will say so."""
    job, already = facts.job, facts.job.status.stopping
    if job.cancel:
        return Stopping.CANCELLED, "cancelled by spec.cancel", None
    if already is Stopping.CANCELLED:  # a rerun may have taken `spec.cancel` back: it follows this run's end
        return already, job.status.message, None
    deadline = deadline_at(job)
    if deadline is not None and now >= deadline:
        return Stopping.DEADLINE_EXCEEDED, deadline_message(job), None
    if job.suspend:
        return Stopping.SUSPENDED, "suspended by spec.suspend", deadline
    if already is not None and (already.evicts or already is Stopping.SUSPENDED):
        # Its timeout, should it come meanwhile, is no failure of the job; nor has it one that was resumed already.
        return already, job.status.message, deadline
    timeout = timeout_at(job, pod)
    if timeout is not None:
        timeout += KUBELET_SLACK
        if now >= timeout:
            return Stopping.TIMEOUT, timeout_message(job), deadline
    hanging, hung = _hangs(pod), None
    if hanging is not None and facts.hangs_since is not None and already is None:
        patience = start_timeout(job, pod)
        hung = facts.hangs_since + patience
        if now >= hung:
            why = pod.message or "no scheduler has given it a node, or said why not"
            return hanging, f"it did not start within {patience.total_seconds():.0f} s: {why}", deadline
    if already is None and facts.eviction is not None:
        return facts.eviction.stopping, facts.eviction.message, deadline
    return already, job.status.message, earliest(deadline, timeout, hung)


def _hangs(pod: Pod) -> Stopping | None:
    """Why a pod that has not started may hang, if it may."""
    if pod.trouble is None:
        return Stopping.UNSCHEDULABLE if pod.unplaced else None
    return _HANGING.get(pod.trouble)


_HANGING: Final = {
    FailureClass.IMAGE_PULL: Stopping.IMAGE_PULL,
    FailureClass.UNSCHEDULABLE: Stopping.UNSCHEDULABLE,
    FailureClass.START_ERROR: Stopping.START_ERROR,
}


def _how_to_end(facts: Facts, pod: Pod, now: datetime) -> tuple[EndBy | None, datetime | None]:
    """The next thing to do to a pod that must end, if any, and when to look again."""
    if pod.deleting:
        return None, None
    patience = timedelta(seconds=pod.grace_seconds) + STOP_SLACK
    if facts.end_asked_at is not None and now < facts.end_asked_at + patience:
        return None, facts.end_asked_at + patience
    # Not scheduled: no kubelet would see a lowered deadline. Asked already: the kubelet does not answer.
    by = EndBy.DELETE if pod.node is None or facts.end_asked_at is not None else EndBy.DEADLINE
    return by, now + patience


def _attempt_ended(facts: Facts, now: datetime) -> Step:
    """The attempt is over: by its pod's phase, or because its pod is gone (`pod` None: before we looked)."""
    job, pod, status = facts.job, facts.pod, facts.job.status
    if job.deleting:  # its end is the object's: history is told when it is gone
        return stay(status)
    started = has_started(status, pod)
    ended_at = (pod.finished_at if pod is not None else None) or whole_second(now)
    shown = _progress(job, pod) if pod is not None else status
    ended = replace(
        shown,
        message=pod.message if pod is not None else "",
        exit_code=pod.exit_code if pod is not None else None,
        transition=base(status) + (3 if started else 2),
        stopping=None,
        observed_generation=job.generation,
    )
    if pod is not None and pod.phase is PodPhase.SUCCEEDED and not (pod.deleting and status.stopping):
        # Also when it was told to stop by its deadline: it was done before that reached it. (A deleted pod
        # whose containers exit with 0 on SIGTERM is called Succeeded too, and that was our doing.)
        return terminal(ended, Phase.SUCCEEDED, Reason.COMPLETED, "", at=ended_at, shown=shown)
    if status.stopping is Stopping.CANCELLED or job.cancel:
        return terminal(
            ended, Phase.CANCELLED, Reason.CANCELLED_BY_USER, "cancelled by spec.cancel", at=ended_at, shown=shown
        )
    deadline = deadline_at(job)
    # The pod's own limit is the rest of the deadline in whole seconds, so it may end a little before it.
    late = (
        deadline is not None
        and status.stopping is None
        and failure_of(job, pod, facts.pod_gone) is FailureClass.TIMEOUT
        and ended_at >= deadline - timedelta(seconds=2)
    )
    if status.stopping is Stopping.DEADLINE_EXCEEDED or late:
        return terminal(ended, Phase.FAILED, Reason.DEADLINE_EXCEEDED, deadline_message(job), at=ended_at, shown=shown)
    again = _pending_again(ended, ended_at)
    if status.stopping is Stopping.SUSPENDED:
        waits = replace(again, reason=Reason.SUSPENDED, message="suspended by spec.suspend", exit_code=None)
        return Step(waits, shown, Urgency.RETRY)
    if (
        status.stopping is not None
        and status.stopping.evicts
        and judged(facts.job, facts.pod, facts.pod_gone, ended).verdict.rule is None
    ):
        waits = replace(again, reason=_EVICTED[status.stopping], message=status.message, exit_code=None)
        return Step(waits, shown, Urgency.RETRY)
    return _after_failure(facts, ended, ended_at, shown)


def _pending_again(ended: Status, ended_at: datetime) -> Status:
    # `started_at` stays: it tells history, after a restart, whether this attempt's container ever ran.
    return replace(ended, phase=Phase.PENDING, queued_at=ended_at, admitted_at=None)


def _after_failure(facts: Facts, ended: Status, ended_at: datetime, shown: Status) -> Step:
    """What the retry rules make of an attempt that failed."""
    retry, pod, number, retries = facts.job.retrying, facts.pod, ended.attempt, ended.retries
    failure, sentence, verdict = judged(facts.job, pod, facts.pod_gone, ended)
    what = told(number, failure, sentence)
    if verdict.action is RetryAction.SUCCEED:
        return terminal(
            ended,
            Phase.SUCCEEDED,
            Reason.COMPLETED,
            what + verdict.said(field_of(facts.job, "retry")),
            at=ended_at,
            shown=shown,
        )
    uncharged = number - 1 - retries  # attempts of this run that ended before and cost no retry
    free = verdict.action is RetryAction.RETRY_FREE and uncharged < FREE_RETRIES_MAX
    if verdict.action is RetryAction.FAIL or (not free and retries >= retry.limit):
        if verdict.action is RetryAction.FAIL:
            why = verdict.said(field_of(facts.job, "retry"))
        elif verdict.action is RetryAction.RETRY_FREE:
            why = f"; no more than {FREE_RETRIES_MAX} attempts are free"
        else:
            why = f", the last of {retry.limit + 1} allowed attempts" if retry.limit else ""
        seen = failure is not FailureClass.POD_DELETED or (pod is not None and pod.phase.ended)
        reason = Reason.ATTEMPT_FAILED if seen else Reason.OUTCOME_UNKNOWN
        return terminal(ended, Phase.FAILED, reason, what + why, at=ended_at, shown=shown)
    retries += 0 if free else 1
    attempt = AttemptId(facts.job.uid, ended.run, 0, number)
    seconds = backoff_seconds(retry, uncharged + 1 if free else retries, jitter_fraction(attempt))
    cut = CUT if seconds else timedelta()  # the backoff is a promise
    not_before = _whole_second_up(ended_at + cut + timedelta(seconds=seconds))
    count = "not charged; the next" if free else f"retry {retries} of {retry.limit}"
    waits = replace(
        _pending_again(ended, ended_at),
        reason=Reason.BACKING_OFF,
        message=f"{what}; {count} not before {not_before:%H:%M:%S} UTC",
        retries=retries,
        not_before=not_before,
    )
    return Step(waits, shown, Urgency.RETRY)


_EVICTED: Final = {Stopping.PREEMPTED: Reason.PREEMPTED, Stopping.QUEUE_HELD: Reason.QUEUE_HELD}
"""What an evicted job is told that waits again."""


def _whole_second_up(instant: datetime) -> datetime:
    return whole_second(instant + timedelta(microseconds=999_999))
