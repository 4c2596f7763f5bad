"""Values of the core to rows of history and back. Pure.

Rows travel as JSON arrays of objects, which `json_to_recordset` reads: a third of the client's CPU of arrays
of columns, and less of the server's. The field names are the columns of `queries.sql`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from taskjob.core.amounts import quantities
from taskjob.core.model import (
    AttemptId,
    Dependency,
    Entry,
    Job,
    JobName,
    Namespace,
    Pod,
    PodTemplate,
    QueueName,
    Status,
    Transition,
    Uid,
)
from taskjob.core.phases import Condition, Phase, Reason
from taskjob.ports import OpenJob

GROUP_LABEL: Final = "taskjobs.dev/group"
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
NO_TEMPLATE: Final = PodTemplate(b"{}")


class Row(Protocol):
    """What a driver returns: values by column."""

    def __getitem__(self, column: str, /) -> Any:
        """The value of a column."""


class TransitionRow(msgspec.Struct, frozen=True, gc=False):
    """One row of `transitions`; '' stands for no `from_phase`, so that the unique key holds."""

    uid: str
    run: int
    member: int
    attempt: int
    from_phase: str
    to_phase: str
    n: int
    at: datetime
    reason: str
    message: str


class JobRecord(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One row of `jobs`; `transition` is the number that the row only moves forward by."""

    uid: str
    namespace: str
    name: str
    labels: dict[str, str]
    job_group: str | None
    queue: str
    priority: int
    depends_on: list[dict[str, str]]
    phase: str
    reason: str
    message: str
    run: int
    attempt: int
    retries: int
    transition: int
    created_at: datetime
    queued_at: datetime | None = None
    admitted_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    not_before: datetime | None = None
    pod_name: str | None = None
    node_name: str | None = None
    exit_code: int | None = None
    gone_at: datetime | None = None
    requests: Mapping[str, str] | None = None


class AttemptRow(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One row of `attempts`."""

    uid: str
    run: int
    member: int
    attempt: int
    pod_name: str
    pod_uid: str
    pod_phase: str
    created_at: datetime
    message: str
    node: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    failure: str | None = None


def transition_row(transition: Transition) -> TransitionRow:
    """A transition as its row."""
    uid, run, member, attempt = transition.attempt
    return TransitionRow(
        uid,
        run,
        member,
        attempt,
        transition.from_phase or "",
        transition.to_phase,
        transition.n,
        transition.at,
        transition.reason,
        transition.message,
    )


def number(entry: Entry) -> int:
    """The transition number that an entry's job row stands at."""
    n = entry.job.status.transition
    return max(n, entry.transitions[-1].n) if entry.transitions else n


def job_record(job: Job, transition: int, gone_at: datetime | None) -> JobRecord:
    """A job as its row."""
    status = job.status
    labels = dict(job.labels)
    return JobRecord(
        job.uid,
        job.namespace,
        job.name,
        labels,
        labels.get(GROUP_LABEL),
        job.queue,
        job.priority,
        [{"name": d.name, "condition": d.condition} for d in job.depends_on],
        status.phase,
        status.reason,
        status.message,
        status.run,
        status.attempt,
        status.retries,
        transition,
        job.created_at,
        status.queued_at,
        status.admitted_at,
        status.started_at,
        status.finished_at,
        status.not_before,
        status.pod_name,
        status.node_name,
        status.exit_code,
        gone_at,
        quantities(job.request) if job.request else None,  # of a job that only history knows it is there already
    )


def attempt_row(pod: Pod) -> AttemptRow:
    """An attempt's pod as its row."""
    uid, run, member, attempt = pod.attempt
    return AttemptRow(
        uid,
        run,
        member,
        attempt,
        pod.name,
        pod.uid,
        pod.phase,
        pod.created_at,
        pod.message,
        pod.node,
        pod.started_at,
        pod.finished_at,
        pod.exit_code,
        pod.failure,
    )


class Payload(msgspec.Struct, frozen=True):
    """One batch as the parameters of `flush`: transitions, jobs and attempts as JSON arrays."""

    transitions: str
    jobs: str
    attempts: str


_encode = msgspec.json.Encoder().encode


def payload(entries: Sequence[Entry]) -> Payload:
    """What a batch says, once per job and attempt: the last word wins, `gone_at` is never taken back.

    Raises ValueError, TypeError or OverflowError for what JSON or PostgreSQL cannot hold.
    """
    transitions: list[TransitionRow] = []
    jobs: dict[str, tuple[int, Job, datetime | None]] = {}
    attempts: dict[AttemptId, Pod] = {}
    for entry in entries:
        for transition in entry.transitions:
            transitions.append(transition_row(transition))
            if (pod := transition.pod) is not None:
                attempts[pod.attempt] = pod
        n, job, gone_at = number(entry), entry.job, entry.gone_at
        if (earlier := jobs.get(job.uid)) is not None:
            gone_at = earlier[2] or gone_at
            if earlier[0] > n:
                n, job = earlier[0], earlier[1]
        jobs[job.uid] = (n, job, gone_at)
    return Payload(
        _json(transitions),
        _json([job_record(job, n, gone_at) for n, job, gone_at in jobs.values()]),
        _json([attempt_row(pod) for pod in attempts.values()]),
    )


def _json(rows: list[TransitionRow] | list[JobRecord] | list[AttemptRow]) -> str:
    """JSON that PostgreSQL takes: it refuses NUL and lone surrogates, which are rare, so they cost only then."""
    try:
        encoded = _encode(rows)
    except UnicodeEncodeError:
        return _encode(clean(msgspec.to_builtins(rows))).decode()
    if b"\\u0000" in encoded:
        return _encode(clean(msgspec.to_builtins(rows))).decode()
    return encoded.decode()


def clean(value: Any) -> Any:
    """The same value with U+FFFD for what PostgreSQL's text cannot hold; surrogate pairs are joined."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(key): clean(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clean(item) for item in value]
    return value


def clean_text(text: str) -> str:
    """As `clean`, for one text."""
    if text.isascii():
        return text.replace("\x00", REPLACEMENT) if "\x00" in text else text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\x00", REPLACEMENT)


_labels = msgspec.json.Decoder(dict[str, str]).decode
_dependencies = msgspec.json.Decoder(list[dict[str, str]]).decode


def open_job(row: Row) -> OpenJob:
    """A row of `open_jobs`. Raises ValueError for words that this release does not know."""
    status = Status(
        phase=Phase(row["phase"]),
        reason=Reason(row["reason"]),
        message=row["message"],
        run=row["run"],
        attempt=row["attempt"],
        retries=row["retries"],
        transition=row["transition"],
        epoch=row["epoch"],
        queued_at=row["queued_at"],
        admitted_at=row["admitted_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        not_before=row["not_before"],
        pod_name=row["pod_name"],
        node_name=row["node_name"],
        exit_code=row["exit_code"],
    )
    job = Job(
        uid=Uid(row["uid"]),
        namespace=Namespace(row["namespace"]),
        name=JobName(row["name"]),
        version=0,
        generation=0,
        created_at=row["created_at"],
        queue=QueueName(row["queue"]),
        priority=row["priority"],
        request=(),
        template=NO_TEMPLATE,
        labels=tuple(_labels(row["labels"]).items()),
        depends_on=tuple(
            Dependency(JobName(d["name"]), Condition(d["condition"])) for d in _dependencies(row["depends_on"])
        ),
        status=status,
    )
    return OpenJob(job, row["transition"], status.phase.terminal)
