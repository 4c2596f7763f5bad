"""What the life of one job is decided from: the job, its latest pod, and what the rest of the state has against it.

Collected by `state`, read by `lifecycle` and `pending`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from taskjob.core.dependencies import Edge
from taskjob.core.model import Job, Pod
from taskjob.core.phases import Stopping
from taskjob.core.values import value


@value
@dataclass(frozen=True, slots=True)
class Block:
    """What dependencies have against a job: still waited for, or never to be met (a cycle is that too)."""

    edge: Edge
    message: str
    cycle: bool = False


@value
@dataclass(frozen=True, slots=True)
class Refusal:
    """The API server refused the job's pod; or, not `asked` for it, would have kept it waiting behind others."""

    message: str
    until: datetime
    asked: bool = True


@value
@dataclass(frozen=True, slots=True)
class Eviction:
    """The system wants the attempt under way to end, though neither the job nor its user asks for it."""

    stopping: Stopping  # one of `EVICTIONS`
    message: str  # for whom or why, as the status and history tell it


@value
@dataclass(frozen=True, slots=True)
class Facts:
    """All that decides about one job. `pod` is the latest attempt's, as last seen, be it gone or not."""

    job: Job
    pod: Pod | None = None
    pod_gone: bool = False
    launching: bool = False  # a create is under way: its answer comes first
    occupied: bool = False  # some other pod of this job is not yet ended
    end_asked_at: datetime | None = None  # when the pod was told to end
    hangs_since: datetime | None = None  # since when the pod is kept from starting
    block: Block | None = None
    refusal: Refusal | None = None
    eviction: Eviction | None = None
    ready_at: datetime | None = None  # when its last dependency ended; known where a timeout of waiting counts
    recorded: bool = True  # history holds what the status shows
    begun_at: datetime | None = None  # since when this operator decides


def under_way(job: Job, pod: Pod | None) -> bool:
    """Whether an attempt has begun whose end the status does not show yet."""
    status = job.status
    if status.phase.terminal:
        return False
    return status.phase.active or (
        pod is not None and (pod.attempt.run, pod.attempt.attempt) > (status.run, status.attempt)
    )
