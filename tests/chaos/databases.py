"""What is done to PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import parse_qs, urlsplit

import asyncpg

from waiting import until

from .stage import NotPlayedError, Stage, hold


@contextmanager
def killed(stage: Stage) -> Iterator[None]:
    stage.postgres.kill()
    try:
        yield
    finally:
        stage.postgres.restart()


@contextmanager
def stopped(stage: Stage) -> Iterator[None]:
    stage.postgres.stop()
    try:
        yield
    finally:
        stage.postgres.restart()


@contextmanager
def slow(stage: Stage) -> Iterator[None]:
    stage.wires.database.late = stage.draw.uniform(0.1, 0.6)
    try:
        yield
    finally:
        stage.wires.database.late = 0.0


@contextmanager
def cut(stage: Stage) -> Iterator[None]:
    stage.wires.run(stage.wires.database.cut())
    yield


@contextmanager
def half_closed(stage: Stage) -> Iterator[None]:
    """Each connection ends in one direction, drawn at random, and stays open in the other."""
    stage.wires.run(stage.wires.database.half_close(stage.draw))
    try:
        yield
    finally:
        stage.wires.run(stage.wires.database.cut_half_closed())


@contextmanager
def without_connections(stage: Stage) -> Iterator[None]:
    """Every connection is taken, those of the operator and the API are ended: they find no place."""

    async def take() -> list[asyncpg.Connection]:
        taken: list[asyncpg.Connection] = []
        await stage.wires.database.cut()
        with suppress(asyncpg.PostgresError, OSError):
            while len(taken) < 200:
                taken.append(await _connect(stage))
        return taken

    async def give_back(taken: list[asyncpg.Connection]) -> None:
        await asyncio.gather(*(each.close() for each in taken), return_exceptions=True)

    taken = stage.wires.run(take())
    try:
        yield
    finally:
        stage.wires.run(give_back(taken))


@contextmanager
def disk_full(stage: Stage) -> Iterator[None]:
    """Not a byte is left for tables or for the log of the server; then whoever runs it makes room and restarts it."""
    if stage.disk.why_not:
        raise NotPlayedError(stage.disk.why_not)
    stage.disk.fill()
    try:
        assert stage.wires.run(_refuses_to_grow(stage)), "the disk is full, and PostgreSQL grew a table"
        yield
    finally:
        stage.disk.empty()
        stage.postgres.restart()


@contextmanager
def failed_over(stage: Stage) -> Iterator[None]:
    """A replica falls behind, the server dies, the replica is promoted: what came between is lost. It is over when an
    operator has found out."""
    replica = stage.postgres.replica()
    hold(stage.draw.uniform(0.5, 4))
    before = stage.wires.run(_incarnation(stage))
    stage.postgres.fail_over(replica)
    stage.failovers += 1
    yield
    until(lambda: stage.wires.run(_incarnation(stage)) not in (None, before), "an operator has claimed the replica", 40)


async def _connect(stage: Stage, database: str = "postgres") -> asyncpg.Connection:
    folder = parse_qs(urlsplit(stage.postgres.url).query)["host"][0]
    return await asyncpg.connect(host=folder, user="taskjobs", database=database, timeout=10)


async def _refuses_to_grow(stage: Stage) -> bool:
    """Also if the server broke off instead of an answer: without room for its log it ends itself."""
    try:
        connection = await _connect(stage)
        try:
            await connection.execute("CREATE TEMP TABLE growing AS SELECT generate_series(1, 100000)", timeout=10)
        finally:
            connection.terminate()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return True
    return False


async def _incarnation(stage: Stage) -> object:
    try:
        connection = await _connect(stage, urlsplit(stage.site.database_url).path.lstrip("/"))
        try:
            return await connection.fetchval("SELECT incarnation FROM meta")
        finally:
            await connection.close()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        return None
