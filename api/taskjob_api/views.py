"""A job as the API shows it: one shape, whether it lives in the cluster or only in history.

The models say what an answer looks like and are what `/docs` shows; the JSON itself is made by `live` and `past`, which
a test holds to the models (a page of 500 jobs costs a tenth of what pydantic takes). Instants are RFC 3339 in UTC, cut
to milliseconds. Phases and reasons are text: a newer operator may have written a word that this release does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from taskjob.core.amounts import quantities
from taskjob.core.model import Dependency, Job
from taskjob.core.phases import PRIORITIES
from taskjob.history.reader import AttemptView as AttemptRow
from taskjob.history.reader import JobRow, TransitionView
from taskjob.history.views import DependencyView as DependencyRow
from taskjob.history.views import JobSummary

PRIORITY_NAMES: Final[Mapping[int, str]] = {value: name for name, value in PRIORITIES.items()}


def rfc3339(at: datetime) -> str:
    """An instant as the API writes it: UTC with a Z; fractions of a second only where there are any."""
    in_utc = at.astimezone(UTC)
    text = in_utc.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{in_utc.microsecond // 1000:03}Z" if in_utc.microsecond >= 1000 else f"{text}Z"


def _instant(at: datetime | None) -> str | None:
    return rfc3339(at) if at is not None else None


Instant = AwareDatetime


class View(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="forbid")


class DependencyView(View):
    """A job that this one waits for."""

    name: str = Field(description="The TaskJob's name, in the same namespace.", examples=["extract"])
    condition: str = Field(description="What it must come to: Succeeded, Failed or Finished.")


class AttemptView(View):
    """One attempt: one pod."""

    run: int = Field(description="The run that it belongs to, from 0.")
    attempt: int = Field(description="Its number within the run, from 1.")
    pod_name: str = Field(description="The pod's name.")
    pod_uid: str = Field(description="The pod's UID.")
    node_name: str | None = Field(description="The node that it was placed on.")
    phase: str = Field(description="The pod's phase: Pending, Running, Succeeded or Failed.")
    created_at: Instant = Field(description="When the pod was created.")
    started_at: Instant | None = Field(description="When its container started.")
    finished_at: Instant | None = Field(description="When its container ended.")
    exit_code: int | None = Field(description="The container's exit code.")
    failure: str | None = Field(description="What kind of failure ended it, such as ExitCode, OOMKilled or Timeout.")
    message: str = Field(description="Why it failed, for people.")


class JobBrief(View):
    """A job as it was after one transition: what a `TRANSITION` frame carries."""

    id: str = Field(description="The TaskJob's UID.", examples=["6e0a3f5c-8b1c-4a59-9d63-0d1c6a2f4b77"])
    namespace: str = Field(description="Its namespace.", examples=["default"])
    name: str = Field(description="Its name.", examples=["train"])
    queue: str = Field(description="The TaskQueue that it is charged to.", examples=["default"])
    priority: str = Field(description="Critical, High, Normal or Low, or a number on that scale.", examples=["Normal"])
    phase: str = Field(
        description="Pending, Starting, Running, Succeeded, Failed, Cancelled or Skipped.", examples=["Running"]
    )
    reason: str = Field(
        description="Why, as one word for programs; for Pending: what it waits for.", examples=["Started"]
    )
    message: str = Field(description="Why, as a sentence for people.")
    run: int = Field(description="Which run of the job, from 0.")
    attempt: int = Field(description="The current or last attempt, from 1; 0 before the first.")
    depends_on: list[DependencyView] = Field(description="The jobs that it waits for.")
    labels: dict[str, str] = Field(description="The TaskJob's labels.")
    created_at: Instant = Field(description="When the TaskJob was created.")


class JobView(JobBrief):
    """A job, live or past."""

    retries: int = Field(description="How many retries were used.")
    queued_at: Instant | None = Field(description="When it last became Pending.")
    admitted_at: Instant | None = Field(description="When its current or last attempt was admitted.")
    started_at: Instant | None = Field(description="When the container of its current or last attempt started.")
    finished_at: Instant | None = Field(description="When it came to its end.")
    not_before: Instant | None = Field(description="Backing off until then.")
    gone_at: Instant | None = Field(description="When the TaskJob left the cluster; null while it is there.")
    pod_name: str | None = Field(description="The pod of the current or last attempt.")
    node_name: str | None = Field(description="The node that it was placed on.")
    exit_code: int | None = Field(description="The exit code of the last attempt's container.")
    requests: dict[str, str] | None = Field(
        description="What its pod requests of each resource; null where history did not keep it.",
        examples=[{"cpu": "500m", "memory": "1Gi"}],
    )


class JobDetail(JobView):
    """A job with its attempts."""

    attempts: list[AttemptView] | None = Field(
        description="Its attempts, oldest first, as history has them; null while history does not answer."
    )


class JobPage(View):
    """One page of a list."""

    items: list[JobView] = Field(description="Newest first.")
    next: str | None = Field(description="The cursor of the next page; null on the last.")


_encode: Final = msgspec.json.Encoder().encode


def encode(answer: Mapping[str, Any]) -> bytes:
    """An answer as JSON."""
    return _encode(answer)


def live(job: Job, attempts: Sequence[AttemptRow] | None) -> dict[str, Any]:
    """A `JobDetail` of a TaskJob in the cluster; its attempts are history's, None while that does not answer."""
    status = job.status
    queued_at = status.queued_at
    if queued_at is None and status.attempt == 0 and not status.phase.terminal:
        queued_at = job.created_at  # nobody has written its status yet
    return {
        "id": job.uid,
        "namespace": job.namespace,
        "name": job.name,
        "queue": job.queue,
        "priority": _priority(job.priority),
        "phase": status.phase,
        "reason": status.reason,
        "message": status.message,
        "run": status.run,
        "attempt": status.attempt,
        "dependsOn": _dependencies(job.depends_on),
        "labels": dict(job.labels),
        "createdAt": rfc3339(job.created_at),
        "retries": status.retries,
        "queuedAt": _instant(queued_at),
        "admittedAt": _instant(status.admitted_at),
        "startedAt": _instant(status.started_at),
        "finishedAt": _instant(status.finished_at),
        "notBefore": _instant(status.not_before),
        "goneAt": None,
        "podName": status.pod_name,
        "nodeName": status.node_name,
        "exitCode": status.exit_code,
        "requests": quantities(job.request),
        "attempts": None if attempts is None else [_attempt(row) for row in attempts],
    }


def past(row: JobRow) -> dict[str, Any]:
    """A `JobView` of a job as history has it."""
    return {
        **_brief(row),
        "retries": row.retries,
        "queuedAt": _instant(row.queued_at),
        "admittedAt": _instant(row.admitted_at),
        "startedAt": _instant(row.started_at),
        "finishedAt": _instant(row.finished_at),
        "notBefore": _instant(row.not_before),
        "goneAt": _instant(row.gone_at),
        "podName": row.pod_name,
        "nodeName": row.node_name,
        "exitCode": row.exit_code,
        "requests": row.requests,
    }


def past_detail(row: JobRow) -> dict[str, Any]:
    """A `JobDetail` of a job as history has it."""
    return {**past(row), "attempts": [_attempt(attempt) for attempt in row.attempts]}


def transition_frame(told: TransitionView) -> str:
    """The frame of one transition."""
    job = told.job
    frame = {
        "type": "TRANSITION",
        "cursor": told.cursor,
        "at": rfc3339(told.at),
        "from": told.from_phase,
        "to": told.to_phase,
        "job": _brief(job),
    }
    return _encode(frame).decode()


def _brief(job: JobSummary) -> dict[str, Any]:
    return {
        "id": job.uid,
        "namespace": job.namespace,
        "name": job.name,
        "queue": job.queue,
        "priority": _priority(job.priority),
        "phase": job.phase,
        "reason": job.reason,
        "message": job.message,
        "run": job.run,
        "attempt": job.attempt,
        "dependsOn": _dependencies(job.depends_on),
        "labels": job.labels,
        "createdAt": rfc3339(job.created_at),
    }


def _priority(priority: int) -> str:
    return PRIORITY_NAMES.get(priority) or str(priority)


def _dependencies(found: Sequence[Dependency | DependencyRow]) -> list[dict[str, str]]:
    return [{"name": dependency.name, "condition": dependency.condition} for dependency in found]


def _attempt(row: AttemptRow) -> dict[str, Any]:
    return {
        "run": row.run,
        "attempt": row.attempt,
        "podName": row.pod_name,
        "podUid": row.pod_uid,
        "nodeName": row.node,
        "phase": row.pod_phase,
        "createdAt": rfc3339(row.created_at),
        "startedAt": _instant(row.started_at),
        "finishedAt": _instant(row.finished_at),
        "exitCode": row.exit_code,
        "failure": row.failure,
        "message": row.message,
    }
