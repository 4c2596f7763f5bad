"""The operator's one writer of history: batches in, each in one transaction, fenced by the epoch.

Implements `ports.HistoryPort`. A flush is one statement (`flush` in queries.sql), so that it costs one round trip
and holds the lock of history for as long as PostgreSQL computes. The connection is made again after an error, at the
next call; waiting between calls and keeping what could not be written is the caller's (`control.recorder`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg
import msgspec

from taskjob import metrics
from taskjob.core.model import AttemptId, Entry
from taskjob.history import rows
from taskjob.history.connection import UNREACHABLE, Address, Limits
from taskjob.history.log_rows import kept_log, log_columns
from taskjob.history.migrate import migrate
from taskjob.history.statements import SQL
from taskjob.ports import (
    Batch,
    DeposedError,
    FlushOutcome,
    HistoryUnavailableError,
    Keep,
    KeptLog,
    Log,
    OpenJob,
    Pruned,
)

if TYPE_CHECKING:
    from taskjob.history.connection import Connection

logger = logging.getLogger(__name__)

REFUSED_FOR_ITS_CONTENT: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    ValueError,
    TypeError,
    OverflowError,
)
"""Sending the same again would fail again: some row is at fault."""

_COMPRESS_ASIDE_BYTES: Final = 65_536
_GRACE_SECONDS: Final = 5.0


_NO_LINEAGE: Final = (
    asyncpg.UndefinedFunctionError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.FeatureNotSupportedError,
)
"""What a service says that is PostgreSQL to its clients only."""


class _FencedError(Exception):
    """The epoch on record is not ours."""


class HistoryWriter:
    """`HistoryPort` over one connection. Calls may overlap; they are carried out one after the other."""

    def __init__(self, url: str, *, holder: str | None = None, limits: Limits | None = None) -> None:
        self._address = Address(url, limits)
        self._holder = holder or f"{socket.gethostname()}/{os.getpid()}"
        self._lock = asyncio.Lock()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._claimed: Connection | None = None  # the connection over which history was claimed
        self._incarnation: UUID | None = None  # of the history that was opened
        self.refused = 0  # entries and logs left out so far because PostgreSQL refused their content

    async def open(self, epoch: int) -> Sequence[OpenJob]:
        """Migrate, claim history for `epoch`, and tell every job that has not been told gone.

        Raises `HistoryUnavailableError` (`MigrationError` if schema and release do not fit) or `DeposedError`.
        """
        async with self._session("opening history") as connection:
            self._incarnation = await self._claim(connection, epoch)
            found = await connection.fetch(SQL["open_jobs"])
        jobs = []
        for row in found:
            try:
                jobs.append(rows.open_job(row))
            except (ValueError, KeyError, msgspec.MsgspecError) as error:
                logger.error("history: job %s cannot be read, left out: %s", row["uid"], error)
        return jobs

    async def flush(self, epoch: int, batch: Batch) -> FlushOutcome:
        """Write a batch in one transaction. Raises `HistoryUnavailableError`: nothing was written, or all; after a
        failover nothing is written before history was opened anew.

        An entry or log that PostgreSQL refuses for its content is left out and logged with its key; the rest stands.
        """
        if sum(log.held_bytes for log in batch.logs) > _COMPRESS_ASIDE_BYTES:
            columns = await asyncio.to_thread(log_columns, batch.logs)
        else:
            columns = log_columns(batch.logs)
        async with self._session("flushing") as connection:
            for _ in range(2):
                try:
                    if connection is not self._claimed:
                        await self._claim_again(connection, epoch)
                    refused = await _write_or_split(connection, epoch, batch, columns)
                    self.refused += refused
                    metrics.history_refused.inc(refused)
                except _FencedError:
                    # Deposed, or a database that has lost our claim (a restored backup): claiming tells.
                    self._claimed = None
                except DeposedError as error:
                    logger.error("history: %s", error)
                    return FlushOutcome.DEPOSED
                else:
                    return FlushOutcome.WRITTEN
        raise HistoryUnavailableError("PostgreSQL, flushing: the epoch on record changes all the time")

    async def kept_logs(self, attempt: AttemptId) -> Sequence[KeptLog]:
        """What is held of an attempt's logs, of each container. Raises `HistoryUnavailableError`."""
        async with self._session("looking for logs") as connection:
            found = await connection.fetch(SQL["kept_logs"], *attempt)
        return [kept_log(attempt, row) for row in found]

    async def prune(self, epoch: int, keep: Keep, limit: int) -> Pruned:
        """Take out what is older, a statement each for jobs and logs. Raises `HistoryUnavailableError`."""
        jobs = logs = 0
        async with self._session("pruning") as connection:
            if keep.jobs is not None:
                jobs = await connection.fetchval(SQL["prune_jobs"], epoch, keep.jobs, limit)
            if keep.logs is not None:
                logs = await connection.fetchval(SQL["prune_logs"], epoch, keep.logs, limit)
        return Pruned(jobs, logs)

    async def close(self) -> None:
        """Close the connection; a later call makes a new one."""
        async with self._lock:
            if (connection := self._connection) is not None:
                self._connection = None
                try:
                    await connection.close(timeout=_GRACE_SECONDS)
                except UNREACHABLE:
                    connection.terminate()

    @contextlib.asynccontextmanager
    async def _session(self, doing: str) -> AsyncIterator[Connection]:
        """The connection for one call: made if there is none, dropped on whatever went wrong."""
        async with self._lock:
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await self._connect()
                limits = self._address.limits
                async with asyncio.timeout(limits.statement + limits.lock + _GRACE_SECONDS):
                    yield self._connection
            except DeposedError:
                raise
            except BaseException as error:
                if self._connection is not None:
                    self._connection.terminate()  # in what state it is, nobody knows
                    self._connection = None
                if isinstance(error, UNREACHABLE):
                    raise self._address.unavailable(error, doing) from error
                raise

    async def _connect(self) -> asyncpg.Connection[asyncpg.Record]:
        connection = await self._address.connect("taskjobs-operator")
        try:
            await migrate(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _claim_again(self, connection: Connection, epoch: int) -> None:
        """Over a new connection. Raises `HistoryUnavailableError` if it is not the history that was opened."""
        incarnation = await self._claim(connection, epoch)
        if self._incarnation not in (None, incarnation):
            raise HistoryUnavailableError("PostgreSQL, flushing: it was failed over or restored, and may lack rows")

    async def _claim(self, connection: Connection, epoch: int) -> UUID:
        try:
            lineage = await connection.fetchval(SQL["lineage"])
        except _NO_LINEAGE:
            lineage = ""
        incarnation = await connection.fetchval(SQL["claim"], epoch, self._holder, lineage)
        if incarnation is None:
            owner = await connection.fetchrow(SQL["owner"])
            assert owner is not None  # noqa: S101 - the first migration puts the row there
            raise DeposedError(
                f"epoch {epoch} is over: history belongs to epoch {owner['epoch']} "
                f"({owner['holder']}, since {owner['changed_at']:%Y-%m-%d %H:%M:%S} UTC)",
                owner["epoch"],
            )
        self._claimed = connection
        assert isinstance(incarnation, UUID)  # noqa: S101 - the column's type
        return incarnation


async def _write_or_split(connection: Connection, epoch: int, batch: Batch, columns: list[list[object]]) -> int:
    """One batch; if PostgreSQL refuses it, all of it but what is at fault, still in one transaction.

    Returns how many entries and logs were left out.
    """
    try:
        await _write(connection, epoch, batch, columns)
        return 0
    except REFUSED_FOR_ITS_CONTENT as error:
        logger.warning("history: a batch was refused, looking for the row: %s", error)
        async with connection.transaction():
            return await _write_halves(connection, epoch, batch.entries, ()) + await _write_halves(
                connection, epoch, (), batch.logs
            )


async def _write(connection: Connection, epoch: int, batch: Batch, logs: list[list[object]]) -> None:
    """One batch, whole. Without logs it is one statement, and so one transaction, of its own."""
    payload = rows.payload(batch.entries)
    if not logs:
        await _write_entries(connection, epoch, payload)
        return
    async with connection.transaction():
        await _write_entries(connection, epoch, payload)
        await connection.execute(SQL["flush_logs"], *logs)


async def _write_entries(connection: Connection, epoch: int, payload: rows.Payload) -> None:
    row = await connection.fetchrow(SQL["flush"], epoch, payload.transitions, payload.jobs, payload.attempts)
    if row is None or row["fenced"] != 1:
        raise _FencedError


async def _write_halves(connection: Connection, epoch: int, entries: tuple[Entry, ...], logs: tuple[Log, ...]) -> int:
    """One of the two is empty. Each try is a savepoint; raises what is not about content. Returns as above."""
    count = len(entries) + len(logs)
    if count == 0:
        return 0
    try:
        async with connection.transaction():
            await _write(connection, epoch, Batch(entries, logs), log_columns(logs))
        return 0
    except REFUSED_FOR_ITS_CONTENT as error:
        if count > 1:
            half = count // 2
            first = await _write_halves(connection, epoch, entries[:half], logs[:half])
            return first + await _write_halves(connection, epoch, entries[half:], logs[half:])
        for entry in entries:
            told = ", ".join(f"{t.attempt.run}/{t.attempt.attempt} {t.from_phase}->{t.to_phase} n={t.n}"
                             for t in entry.transitions)  # fmt: skip
            logger.error(
                "history: an entry of job %s (%s/%s; %s) is refused and left out: %s",
                entry.job.uid, entry.job.namespace, entry.job.name, told or "no transitions", error,
            )  # fmt: skip
        for log in logs:
            logger.error("history: the log of %s of %s is refused and left out: %s", log.container, log.attempt, error)
        return count
