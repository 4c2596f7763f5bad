"""History as the API reads it: lists by keyset, one job, its logs, and the stream of transitions.

Reads only, but for the API's tickets. Every call is bounded in time and tried a second time when the connection was
lost meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, Self

import asyncpg

from taskjob.history.connection import LOST, UNREACHABLE, Address, Limits
from taskjob.history.cursors import (
    CursorUnknownError,
    Place,
    Position,
    age_key,
    read_place,
    read_position,
    write_place,
    write_position,
)
from taskjob.history.log_rows import gaps, unpack
from taskjob.history.rows import clean_text
from taskjob.history.statements import SQL
from taskjob.history.views import (
    AttemptView,
    Changes,
    JobFilter,
    JobRow,
    LogPart,
    LogRow,
    Page,
    TransitionView,
    filter_arguments,
    job_row,
    texts,
    transition_view,
)
from taskjob.ports import HistoryUnavailableError

__all__ = [
    "AttemptView",
    "Changes",
    "CursorUnknownError",
    "HistoryReader",
    "JobFilter",
    "JobRow",
    "LogRow",
    "Page",
    "TransitionView",
]

logger = logging.getLogger(__name__)

CHANNEL: Final = "taskjobs_history"
_WINDOW: Final = 1000  # transitions looked through by one statement
_WINDOWS: Final = 20  # by one call of transitions_after: it stays bounded however few pass the filter
_UNPACK_ASIDE_BYTES: Final = 65_536
_KEEPALIVE_SECONDS: Final = 15.0
_RECONNECT_SECONDS: Final = (0.1, 5.0)


def page_query(wanted: JobFilter, place: Place | None, limit: int) -> tuple[str, list[Any]]:
    """The statement that reads a page along the index that fits, and its parameters."""
    namespaces, phases = texts(wanted.namespaces), texts(wanted.phases)
    # A single value is a filter like any other; several are read one by one and merged.
    namespace = namespaces[0] if namespaces is not None and len(namespaces) == 1 else None
    phase = phases[0] if phases is not None and len(phases) == 1 else None
    several = [(name, values) for name, values, single in (("namespaces", namespaces, namespace),
               ("phases", phases, phase)) if values is not None and single is None]  # fmt: skip
    keys = (namespace, phase, wanted.queue, wanted.priority, wanted.group)
    filters = filter_arguments(wanted, namespace, phase)
    if not several and all(key is None for key in keys):
        return "jobs_page", [*filters, *(place or (None, None)), limit]
    after = (None, None) if place is None else (age_key(place.created_at), place.uid)
    name = "jobs_page_of_" + "_and_".join(name for name, _ in several) if several else "jobs_page_by_key"
    return name, [*filters, *after, limit, *(values for _, values in several)]


def transitions_query(wanted: JobFilter, seq: int, window: int) -> list[Any]:
    """The parameters of `transitions_after`."""
    return [*filter_arguments(wanted), seq, window, texts(wanted.namespaces), texts(wanted.phases)]


def _unpacked(packed: Sequence[tuple[int, bytes, bytes]]) -> tuple[LogPart, ...]:
    return tuple(LogPart(n, unpack(body), unpack(times)) for n, body, times in packed)


class HistoryReader:
    """A pool of connections to history; `async with HistoryReader(url) as reader`. Starting it needs no server.

    Every method raises `HistoryUnavailableError` when PostgreSQL does not answer in time, and `ValueError` for a value
    that no column could hold (an attempt of 2**40, say).
    """

    def __init__(self, url: str, *, size: int = 8, limits: Limits | None = None) -> None:
        self._address = Address(url, limits or Limits(statement=10))
        self._size = size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def __aenter__(self) -> Self:
        self._pool = await self._address.pool("taskjobs-api", self._size)
        return self

    async def __aexit__(self, *error: object) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(5):
                    await pool.close()
            except UNREACHABLE:
                pool.terminate()

    async def ping(self) -> None:
        """Whether history can be read."""
        await self._fetch("looking whether it is there", "head")

    async def jobs(self, wanted: JobFilter, limit: int, cursor: str | None = None) -> Page:
        """A page, newest first. Raises `CursorUnknownError` for a cursor that is none of ours."""
        name, arguments = page_query(wanted, None if cursor is None else read_place(cursor), limit + 1)
        found = await self._fetch("listing jobs", name, *arguments)
        items = tuple(job_row(row) for row in found[:limit])
        following = len(found) > limit and items
        return Page(items, write_place(Place(items[-1].created_at, items[-1].uid)) if following else None)

    async def namespaces(self, limit: int) -> list[str]:
        """Those that have or had TaskJobs, the first so many by name."""
        return [row["namespace"] for row in await self._fetch("listing namespaces", "namespaces", limit)]

    async def job(self, uid: str) -> JobRow | None:
        """A job with its attempts, or None."""
        uid = clean_text(uid)
        found = await self._fetch("reading a job", "job", uid)
        if not found:
            return None
        attempts = await self._fetch("reading attempts", "attempts", uid)
        return job_row(found[0], tuple(AttemptView(**row) for row in attempts))

    async def logs(
        self, uid: str, attempt: int | None = None, container: str | None = None, run: int | None = None
    ) -> LogRow | None:
        """The log of one container; by default of the last attempt, of its main container."""
        uid, container = clean_text(uid), None if container is None else clean_text(container)
        found = await self._fetch("reading a log", "log", uid, run, attempt, container)
        if not found:
            return None
        fields = dict(found[0])
        last = (fields.pop("number"), fields.pop("body"), fields.pop("times"))
        numbers, bodies, lines = (fields.pop(name) or () for name in ("numbers", "bodies", "lines"))
        packed = [*zip(numbers, bodies, lines, strict=True), last]
        aside = sum(len(body) + len(times) for _, body, times in packed) > _UNPACK_ASIDE_BYTES
        parts = await asyncio.to_thread(_unpacked, packed) if aside else _unpacked(packed)
        return LogRow(parts=parts, gaps=gaps(fields.pop("gaps")), **fields)

    async def containers(self, uid: str, run: int, attempt: int) -> list[str]:
        """Those of an attempt of which there is a log, the main one first."""
        found = await self._fetch("reading a log", "log_containers", clean_text(uid), run, attempt)
        return [row["container"] for row in found]

    async def head(self) -> str:
        """The cursor of now: what comes after it is new."""
        [row] = await self._fetch("reading the head", "head")
        return write_position(Position(row["incarnation"], row["head"]))

    async def transitions_after(self, cursor: str, wanted: JobFilter, limit: int) -> Changes:
        """The transitions that follow a cursor and pass the filter, in their order, and the cursor to go on from.

        Raises `CursorUnknownError` when the cursor is not of this database: the client must start anew.
        """
        incarnation, seq = read_position(cursor)
        rows: list[TransitionView] = []
        for _ in range(_WINDOWS):
            window = min(_WINDOW, limit - len(rows)) if wanted == JobFilter() else _WINDOW
            arguments = transitions_query(wanted, seq, window)
            found = await self._fetch("reading transitions", "transitions_after", *arguments)
            head = found[0]["head"]
            if found[0]["incarnation"] != incarnation or seq > head:
                raise CursorUnknownError("the cursor is of another history: this one was set up or restored since")
            if seq < found[0]["pruned_seq"]:
                raise CursorUnknownError("the cursor is older than what history keeps")
            passed = [row for row in found if row["seq"] is not None]
            seq = found[0]["looked_to"] or seq
            if len(passed) > limit - len(rows):
                passed = passed[: limit - len(rows)]
                seq = passed[-1]["seq"]
            rows += (transition_view(row, write_position(Position(incarnation, row["seq"]))) for row in passed)
            if len(rows) >= limit or seq >= head:
                break
        return Changes(tuple(rows), write_position(Position(incarnation, seq)), more=seq < head)

    async def keep_ticket(
        self, hash_: bytes, caller: str, seconds: float, *, of_one: int, of_all: int
    ) -> tuple[int, int]:
        """Keep a one-use ticket of a caller (JSON) for so long, unless that many are out; how many were: his, all."""
        found = await self._fetch("keeping a ticket", "keep_ticket", hash_, caller, seconds, of_one, of_all)
        return found[0]["his"], found[0]["total"]

    async def take_ticket(self, hash_: bytes) -> str | None:
        """Whose a ticket is (JSON), once; None: there is none, or it has expired."""
        found = await self._fetch("taking a ticket", "take_ticket", hash_)
        return found[0]["caller"] if found else None

    async def listen(self, callback: Callable[[], None]) -> None:
        """Call back whenever history has grown; runs until it is cancelled.

        Also calls back after each connection made: what was announced before it went unheard.
        """
        shortest, longest = _RECONNECT_SECONDS
        wait = shortest
        while True:
            try:
                connection = await self._address.connect("taskjobs-api-listen")
            except HistoryUnavailableError as error:
                logger.warning("history: not listening: %s", error)
            else:
                wait = shortest
                try:
                    await self._listen(connection, callback)
                except UNREACHABLE as error:
                    logger.warning("history: listening again soon: %s", self._address.unavailable(error, "listening"))
                finally:
                    connection.terminate()
            await asyncio.sleep(wait)
            wait = min(2 * wait, longest)

    async def _listen(self, connection: asyncpg.Connection[asyncpg.Record], callback: Callable[[], None]) -> None:
        """Listens until the connection is lost."""
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _: lost.set())
        await connection.add_listener(CHANNEL, lambda *_: callback())
        callback()
        while not lost.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_KEEPALIVE_SECONDS):
                    await lost.wait()
            if not lost.is_set():  # a connection that is half open would be silent for ever
                await connection.fetch(SQL["head"], timeout=self._address.limits.statement)

    async def _fetch(self, doing: str, name: str, *arguments: Any) -> list[asyncpg.Record]:
        if self._pool is None:
            raise RuntimeError("the reader is not open: use it as `async with HistoryReader(url) as reader`")
        budget = self._address.limits.connect + self._address.limits.statement
        for last in (False, True):
            try:
                async with asyncio.timeout(budget), self._pool.acquire() as connection:
                    return await connection.fetch(SQL[name], *arguments)
            except asyncpg.UndefinedTableError as error:
                raise HistoryUnavailableError(
                    "PostgreSQL has no history yet: the operator sets it up when it first connects"
                ) from error
            except asyncpg.DataError as error:
                raise ValueError(f"PostgreSQL cannot look for this value: {error}") from error
            except UNREACHABLE as error:
                if last or isinstance(error, TimeoutError) or not isinstance(error, LOST):
                    raise self._address.unavailable(error, doing) from error
        raise AssertionError("unreachable: the second try returns or raises")
