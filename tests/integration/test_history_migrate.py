"""Migrations: once each, by themselves, whoever comes first; and refused when they do not fit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import asyncpg
import pytest

from taskjob.history.migrate import Migration, MigrationError, migrate, shipped
from taskjob.history.statements import SQL, parse
from taskjob.history.writer import HistoryWriter
from taskjob.ports import HistoryUnavailableError

if TYPE_CHECKING:  # the class cannot be subscripted at run time
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

ONE = Migration(1, "one", "CREATE TABLE one (x int);")
TWO = Migration(2, "two", "CREATE TABLE two (x int); INSERT INTO two VALUES (2);")


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_url, timeout=10)
    yield connection
    await connection.close()


async def applied(connection: Connection) -> list[str]:
    return [row["name"] for row in await connection.fetch("SELECT name FROM migrations ORDER BY version")]


def test_the_shipped_migrations_are_numbered_from_one_without_gaps() -> None:
    assert [migration.version for migration in shipped()] == list(range(1, len(shipped()) + 1))


async def test_what_is_missing_is_applied_in_order_and_once(connection: Connection) -> None:
    await migrate(connection, [ONE])
    await migrate(connection, [ONE, TWO])
    await migrate(connection, [ONE, TWO])
    assert await applied(connection) == ["one", "two"]
    assert await connection.fetchval("SELECT count(*) FROM two") == 1


async def test_five_that_open_at_once_migrate_once(database_url: str, connection: Connection) -> None:
    writers = [HistoryWriter(database_url) for _ in range(5)]
    async with asyncio.timeout(60):
        assert await asyncio.gather(*(writer.open(3) for writer in writers)) == [[]] * 5
    assert await applied(connection) == [migration.name for migration in shipped()]
    assert await connection.fetchval("SELECT count(*) FROM meta") == 1
    for writer in writers:
        await writer.close()


async def test_a_migration_that_was_changed_later_is_refused(connection: Connection) -> None:
    await migrate(connection, [ONE])
    changed = replace(ONE, sql=ONE.sql + " -- edited")
    with pytest.raises(MigrationError, match=r"0001_one\.sql was changed after it had been applied.*new migration"):
        await migrate(connection, [changed, TWO])
    assert await applied(connection) == ["one"]


async def test_line_ends_do_not_change_a_checksum() -> None:
    assert replace(ONE, sql="a\r\nb\r\n").checksum == replace(ONE, sql="a\nb\n").checksum


async def test_the_database_of_a_newer_release_is_refused(connection: Connection) -> None:
    await migrate(connection, [ONE, TWO])
    with pytest.raises(MigrationError, match=r"0002_two.*does not know.*newer release"):
        await migrate(connection, [ONE])


async def test_a_migration_that_fails_is_undone_whole(connection: Connection) -> None:
    broken = Migration(2, "broken", "CREATE TABLE half (x int); SELECT nonsense;")
    with pytest.raises(MigrationError, match=r"0002_broken\.sql failed and was undone.*nonsense"):
        await migrate(connection, [ONE, broken])
    assert await applied(connection) == ["one"]
    assert await connection.fetchval("SELECT to_regclass('half')") is None
    await migrate(connection, [ONE, TWO])
    assert await applied(connection) == ["one", "two"]


async def test_connecting_again_needs_no_lock(database_url: str, connection: Connection) -> None:
    writer = HistoryWriter(database_url)
    await writer.open(1)
    await writer.close()
    async with connection.transaction():
        await connection.execute(SQL["lock_migrations"])
        async with asyncio.timeout(10):
            await writer.open(2)
    await writer.close()


async def test_the_writer_says_that_schema_and_release_do_not_fit(database_url: str, connection: Connection) -> None:
    writer = HistoryWriter(database_url)
    await writer.open(1)
    await writer.close()
    await connection.execute("INSERT INTO migrations (version, name, checksum) VALUES (9999, 'future', 'x')")
    with pytest.raises(HistoryUnavailableError, match="newer release"):
        await writer.open(2)


async def test_each_database_has_an_incarnation_of_its_own(database_url: str, connection: Connection) -> None:
    writer = HistoryWriter(database_url)
    await writer.open(1)
    first = await connection.fetchval("SELECT incarnation FROM meta")
    await writer.open(2)
    assert await connection.fetchval("SELECT incarnation FROM meta") == first
    await writer.close()
    await connection.execute("DROP TABLE meta, transitions, jobs, attempts, logs, log_chunks, tickets, migrations")
    await writer.open(2)
    assert await connection.fetchval("SELECT incarnation FROM meta") != first
    await writer.close()


# ---------------------------------------------------------------- statements
async def test_every_statement_is_one_that_postgresql_accepts(database_url: str, connection: Connection) -> None:
    writer = HistoryWriter(database_url)
    await writer.open(1)
    await writer.close()
    fragments = {"job_columns", "job_filter", "page_by_key"}
    assert fragments < SQL.keys()
    for name in SQL.keys() - fragments:
        await connection.prepare(SQL[name])


def test_a_statement_that_stands_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="'a' stands twice"):
        parse("-- name: a\nSELECT 1;\n-- name: a\nSELECT 2;\n")


def test_a_fragment_that_is_missing_is_refused() -> None:
    with pytest.raises(ValueError, match="no fragment 'nothing'"):
        parse("-- name: a\nSELECT {nothing};\n")
