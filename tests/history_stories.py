"""What happens to a job, as entries of history: `a_story("train", PENDING, STARTING, RUNNING)`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from builders import JobBuilder, a_job, a_pod, at
from taskjob.core.model import AttemptId, Entry, Job, Pod, Transition
from taskjob.core.phases import Phase, Reason
from taskjob.history.views import AttemptView, DependencyView, JobRow

if TYPE_CHECKING:  # the class cannot be subscripted at run time
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

REASONS = {
    Phase.PENDING: Reason.QUEUED,
    Phase.STARTING: Reason.LAUNCHED,
    Phase.RUNNING: Reason.STARTED,
    Phase.SUCCEEDED: Reason.COMPLETED,
    Phase.FAILED: Reason.ATTEMPT_FAILED,
    Phase.CANCELLED: Reason.CANCELLED_BY_USER,
    Phase.SKIPPED: Reason.DEPENDENCY_NOT_SATISFIED,
}


def transition(job: Job, before: Phase | None, after: Phase, n: int, pod: Pod | None = None) -> Transition:
    attempt = 0 if before is None or (before is Phase.PENDING and after is not Phase.STARTING) else 1
    return Transition(AttemptId(job.uid, 0, 0, attempt), before, after, n, at(n), REASONS[after], f"now {after}", pod)


def an_entry(job: Job, before: Phase | None, after: Phase, n: int, gone_at: datetime | None = None) -> Entry:
    """The job made one step, and stands where it led."""
    builder = a_pod(job)
    if after is Phase.RUNNING:
        builder = builder.running(n)
    elif after is Phase.SUCCEEDED:
        builder = builder.succeeded(n, n - 0.5)
    elif after is Phase.FAILED:
        builder = builder.failed(when=n, since=n - 0.5)
    pod = None if before is None or (before is Phase.PENDING and after is not Phase.STARTING) else builder.build()
    status = replace(
        job.status,
        phase=after,
        reason=REASONS[after],
        message=f"now {after}",
        transition=n,
        attempt=0 if pod is None else 1,
        pod_name=pod.name if pod else None,
        node_name=pod.node if pod else None,
        started_at=pod.started_at if pod else None,
        finished_at=at(n) if after.terminal else None,
        exit_code=pod.exit_code if pod else None,
        queued_at=job.created_at,
    )
    return Entry(replace(job, status=status), (transition(job, before, after, n, pod),), gone_at)


def a_story(job: str | JobBuilder, *phases: Phase) -> list[Entry]:
    """One entry a phase; the first one says that the TaskJob appeared."""
    known = (a_job(job) if isinstance(job, str) else job).build()
    steps = zip((None, *phases[:-1]), phases, strict=True)
    return [an_entry(known, before, after, n) for n, (before, after) in enumerate(steps, start=1)]


FULL = (Phase.PENDING, Phase.STARTING, Phase.RUNNING, Phase.SUCCEEDED)


async def keys(connection: Connection) -> list[tuple[Any, ...]]:
    """Of the transitions that history holds, in their order."""
    rows = await connection.fetch("SELECT uid, from_phase, to_phase, n FROM transitions ORDER BY seq")
    return [tuple(row) for row in rows]


def expected_keys(entries: list[Entry]) -> list[tuple[Any, ...]]:
    return [(e.job.uid, t.from_phase or "", t.to_phase, t.n) for e in entries for t in e.transitions]


def a_row(**fields: Any) -> JobRow:
    """A job as the reader gives it: running, but for these fields."""
    attempt = AttemptView(
        run=0, member=0, attempt=1, pod_name="p", pod_uid="u", node=None, pod_phase="Running", created_at=at(1),
        started_at=at(2), finished_at=None, exit_code=None, failure=None, message="",
    )  # fmt: skip
    known: dict[str, Any] = {
        "uid": "u", "namespace": "n", "name": "train", "labels": {"a": "b"}, "group": None, "queue": "q",
        "priority": 100, "depends_on": (DependencyView("x", "Failed"),), "created_at": at(0), "phase": "Running",
        "reason": "Started", "message": "m", "run": 0, "attempt": 1, "transition": 2, "retries": 0,
        "queued_at": at(0), "admitted_at": at(1), "started_at": at(2), "finished_at": None, "not_before": None,
        "pod_name": "p", "node_name": None, "exit_code": None, "gone_at": None, "updated_at": at(3),
        "requests": {"cpu": "500m"},
        "attempts": (attempt,),
    }  # fmt: skip
    return JobRow(**{**known, **fields})
