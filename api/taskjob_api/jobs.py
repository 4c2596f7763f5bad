"""The jobs themselves: created, listed, read, changed.

A live object comes from the cluster, so that a client reads at once what it wrote; one that has left comes from
history. The API server cannot be asked by UID: which name a UID has is remembered here for what this process has
created or seen, and known to history for the rest.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any, Final

from taskjob.core.model import Job
from taskjob.core.phases import Phase
from taskjob.history.reader import HistoryReader, JobRow
from taskjob.kube.pods import GROUP_LABEL
from taskjob.ports import HistoryUnavailableError
from taskjob_api.auth import Rights
from taskjob_api.bodies import Submission
from taskjob_api.cluster import CallersCluster
from taskjob_api.filters import ListQuery
from taskjob_api.hub import Hub
from taskjob_api.problems import FieldError, Kind, Problem
from taskjob_api.reviews import Right
from taskjob_api.views import live, past, past_detail
from taskjob_api.wishes import GroupQuery, Wish, all_of

HISTORY_LAG_SECONDS: Final = 0.4
"""How long to wait for history to hear of a job before it is said not to exist; a flush takes 100 ms."""


class _ForeignError(Exception):
    """The caller may not read the job."""


@dataclass(frozen=True, slots=True)
class Found:
    """A job: the TaskJob if it is in the cluster, and its row if history has one. At least one is there."""

    job: Job | None
    row: JobRow | None
    history_answers: bool = True

    @property
    def answer(self) -> dict[str, Any]:
        """As a `JobDetail`."""
        if self.job is not None:
            known = self.row.attempts if self.row is not None else ()
            return live(self.job, known if self.history_answers else None)
        assert self.row is not None  # noqa: S101 - see the class
        return past_detail(self.row)


class Names:
    """Which name a UID has, of the last jobs that were seen here."""

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._known: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def get(self, uid: str) -> tuple[str, str] | None:
        """Namespace and name."""
        return self._known.get(uid)

    def remember(self, uid: str, namespace: str, name: str) -> None:
        """It has that name, for good."""
        self._known[uid] = (namespace, name)
        self._known.move_to_end(uid)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)


class Jobs:
    """What the routes ask for, for one caller. A job that the caller may not read is one that is not there.

    Raises `Problem`; `HistoryUnavailableError` passes where history alone could answer.
    """

    def __init__(
        self, cluster: CallersCluster, reader: HistoryReader, hub: Hub, *, names: Names, rights: Rights
    ) -> None:
        self.cluster = cluster
        self.reader = reader
        self._hub = hub
        self._names = names
        self._rights = rights

    async def create(self, wanted: Submission) -> dict[str, Any]:
        """Create the TaskJob."""
        job = await self.cluster.create(wanted)
        self._names.remember(job.uid, job.namespace, job.name)
        return live(job, ())

    async def page(self, query: ListQuery) -> dict[str, Any]:
        """A `JobPage`, of the namespaces whose TaskJobs the caller may list."""
        scope = await self._rights.scope("list", query.namespace)
        wanted = query.filter() if scope is None else replace(query.filter(), namespaces=sorted(scope))
        try:
            page = await self.reader.jobs(wanted, query.limit, query.cursor)
        except ValueError as error:  # `CursorUnknownError`, or a text in it that PostgreSQL does not take
            if query.cursor is None:
                raise
            raise Problem(
                Kind.BAD_CURSOR, f"cursor: {error}", [FieldError(field="cursor", message=str(error))]
            ) from None
        for row in page.items:
            if row.gone_at is None:
                self._names.remember(row.uid, row.namespace, row.name)
        return {"items": [past(row) for row in page.items], "next": page.next}

    async def find(self, uid: str) -> Found:
        """The job of that UID. Raises `Problem`: 404 if nobody knows it, or the caller may not.

        Of a TaskJob in the cluster the API server says whether the caller may read it, of one that has left we ask.
        """
        deadline = time.monotonic() + HISTORY_LAG_SECONDS
        await self._rights.user()
        try:
            return await self._find(uid, deadline)
        except _ForeignError:
            # No sooner than for a job that does not exist: else the time would tell them apart.
            await asyncio.sleep(deadline - time.monotonic())
            raise _unknown(uid) from None

    async def _find(self, uid: str, deadline: float) -> Found:
        if (name := self._names.get(uid)) is not None:
            job, row = await asyncio.gather(self._read(*name, uid), self.reader.job(uid), return_exceptions=True)
            history_answers = not isinstance(row, HistoryUnavailableError)
            if isinstance(row, BaseException):
                if history_answers:
                    raise row
                if job is None:
                    raise row
                row = None
            if isinstance(job, BaseException):
                raise job
            if job is not None:
                return Found(job, row, history_answers)
        else:
            row = await self._row(uid, deadline)
            if row is not None and row.gone_at is None:
                job = await self._read(row.namespace, row.name, uid)
                if job is not None:
                    self._names.remember(uid, row.namespace, row.name)
                    return Found(job, row)
        if row is None:
            raise _unknown(uid)
        if not await self._rights.may(Right("get", row.namespace)):
            raise _ForeignError
        return Found(None, row)

    async def _read(self, namespace: str, name: str, uid: str) -> Job | None:
        try:
            return await self.cluster.read(namespace, name, uid)
        except Problem as problem:
            if problem.kind is Kind.FORBIDDEN and not self._rights.unlimited:
                raise _ForeignError from None
            raise

    async def tell(self, uid: str, wish: Wish) -> dict[str, Any]:
        """Cancel it, say. Raises `Problem`: 409 once it has finished (of a rerun: has left)."""
        found = await self.find(uid)
        if found.job is not None:
            job = await self.cluster.tell(found.job, wish)
            if job is not None:
                return Found(job, found.row, found.history_answers).answer
        row = found.row or await self._row(uid, time.monotonic() + HISTORY_LAG_SECONDS)
        if row is None:
            raise _unknown(uid)
        ended = f"it is {row.phase}, and was removed" if is_terminal(row.phase) else "it was deleted"
        raise Problem(Kind.FINISHED, f"{row.namespace}/{row.name} cannot be changed any more: {ended}")

    async def tell_group(self, group: str, wish: Wish, query: GroupQuery) -> dict[str, Any]:
        """A `GroupAnswer`. Raises `Problem`: 404 if no TaskJob of the namespace is of that group."""
        await self._rights.user()
        jobs, following = await self.cluster.group(query.namespace, group, query.limit, query.cursor)
        if not jobs and query.cursor is None:
            message = f'no TaskJob of namespace "{query.namespace}" has the label {GROUP_LABEL}={group}'
            raise Problem(Kind.NOT_FOUND, message, [FieldError(field="group", message="no such group there")])
        for job in jobs:
            self._names.remember(job.uid, job.namespace, job.name)
        items, unchanged = await all_of(jobs, wish, query.phase, self.cluster.tell)
        return {"items": items, "unchanged": unchanged, "next": following}

    async def _row(self, uid: str, deadline: float) -> JobRow | None:
        """History's row; a job that history has not heard of yet is waited for, a moment."""
        while True:
            grown = self._hub.grown  # taken before the look, so that nothing falls between
            if (row := await self.reader.job(uid)) is not None:
                return row
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    await grown.wait()
            except TimeoutError:
                return None


def is_terminal(phase: str) -> bool:
    """Whether a job in this phase has come to its end."""
    return phase in {Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.SKIPPED}


def _unknown(uid: str) -> Problem:
    return Problem(
        Kind.NOT_FOUND,
        f"there is no job with the id {uid}: ids are UIDs of TaskJobs; GET /jobs/?name=... finds jobs by name",
        [FieldError(field="job_id", message="no such job")],
    )
