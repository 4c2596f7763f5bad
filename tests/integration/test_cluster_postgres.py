"""The development database: a server that can be killed and comes back with the same URL and data."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from taskjob_cluster import ClusterError, postgres
from taskjob_cluster.postgres import DATABASE_URL, Postgres


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Postgres]:
    monkeypatch.delenv(DATABASE_URL, raising=False)
    with postgres.start(die_with_parent=True) as started:
        yield started


async def ask(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_a_killed_server_comes_back_with_its_url_and_its_data(server: Postgres) -> None:
    url = server.url
    await ask(url, "CREATE TABLE kept (x int)")
    server.kill()
    assert server.pid is None
    with pytest.raises((OSError, asyncpg.PostgresError)):
        await ask(url, "SELECT 1")
    server.restart()
    assert server.url == url
    assert await ask(url, "SELECT count(*) FROM kept") == 0


async def test_stopping_disconnects_the_clients(server: Postgres) -> None:
    connection = await asyncpg.connect(server.url)
    server.stop()
    with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
        await connection.fetchval("SELECT 1")
    connection.terminate()


def test_the_server_never_runs_as_root(server: Postgres) -> None:
    pid = server.pid
    assert pid is not None
    assert Path(f"/proc/{pid}").stat().st_uid != 0


def test_a_folder_keeps_its_server_and_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATABASE_URL, raising=False)
    first = postgres.start(tmp_path / "data", die_with_parent=True)
    try:
        again = postgres.start(tmp_path / "data")
        assert (again.url, again.pid) == (first.url, first.pid)
    finally:
        first.remove()
    assert postgres.at(tmp_path / "data").pid is None


def test_a_named_database_is_used_and_never_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATABASE_URL, "postgresql://somebody@elsewhere/db")
    named = postgres.start()
    assert named.url == "postgresql://somebody@elsewhere/db"
    assert not named.ours
    named.stop()
    named.remove()
    with pytest.raises(ClusterError, match=DATABASE_URL):
        named.restart()


def test_no_mode_of_a_parent_folder_is_changed(server: Postgres) -> None:
    home = Path.home()
    before = home.stat().st_mode
    server.restart()
    assert home.stat().st_mode == before


def test_the_command_line_starts_and_stops_one(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != DATABASE_URL}

    def run(action: str) -> str:
        command = [sys.executable, "-m", "taskjob_cluster", "postgres", action, "--directory", str(tmp_path / "x")]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    url = run("start")
    try:
        assert run("url") == url
        assert postgres.at(tmp_path / "x").pid is not None
    finally:
        run("remove")
    assert postgres.at(tmp_path / "x").pid is None
