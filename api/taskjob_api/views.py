"""A job as the API shows it: one shape, whether it lives in the cluster or only in history.

Both sources end in the core's values (`core.model.Job`), so there is one way from there to JSON. Instants are RFC 3339
in UTC, cut to milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from taskjob.core.model import Job
from taskjob.core.phases import PRIORITIES, Condition, FailureClass, Phase, PodPhase, Reason

PRIORITY_NAMES: Final[Mapping[int, str]] = {value: name for name, value in PRIORITIES.items()}


def rfc3339(at: datetime) -> str:
    """An instant as the API writes it: UTC with a Z; fractions of a second only where there are any."""
    in_utc = at.astimezone(UTC)
    text = in_utc.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{in_utc.microsecond // 1000:03}Z" if in_utc.microsecond >= 1000 else f"{text}Z"


Instant = Annotated[datetime, PlainSerializer(rfc3339, return_type=str, when_used="json")]


class View(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class DependencyView(View):
    """A job that this one waits for."""

    name: str = Field(description="The TaskJob's name, in the same namespace.", examples=["extract"])
    condition: Condition = Field(description="What it must come to.")


class AttemptView(View):
    """One attempt: one pod."""

    run: int = Field(description="The run that it belongs to, from 0.")
    attempt: int = Field(description="Its number within the run, from 1.")
    pod_name: str = Field(description="The pod's name.")
    pod_uid: str = Field(description="The pod's UID.")
    node_name: str | None = Field(description="The node that it was placed on.")
    phase: PodPhase = Field(description="The pod's phase.")
    created_at: Instant = Field(description="When the pod was created.")
    started_at: Instant | None = Field(description="When its container started.")
    finished_at: Instant | None = Field(description="When its container ended.")
    exit_code: int | None = Field(description="The container's exit code.")
    failure: FailureClass | None = Field(description="What kind of failure ended it.")
    message: str = Field(description="Why it failed, for people.")


class JobView(View):
    """A job, live or past."""

    id: str = Field(description="The TaskJob's UID.", examples=["6e0a3f5c-8b1c-4a59-9d63-0d1c6a2f4b77"])
    namespace: str = Field(examples=["default"])
    name: str = Field(examples=["train"])
    queue: str = Field(description="The TaskQueue that it is charged to.", examples=["default"])
    priority: str = Field(description="Critical, High, Normal or Low.", examples=["Normal"])
    phase: Phase
    reason: Reason = Field(description="Why, as one word for programs; for Pending: what it waits for.")
    message: str = Field(description="Why, as a sentence for people.")
    run: int = Field(description="Which run of the job, from 0.")
    attempt: int = Field(description="The current or last attempt, from 1; 0 before the first.")
    retries: int = Field(description="How many retries were used.")
    depends_on: list[DependencyView]
    labels: dict[str, str]
    created_at: Instant
    queued_at: Instant | None = Field(description="When it last became Pending.")
    admitted_at: Instant | None = Field(description="When its current or last attempt was admitted.")
    started_at: Instant | None = Field(description="When the container of its current or last attempt started.")
    finished_at: Instant | None = Field(description="When it came to its end.")
    not_before: Instant | None = Field(description="Backing off until then.")
    gone_at: Instant | None = Field(description="When the TaskJob left the cluster; null while it is there.")
    pod_name: str | None
    node_name: str | None
    exit_code: int | None


class JobDetail(JobView):
    """A job with its attempts."""

    attempts: list[AttemptView] | None = Field(
        description="Its attempts, oldest first, as history has them; null while history does not answer."
    )


class JobPage(View):
    """One page of a list."""

    items: list[JobView] = Field(description="Newest first.")
    next: str | None = Field(description="The cursor of the next page; null on the last.")


def fields_of(job: Job, gone_at: datetime | None = None) -> dict[str, Any]:
    """The fields of a `JobView`."""
    status = job.status
    queued_at = status.queued_at
    if queued_at is None and status.attempt == 0 and not status.phase.terminal:
        queued_at = job.created_at  # nobody has written its status yet
    return {
        "id": job.uid,
        "namespace": job.namespace,
        "name": job.name,
        "queue": job.queue,
        "priority": PRIORITY_NAMES.get(job.priority, str(job.priority)),
        "phase": status.phase,
        "reason": status.reason,
        "message": status.message,
        "run": status.run,
        "attempt": status.attempt,
        "retries": status.retries,
        "depends_on": [DependencyView.model_construct(name=d.name, condition=d.condition) for d in job.depends_on],
        "labels": dict(job.labels),
        "created_at": job.created_at,
        "queued_at": queued_at,
        "admitted_at": status.admitted_at,
        "started_at": status.started_at,
        "finished_at": status.finished_at,
        "not_before": status.not_before,
        "gone_at": gone_at,
        "pod_name": status.pod_name,
        "node_name": status.node_name,
        "exit_code": status.exit_code,
    }


def view(job: Job, gone_at: datetime | None = None) -> JobView:
    """A job for lists and streams."""
    return JobView.model_construct(**fields_of(job, gone_at))


def detail(job: Job, attempts: Iterable[AttemptView] | None, gone_at: datetime | None = None) -> JobDetail:
    """A job with its attempts; None: history does not answer."""
    shown = list(attempts) if attempts is not None else None
    return JobDetail.model_construct(**fields_of(job, gone_at), attempts=shown)
