"""What becomes of ended pods and finished jobs: captured, recorded, then removed.

A pod goes only when status and history both hold its outcome and its log; a TaskJob only after history holds its
final row, its time to live is over, and no live TaskJob names it. Nothing is removed on a guess: history says so
by `State.recorded` and `State.log_kept`, and while PostgreSQL is away, everything stays.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from taskjob.core.deadlines import STOP_SLACK
from taskjob.core.decisions import Decision, EndBy, EndPod, KeepLog, RemoveJob, RemovePod
from taskjob.core.defaults import settled
from taskjob.core.model import Job
from taskjob.core.phases import PodPhase, PodRetention
from taskjob.core.state import State
from taskjob.core.tracked import LogCare, TrackedJob, TrackedPod


def care(state: State, tracked: TrackedJob, now: datetime) -> tuple[list[Decision], datetime | None]:
    """What a job's ended pods and the job itself need now, and when to look again."""
    decisions: list[Decision] = []
    if tracked.job.uid not in state.attempts_of and not tracked.job.status.phase.terminal:  # most that wait
        return decisions, None
    job = settled(tracked.job, state.queues.defaults_of(tracked.job.queue))
    recorded = tracked.recorded >= job.status.transition
    for pod in state.pods_of(job.uid):
        if pod.gone:
            continue
        over = state.is_over(job, pod.pod.attempt)
        if not pod.pod.phase.ended:
            if over:
                decisions.extend(_end_stray(pod, now))
            continue
        if pod.log is LogCare.NONE:
            pod.log = LogCare.ASKED
            decisions.append(KeepLog(pod.pod))
        if over and recorded and pod.log is LogCare.KEPT and not _stays(job, pod):
            decisions.extend(_remove(pod))
    if not job.status.phase.terminal or job.wants_rerun or job.deleting or tracked.removal_asked:
        return decisions, None
    ttl = job.ttl_seconds if job.ttl_seconds is not None else state.default_ttl_seconds
    expires_at = (job.status.finished_at or now) + timedelta(seconds=ttl)
    if now < expires_at:
        return decisions, expires_at
    waits_for_logs = any(not p.gone and p.log is not LogCare.KEPT for p in state.pods_of(job.uid))
    if recorded and not waits_for_logs and job.key not in state.graph.live_dependents:
        tracked.removal_asked = True
        decisions.append(RemoveJob(tracked.job))
    return decisions, None


def orphans(state: State, now: datetime) -> list[Decision]:
    """Pods whose TaskJob is not there (deleted, perhaps without its pods): they are ended and removed."""
    strays, state.orphans = state.orphans, {}
    decisions: list[Decision] = []
    for attempt in strays:
        pod = state.pods.get(attempt)
        if pod is None or pod.gone or attempt.uid in state.jobs or not state.queues.serves(pod.pod.queue):
            continue
        if pod.pod.phase.ended:
            decisions.extend(_remove(pod))
        else:
            decisions.extend(_end_stray(pod, now))
    return decisions


def _stays(job: Job, pod: TrackedPod) -> bool:
    match job.pod_retention:
        case PodRetention.DELETE | None:
            return False
        case PodRetention.KEEP_FAILED:
            return pod.pod.phase is PodPhase.FAILED
        case PodRetention.KEEP:
            return True


def _remove(pod: TrackedPod) -> list[Decision]:
    if pod.removal_asked or pod.pod.deleting:
        return []
    pod.removal_asked = True
    return [RemovePod(pod.pod)]


def _end_stray(pod: TrackedPod, now: datetime) -> list[Decision]:
    """End a live pod that nothing wants: its attempt is over, or its TaskJob is gone."""
    asked_at = pod.end_asked_at
    if pod.pod.deleting:
        return []
    if asked_at is not None and now < asked_at + timedelta(seconds=pod.pod.grace_seconds) + STOP_SLACK:
        return []
    pod.end_asked_at = now
    return [EndPod(pod.pod, EndBy.DELETE, "no attempt of a TaskJob needs it")]
