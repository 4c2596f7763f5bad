"""`GET /jobs/{job_id}/logs`: from the pod while it exists, from history afterwards; the caller need not know.

1. Which attempt, and the name of its pod: from the TaskJob, or from history's attempts.
2. The pod's own log, if the TaskJob is in the cluster; if there is no such pod any more,
3. history's. Of what runs for a while, history has more than the pod: it is followed, and the kubelet serves only its
   newest file. Then history comes first, and the pod's goes on behind it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from taskjob.core.model import PodTemplate
from taskjob.history.reader import HistoryReader
from taskjob.history.views import AttemptView, LogRow
from taskjob.kube.pods import MAIN_CONTAINER
from taskjob.ports import HistoryUnavailableError
from taskjob.rotation import ROTATED_BYTES
from taskjob_api.auth import Rights
from taskjob_api.cluster import CallersCluster, NoPodLog
from taskjob_api.jobs import Found
from taskjob_api.kept import as_text, contents, has_times, since
from taskjob_api.place import attempt_of
from taskjob_api.problems import FieldError, Kind, Problem, invalid, unavailable
from taskjob_api.reviews import to_read_logs
from taskjob_api.views import rfc3339

TAIL_MAX: Final = 1_000_000
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION: Final = re.compile(r"([0-9]{1,9})([smhd])")
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CONTAINER: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"


class _Container(msgspec.Struct):
    name: str


class _PodSpec(msgspec.Struct):
    containers: list[_Container] = []


class _Meta(msgspec.Struct):
    annotations: dict[str, str] | None = None


class _Template(msgspec.Struct):
    metadata: _Meta | None = None
    spec: _PodSpec | None = None


_decode_template: Final = msgspec.json.Decoder(_Template).decode


def meant_container(template: PodTemplate) -> str | None:
    """The container whose log is meant when none is named: the main one, as the operator and kubectl choose it."""
    try:
        found = _decode_template(template)
    except msgspec.MsgspecError:
        return None
    names = [container.name for container in found.spec.containers] if found.spec is not None else []
    chosen = (found.metadata.annotations or {}).get(MAIN_CONTAINER) if found.metadata is not None else None
    return chosen if chosen in names else next(iter(names), None)


class LogQuery(BaseModel):
    """Which log, and how much of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attempt: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        None, description="The attempt; absent: the current or last one."
    )
    run: Annotated[int, Field(ge=0, le=1_000_000)] | None = Field(
        None, description="The run, from 0: which `spec.rerun` began it; absent: the current or last one."
    )
    container: Annotated[str, Field(min_length=1, max_length=63, pattern=_CONTAINER)] | None = Field(
        None, description="The container; absent: the main one, which is the first unless an annotation names another."
    )
    follow: bool = Field(False, description="Go on until the attempt ends, as server-sent events.")
    encoding: Literal["text", "base64"] = Field(
        "text", description="With `follow`: `base64` sends each line's bytes as they are, its end included."
    )
    timestamps: bool = Field(False, description="Put the time before each line.")
    tail: Annotated[int, Field(ge=0, le=TAIL_MAX)] | None = Field(None, description="Only so many lines of the end.")
    since: Annotated[str, Field(min_length=2, max_length=40)] | None = Field(
        None, description="Only what was written since: an instant (RFC 3339), or a duration such as 10m."
    )

    def since_at(self, now: datetime) -> datetime | None:
        """The instant that `since` means. Raises `Problem`."""
        if self.since is None:
            return None
        if (found := _DURATION.fullmatch(self.since)) is not None:
            return now - timedelta(seconds=min(int(found[1]) * _UNITS[found[2]], 10**9))
        given = self.since.replace(" ", "+") if self.since[10:11] == "T" else self.since  # a + that was not encoded
        try:
            at = datetime.fromisoformat(given)
            if at.tzinfo is not None:
                return max(at.astimezone(UTC), _EARLIEST)
        except (ValueError, OverflowError):
            pass
        raise invalid("since", f"{self.since!r} is neither an RFC 3339 instant nor a duration such as 90s, 10m, 2h")


@dataclass(frozen=True, slots=True)
class Target:
    """One attempt of a job."""

    found: Found
    run: int
    attempt: int
    pod: str | None  # None: the TaskJob has left, or the pod's name is not known

    @property
    def name(self) -> str:
        """For people."""
        job = self.found.job or self.found.row
        return f"{job.namespace}/{job.name}, attempt {self.attempt}" if job is not None else ""


def target(found: Found, query: LogQuery) -> Target:
    """The attempt that is asked for. Raises `Problem`: 404 if there was none yet, saying what the job waits for."""
    job, row = found.job, found.row
    if job is not None:
        run, current, phase, reason, message = (
            job.status.run, job.status.attempt, str(job.status.phase), str(job.status.reason), job.status.message
        )  # fmt: skip
        pods = {(run, current): job.status.pod_name}
    else:
        assert row is not None  # noqa: S101 - see Found
        run, current, phase, reason, message, pods = row.run, row.attempt, row.phase, row.reason, row.message, {}
    if query.run is not None and query.run > run:
        raise Problem(
            Kind.NO_LOG,
            f"there is no run {query.run}: the last one so far is {run}",
            [FieldError(field="run", message=f"the last run so far is {run}")],
        )
    earlier = query.run is not None and query.run < run
    if query.run is not None and earlier:
        run, current = query.run, 0
    for known in row.attempts if row is not None else ():
        if known.run == run:
            current = max(current, known.attempt)
        pods.setdefault((known.run, known.attempt), known.pod_name)
    if current == 0 and earlier:
        raise Problem(Kind.NO_LOG, f"there is no log: run {run} had no attempt that history knows of")
    if current == 0:
        what = f"waits: {reason}" if phase == "Pending" else f"never started: {phase}, {reason}"
        raise Problem(Kind.NO_LOG, f"there is no log: the job {what}" + (f" ({message})" if message else ""))
    attempt = query.attempt or current
    if attempt > current:
        raise Problem(
            Kind.NO_LOG,
            f"there is no attempt {attempt}: the last one so far is {current}",
            [FieldError(field="attempt", message=f"the last attempt so far is {current}")],
        )
    return Target(found, run, attempt, pods.get((run, attempt)) if job is not None else None)


def taken_up(found: Found, query: LogQuery, identity: str) -> Target:
    """The same for whoever comes back with an event's id: the attempt that it is of, be the current one another by now,
    unless another is asked for or the job has had none like it. Raises `Problem`."""
    named = attempt_of(identity)
    if named is not None and query.run in (None, named[0]) and query.attempt in (None, named[1]):
        try:
            return target(found, query.model_copy(update={"run": named[0], "attempt": named[1]}))
        except Problem as problem:
            if not found.history_answers:
                raise unavailable(f"history does not answer, which knows of run {named[0]}") from problem
    return target(found, query)


class LiveLog:
    """A pod's log that was opened: iterate it once, or close it."""

    def __init__(self, chunks: AsyncIterator[bytes], stack: AsyncExitStack) -> None:
        self._chunks = chunks
        self._stack = stack

    async def chunks(self) -> AsyncIterator[bytes]:
        """What the container wrote, as it comes; closes it in the end."""
        async with self._stack:
            async for chunk in self._chunks:
                yield chunk

    async def close(self) -> None:
        """Without having read it."""
        await self._stack.aclose()


class Logs:
    """Both sources of logs, for one caller: who may read a pod's log may read the one that was kept of it."""

    def __init__(self, cluster: CallersCluster, reader: HistoryReader, rights: Rights) -> None:
        self._cluster = cluster
        self._reader = reader
        self._rights = rights

    async def open(
        self,
        of: Target,
        query: LogQuery,
        since: str | None,
        *,
        follow: bool = False,
        timestamps: bool = False,
        again: bool = False,
    ) -> LiveLog | NoPodLog:
        """The pod's own log; `again`: a part was read already, and `tail` with it. Raises `Problem`."""
        job = of.found.job
        if job is None or of.pod is None:
            return NoPodLog("the pod is gone", waiting=False)
        wanted: dict[str, str] = {}
        if query.container is not None:
            wanted["container"] = query.container
        elif (meant := meant_container(job.template)) is not None:
            wanted["container"] = meant
        if query.tail is not None and not again:
            wanted["tailLines"] = str(query.tail)
        if since is not None:
            wanted["sinceTime"] = since
        if timestamps:
            wanted["timestamps"] = "true"
        stack = AsyncExitStack()
        try:
            opened = await stack.enter_async_context(self._cluster.log(job.namespace, of.pod, wanted, follow=follow))
        except BaseException:
            await stack.aclose()
            raise
        if isinstance(opened, NoPodLog):
            await stack.aclose()
            return opened
        return LiveLog(opened, stack)

    async def kept(self, of: Target, query: LogQuery) -> LogRow | None:
        """History's log of the attempt. Raises `HistoryUnavailableError`, and `Problem` if the caller may not."""
        job = of.found.job or of.found.row
        assert job is not None  # noqa: S101 - see Found
        await self._rights.require(to_read_logs(job.namespace))
        container = query.container
        if container is None and of.found.job is not None:
            # Logs that earlier releases kept do not say which is the main one; the template does.
            container = meant_container(of.found.job.template)
        log = await self._reader.logs(job.uid, of.attempt, container, of.run)
        if log is None and query.container is None:
            log = await self._reader.logs(job.uid, of.attempt, None, of.run)
        return log

    async def known(self, of: Target, query: LogQuery) -> LogRow | None:
        """What history has of a log, if anything. It may be away: then the pod's own log has to do. Who may not read it
        is told so by the API server, when the pod's is opened."""
        try:
            return await self.kept(of, query)
        except (HistoryUnavailableError, Problem):
            return None

    async def followed(self, of: Target, query: LogQuery) -> LogRow | None:
        """The same, of a log of which the pod may have another part: its container may still write, or the kubelet may
        have begun a new file."""
        if of.found.job is None or query.tail is not None:
            return None
        row = await self.known(of, query)
        return row if row is not None and (not row.complete or row.size >= ROTATED_BYTES) else None

    async def missing(self, of: Target, query: LogQuery, pod: NoPodLog) -> Problem:
        """Why there is no log."""
        if pod.waiting:
            return Problem(Kind.NO_LOG, f"{of.name}: the container has not started yet ({pod.message})")
        job = of.found.job or of.found.row
        if query.container is not None and job is not None:
            try:
                other = await self._reader.logs(job.uid, of.attempt, None, of.run)
            except HistoryUnavailableError:
                other = None
            if other is not None:
                message = f"no log of a container {query.container!r} was kept; there is one of {other.container!r}"
                return Problem(Kind.NO_LOG, f"{of.name}: {message}", [FieldError(field="container", message=message)])
        return Problem(Kind.NO_LOG, f"{of.name}: its pod is gone, and no log of it was kept")


def shown(row: LogRow, query: LogQuery, second: str | None, ended_at: datetime | None) -> bytes:
    """A kept log as text, cut to what was asked for. One without times is given whole if it ended after `since`."""
    if not has_times(row) and second is not None and ended_at is not None and rfc3339(ended_at) < second:
        return b""
    body = b"".join(as_text(since(contents(row), second), timestamps=query.timestamps))
    return last_lines(body, query.tail) if query.tail is not None else body


def of_history(of: Target) -> AttemptView | None:
    """The attempt as history knows it."""
    attempts = of.found.row.attempts if of.found.row is not None else ()
    return next((known for known in attempts if (known.run, known.attempt) == (of.run, of.attempt)), None)


def ended_at(of: Target) -> datetime | None:
    """When the attempt ended, as history knows it."""
    known = of_history(of)
    return known.finished_at if known is not None else None


def started_at(of: Target, container: str | None) -> datetime | None:
    """When that container started; known of the main one only."""
    job = of.found.job
    if job is None or container not in (None, meant_container(job.template)):
        return None
    known, status = of_history(of), job.status
    if known is not None and known.started_at is not None:
        return known.started_at
    return status.started_at if (status.run, status.attempt) == (of.run, of.attempt) else None


def last_lines(body: bytes, lines: int) -> bytes:
    """The last lines; a last one without a line end counts."""
    if lines == 0:
        return b""
    end = len(body) - 1 if body.endswith(b"\n") else len(body)
    for _ in range(lines):
        end = body.rfind(b"\n", 0, end)
        if end < 0:
            return body
    return body[end + 1 :]
