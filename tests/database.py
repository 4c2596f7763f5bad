"""Fixtures of PostgreSQL: one real server for the session, a fresh database for each test.

`TASKJOBS_DATABASE_URL` names a server to use instead; databases of the tests are made in it and dropped again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from taskjob_cluster import postgres


@pytest.fixture(scope="session")
def database_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server on which databases may be created."""
    if named := os.environ.get("TASKJOBS_DATABASE_URL"):
        yield named
        return
    server = postgres.start(tmp_path_factory.mktemp("postgres"), die_with_parent=True)
    yield server.url
    server.remove()


@contextlib.contextmanager
def a_database(server: str) -> Iterator[str]:
    """The URL of a fresh database on a server; it is dropped at the end. Not for use inside a running loop."""
    name = f"taskjobs_test_{secrets.token_hex(6)}"

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(server, timeout=10)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(execute(f"CREATE DATABASE {name}"))
    try:
        yield urlsplit(server)._replace(path=f"/{name}").geturl()
    finally:
        asyncio.run(execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))


@pytest.fixture
def database_url(database_server: str) -> Iterator[str]:
    """The URL of a fresh database, not migrated yet."""
    with a_database(database_server) as url:
        yield url


@pytest.fixture
def own_postgres(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[postgres.Postgres]:
    """A server of this test alone, to be killed and restarted; never the one that was named."""
    monkeypatch.delenv("TASKJOBS_DATABASE_URL", raising=False)
    server = postgres.start(tmp_path / "own")
    yield server
    server.remove()
