"""Fixtures of PostgreSQL: one real server for the session, a fresh database for each test.

`TASKJOBS_DATABASE_URL` names a server to use instead; databases of the tests are made in it and dropped again.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Iterator
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
    server = postgres.start(tmp_path_factory.mktemp("postgres"))
    yield server.url
    server.remove()


@pytest.fixture
async def database_url(database_server: str) -> AsyncIterator[str]:
    """The URL of a fresh database, not migrated yet."""
    name = f"taskjobs_test_{secrets.token_hex(6)}"
    connection = await asyncpg.connect(database_server, timeout=10)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        yield urlsplit(database_server)._replace(path=f"/{name}").geturl()
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    finally:
        await connection.close()


@pytest.fixture
def own_postgres(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[postgres.Postgres]:
    """A server of this test alone, to be killed and restarted; never the one that was named."""
    monkeypatch.delenv("TASKJOBS_DATABASE_URL", raising=False)
    server = postgres.start(tmp_path / "own")
    yield server
    server.remove()
