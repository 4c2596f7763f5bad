"""Brings the database to the schema of this release: numbered SQL files, each once, each in one transaction.

Runs whenever the writer connects; several may run it at the same time (an advisory lock orders them).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import asyncpg

from taskjob.history.statements import SQL
from taskjob.ports import HistoryUnavailableError

if TYPE_CHECKING:
    from taskjob.history.connection import Connection

logger = logging.getLogger(__name__)
_PATIENCE_SECONDS: Final = 3600  # a connection that went silent amid a migration is given up some day
_FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


class MigrationError(HistoryUnavailableError):
    """The database and this release do not fit together; a person has to look."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of `migrations/`. It is never changed once released: a new one is added."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, whatever the line ends."""
        return hashlib.sha256(self.sql.replace("\r\n", "\n").encode()).hexdigest()


def shipped() -> tuple[Migration, ...]:
    """The migrations of this release, in order."""
    found = [(match, f) for f in (files(__package__) / "migrations").iterdir() if (match := _FILE.fullmatch(f.name))]
    return tuple(sorted((Migration(int(m[1]), m[2], f.read_text("utf-8")) for m, f in found), key=lambda x: x.version))


async def migrate(
    connection: Connection, migrations: Sequence[Migration] | None = None, *, look_seconds: float = 30
) -> None:
    """Apply what is missing. Raises `MigrationError`; errors of the connection pass.

    Looking is quick, needs no lock and no right to create anything; only migrating may take its time.
    """
    known = shipped() if migrations is None else migrations
    async with asyncio.timeout(look_seconds):
        if await connection.fetchval(SQL["has_migrations"]) and not _pending(
            known, await connection.fetch(SQL["read_migrations"])
        ):
            return
    async with asyncio.timeout(_PATIENCE_SECONDS):
        await _apply(connection, known)


async def _apply(connection: Connection, known: Sequence[Migration]) -> None:
    while True:
        async with connection.transaction():
            await connection.execute(SQL["patience_for_migrations"])
            await connection.execute(SQL["lock_migrations"])
            await connection.execute(SQL["make_migrations"])
            pending = _pending(known, await connection.fetch(SQL["read_migrations"]))
            if not pending:
                return
            following = pending[0]
            try:
                await connection.execute(following.sql)
            except asyncpg.PostgresError as error:
                raise MigrationError(
                    f"migration {following.version:04}_{following.name}.sql failed and was undone: {error}"
                ) from error
            await connection.execute(SQL["note_migration"], following.version, following.name, following.checksum)
        logger.info("history: applied migration %04d_%s", following.version, following.name)


def _pending(known: Sequence[Migration], applied: Sequence[asyncpg.Record]) -> list[Migration]:
    by_version = {migration.version: migration for migration in known}
    for row in applied:
        version, name = row["version"], row["name"]
        if (migration := by_version.pop(version, None)) is None:
            raise MigrationError(
                f"the database has migration {version:04}_{name}, which this release does not know: "
                "it was migrated by a newer release; run that one, or restore a backup from before it"
            )
        if migration.checksum != row["checksum"]:
            raise MigrationError(
                f"migration {version:04}_{name}.sql was changed after it had been applied to this database "
                f"(checksum {migration.checksum[:12]}, applied {row['checksum'][:12]}): restore the file, "
                "and put the change into a new migration"
            )
    return list(by_version.values())
