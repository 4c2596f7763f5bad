"""Instants that follow from a job's timeouts, and what a pod is told of them."""

from __future__ import annotations

from datetime import datetime, timedelta

from taskjob.core.model import Job, Pod

KUBELET_SLACK = timedelta(seconds=10)
"""The kubelet enforces an attempt's timeout first (it keeps outcome and log); this much later we step in."""

STOP_SLACK = timedelta(seconds=10)
"""Beyond the pod's grace period, how long a pod that was told to end may take before it is deleted."""


START_TIMEOUT_SECONDS = 600
"""How long a pod may hang before its start where its TaskJob does not say: nodes are made, registries come back."""


SCHEDULER_PATIENCE = timedelta(seconds=START_TIMEOUT_SECONDS)
"""How long a pod at least may be without a node and a word about it: it may stand in its scheduler's queue."""


def start_timeout(job: Job, pod: Pod) -> timedelta:
    """How long the pod may hang before its container starts; then it gives its quota back."""
    seconds = job.start_timeout_seconds
    patience = timedelta(seconds=START_TIMEOUT_SECONDS if seconds is None else seconds)
    return patience if pod.trouble is not None else max(patience, SCHEDULER_PATIENCE)


def deadline_at(job: Job) -> datetime | None:
    """The end of the whole run, waiting included: of a rerun, from its beginning."""
    if job.deadline_seconds is None:
        return None
    return job.since + timedelta(seconds=job.deadline_seconds)


def deadline_message(job: Job) -> str:
    """What a job is told that did not meet its deadline."""
    beginning = "rerun" if job.status.run_at is not None else "creation"
    return f"not finished within {job.deadline_seconds} s of its {beginning} (spec.deadlineSeconds)"


def queue_timeout_at(job: Job, ready_at: datetime | None) -> datetime | None:
    """When a waiting job has waited too long, its backoff not counted; `ready_at` is when its last dependency ended."""
    if job.queue_timeout_seconds is None:
        return None
    since = max(instant or job.created_at for instant in (job.status.queued_at, job.status.not_before, ready_at))
    return since + timedelta(seconds=job.queue_timeout_seconds)


def timeout_at(job: Job, pod: Pod) -> datetime | None:
    """When this attempt has used up its timeout, as far as we can tell: from its container's start.

    The kubelet counts from when it took the pod, and knows better what comes before: a pod that waits for a node uses
    up nothing of it (`start_timeout` bounds that), and one that its kubelet still prepares is that kubelet's to end.
    """
    if job.timeout_seconds is None or pod.started_at is None:
        return None
    return pod.started_at + timedelta(seconds=job.timeout_seconds)


def active_deadline_seconds(job: Job, now: datetime) -> int | None:
    """What an attempt launched now may use, in whole seconds, at least 1: its timeout or the rest of the deadline."""
    if job.timeout_seconds is None and job.deadline_seconds is None:
        return None
    limits = [job.timeout_seconds] if job.timeout_seconds is not None else []
    deadline = deadline_at(job)
    if deadline is not None:
        limits.append(int((deadline - now).total_seconds()))
    return max(1, min(limits))


def earliest(*instants: datetime | None) -> datetime | None:
    """The first of those that are known."""
    known = [instant for instant in instants if instant is not None]
    return min(known) if known else None
