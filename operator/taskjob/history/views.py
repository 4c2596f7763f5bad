"""What the API reads from history: filters in, frozen rows out. Words of phases and reasons stay text, so that rows
of a newer release can be shown by an older one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from taskjob.history.rows import Row, clean_text
from taskjob.ports import LogGap


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs; everything that is given must hold. The default lets all pass."""

    namespaces: Sequence[str] | None = None  # None: all; an empty sequence: none
    phases: Sequence[str] | None = None  # of a transition: the phase that it led to
    queue: str | None = None
    priority: int | None = None
    group: str | None = None  # the label taskjobs.dev/group
    labels: Mapping[str, str] = field(default_factory=dict)  # all of these pairs
    name_prefix: str | None = None
    created_after: datetime | None = None  # that instant included
    created_before: datetime | None = None  # that instant not included
    uid: str | None = None


class DependencyView(msgspec.Struct, frozen=True):
    """One edge."""

    name: str
    condition: str


class JobSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it was after one transition."""

    uid: str
    namespace: str
    name: str
    labels: dict[str, str]
    group: str | None
    queue: str
    priority: int
    depends_on: tuple[DependencyView, ...]
    created_at: datetime
    phase: str
    reason: str
    message: str
    run: int
    attempt: int
    transition: int


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt's pod. `failure` is a word of `FailureClass`."""

    run: int
    member: int
    attempt: int
    pod_name: str
    pod_uid: str
    node: str | None
    pod_phase: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    exit_code: int | None
    failure: str | None
    message: str


class JobRow(JobSummary, frozen=True, kw_only=True):
    """A job as last recorded. `attempts` is filled by `HistoryReader.job` only."""

    retries: int
    queued_at: datetime | None
    admitted_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    not_before: datetime | None
    pod_name: str | None
    node_name: str | None
    exit_code: int | None
    gone_at: datetime | None
    requests: dict[str, str] | None  # quantities; None in rows of a release that did not keep them
    updated_at: datetime
    attempts: tuple[AttemptView, ...] = ()


class TransitionView(msgspec.Struct, frozen=True, kw_only=True):
    """One frame of the stream; `cursor` continues after it. `from_phase` is None when the TaskJob appeared."""

    cursor: str
    at: datetime
    from_phase: str | None
    to_phase: str
    job: JobSummary


class LogPart(NamedTuple):
    """A part of a log, from chunk `n`; `times` are those of the lines that begin in it, empty if not known."""

    n: int
    body: bytes
    times: bytes


class LogRow(msgspec.Struct, frozen=True, kw_only=True):
    """The log of one container; `cut_bytes` were left out of the middle of `size`.

    Chunks from `head` up to `tail` are what was left out. `resume` says where the reading of one that is not
    `complete` stands (`<time> <number of that time> <bytes of that line>`).
    """

    run: int
    member: int
    attempt: int
    container: str
    parts: tuple[LogPart, ...]
    size: int
    cut_bytes: int
    note: str
    captured_at: datetime
    main: bool
    complete: bool
    head: int
    tail: int
    gaps: tuple[LogGap, ...]
    resume: str

    @property
    def body(self) -> bytes:
        """All that is kept, in one piece."""
        return b"".join(part.body for part in self.parts)


class Page(NamedTuple):
    """Some jobs, and the cursor for those after them, None at the end."""

    items: tuple[JobRow, ...]
    next: str | None


class Changes(NamedTuple):
    """Transitions, the cursor to go on from, and whether more are there already (ask again at once)."""

    rows: tuple[TransitionView, ...]
    cursor: str
    more: bool


_encode = msgspec.json.Encoder().encode
_labels = msgspec.json.Decoder(dict[str, str]).decode
_dependencies = msgspec.json.Decoder(tuple[DependencyView, ...]).decode


def filter_arguments(wanted: JobFilter, namespace: str | None = None, phase: str | None = None) -> list[Any]:
    """`$1` to `$10` of the fragment `job_filter`, with one namespace and one phase instead of the filter's several.

    What PostgreSQL's text cannot hold is replaced and matches nothing.
    """
    labels = {clean_text(key): clean_text(value) for key, value in wanted.labels.items()}
    return [
        namespace,
        phase,
        _text(wanted.queue),
        wanted.priority,
        _text(wanted.group),
        _encode(labels).decode() if labels else None,
        _text(wanted.name_prefix) or None,
        wanted.created_after,
        wanted.created_before,
        _text(wanted.uid),
    ]


def texts(values: Sequence[str] | None) -> list[str] | None:
    """Each once, in a form that PostgreSQL takes."""
    return None if values is None else sorted({clean_text(value) for value in values})


def _text(value: str | None) -> str | None:
    return None if value is None else clean_text(value)


def job_row(row: Row, attempts: tuple[AttemptView, ...] = ()) -> JobRow:
    """A row of the fragment `job_columns`."""
    return JobRow(
        **_static(row),
        phase=row["phase"],
        reason=row["reason"],
        message=row["message"],
        run=row["run"],
        attempt=row["attempt"],
        transition=row["transition"],
        retries=row["retries"],
        queued_at=row["queued_at"],
        admitted_at=row["admitted_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        not_before=row["not_before"],
        pod_name=row["pod_name"],
        node_name=row["node_name"],
        exit_code=row["exit_code"],
        gone_at=row["gone_at"],
        requests=_labels(row["requests"]) if row["requests"] is not None else None,
        updated_at=row["updated_at"],
        attempts=attempts,
    )


def transition_view(row: Row, cursor: str) -> TransitionView:
    """A row of `transitions_after`."""
    summary = JobSummary(
        **_static(row),
        phase=row["to_phase"],
        reason=row["reason"],
        message=row["message"],
        run=row["run"],
        attempt=row["attempt"],
        transition=row["n"],
    )
    return TransitionView(
        cursor=cursor,
        at=row["at"],
        from_phase=row["from_phase"] or None,
        to_phase=row["to_phase"],
        job=summary,
    )


def _static(row: Row) -> dict[str, Any]:
    return {
        "uid": row["uid"],
        "namespace": row["namespace"],
        "name": row["name"],
        "labels": _labels(row["labels"]),
        "group": row["job_group"],
        "queue": row["queue"],
        "priority": row["priority"],
        "depends_on": _dependencies(row["depends_on"]),
        "created_at": row["created_at"],
    }
