"""What an attempt failed of, as the status and its pod tell, and what the job's rules make of that."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final, NamedTuple

from taskjob.core.deadlines import STOP_SLACK
from taskjob.core.defaults import field_of
from taskjob.core.model import Job, Pod, Status
from taskjob.core.phases import FailureClass, Reason
from taskjob.core.retry import Verdict, judge

_TOOK_IT_AWAY = (FailureClass.EVICTED, FailureClass.NODE_LOST)
_TOLD: Final = re.compile(r"attempt [0-9]+ failed \(([A-Za-z]+)\): ")


class Judged(NamedTuple):
    """A failure with a sentence for people, and what follows it."""

    failure: FailureClass
    sentence: str
    verdict: Verdict


def judged(job: Job, pod: Pod | None, gone: bool, ended: Status) -> Judged:
    """What the attempt failed of and what follows; `ended` is the status with its exit code."""
    failure = failure_of(job, pod, gone)
    verdict = judge(job.retrying, failure, ended.exit_code, pod.container if pod is not None else "")
    return Judged(failure, _sentence(job, pod, gone, failure), verdict)


def told(attempt: int, failure: FailureClass, sentence: str) -> str:
    """As a status tells of it; `told_of` reads it again."""
    return f"attempt {attempt} failed ({failure}): {sentence}"


def told_of(status: Status, pod: Pod | None) -> FailureClass | None:
    """What the attempt that this status has ended failed of: the pod alone does not know why it was stopped. Only where
    the status has gone on to tell something else is it asked."""
    if status.reason in (Reason.PREEMPTED, Reason.QUEUE_HELD):
        return FailureClass.PREEMPTED
    if status.reason in (Reason.SUSPENDED, Reason.CANCELLED_BY_USER):
        return None
    if (found := _TOLD.match(status.message)) is not None:
        return FailureClass(found[1])
    return pod.failure if pod is not None else None


def failure_of(job: Job, pod: Pod | None, gone: bool) -> FailureClass:
    """The class: why it was stopped, else what its pod says; a pod that is not gone and has not ended lost its node."""
    stopping = job.status.stopping
    stopped = stopping.failure if stopping is not None else None
    if stopped is not None:
        return stopped
    if pod is None:
        return FailureClass.POD_DELETED
    if pod.failure is None:
        if not gone:
            return FailureClass.NODE_LOST
        # It is gone before it told its end: what was about to end it did.
        return pod.trouble if pod.trouble in _TOOK_IT_AWAY else FailureClass.POD_DELETED
    return pod.failure


def _sentence(job: Job, pod: Pod | None, gone: bool, failure: FailureClass) -> str:
    if failure is FailureClass.TIMEOUT and job.timeout_seconds is not None:
        return timeout_message(job)
    stopping = job.status.stopping
    if stopping is not None and stopping.failure is failure:
        return job.status.message  # as it was when it was told to stop
    if pod is None or (pod.failure is None and failure is FailureClass.POD_DELETED):
        return "its pod was deleted before its end was seen"
    if pod.failure is None and not gone:
        return no_answer_message(pod)
    return pod.message or "its pod failed"


def timeout_message(job: Job) -> str:
    """That it took too long."""
    return f"it ran longer than {job.timeout_seconds} s ({field_of(job, 'timeout_seconds')})"


def lost_at(pod: Pod) -> datetime | None:
    """When a pod that is being deleted should have been gone for a while, so that its node is known not to answer."""
    if pod.gone_by is None or pod.node is None or pod.phase.ended:
        return None
    return pod.gone_by + STOP_SLACK


def is_lost(pod: Pod, now: datetime) -> bool:
    """Whether the pod's node does not answer; the pod may still run there."""
    at = lost_at(pod)
    return at is not None and now >= at


def no_answer_message(pod: Pod) -> str:
    """That the pod's node does not confirm its end, and what to do."""
    return (
        f'node "{pod.node}" does not confirm the end of pod {pod.name}, which may still run there: it counts as '
        "running until the node is back, is removed, or has the taint node.kubernetes.io/out-of-service"
    )
