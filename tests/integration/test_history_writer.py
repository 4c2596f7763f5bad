"""The writer of history against what a real PostgreSQL does: crashes, hangs, refusals, rivals."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, TypeAlias

import asyncpg
import pytest

from history_stories import FULL, a_story, expected_keys, keys
from taskjob.history.connection import Address, Limits
from taskjob.history.reader import CursorUnknownError, HistoryReader, JobFilter
from taskjob.history.writer import HistoryWriter
from taskjob.ports import Batch, FlushOutcome, HistoryUnavailableError
from taskjob_cluster.postgres import Postgres

if TYPE_CHECKING:  # the class cannot be subscripted at run time
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

PENDING, STARTING, RUNNING, SUCCEEDED = FULL


# ---------------------------------------------------------------- crashes
async def test_a_server_killed_amid_flushes_loses_and_doubles_nothing(own_postgres: Postgres) -> None:
    """A batch is told again until it is answered; the server is killed five times meanwhile."""
    writer = HistoryWriter(own_postgres.url, limits=Limits(connect=2, statement=5, lock=2))
    await writer.open(1)
    stories = [a_story(f"j{i}", *FULL) for i in range(2000)]
    entries = [story[step] for step in range(4) for story in stories]
    batches = [tuple(entries[i : i + 100]) for i in range(0, len(entries), 100)]
    written = 0
    failures = 0
    progress = asyncio.Event()

    async def tell_all() -> None:
        nonlocal written, failures
        for batch in batches:
            while True:
                try:
                    assert await writer.flush(1, Batch(batch)) is FlushOutcome.WRITTEN
                except HistoryUnavailableError:
                    failures += 1
                    await asyncio.sleep(0.05)
                else:
                    written += 1
                    progress.set()
                    break

    telling = asyncio.create_task(tell_all())
    async with asyncio.timeout(120):
        for crash in range(1, 6):
            while written < crash * len(batches) // 7:
                progress.clear()
                await progress.wait()
            await asyncio.to_thread(own_postgres.kill)
            await asyncio.to_thread(own_postgres.restart)
        await telling
    assert failures > 0, "the crashes were not noticed: the test tests nothing"
    connection = await asyncpg.connect(own_postgres.url, timeout=10)
    told = await keys(connection)
    assert len(told) == len(set(told))
    assert told == expected_keys(entries), "every transition once, in the order in which it was told"
    phases = await connection.fetch("SELECT phase, transition, count(*) FROM jobs GROUP BY 1, 2")
    assert [tuple(row) for row in phases] == [("Succeeded", 4, 2000)]
    await connection.close()
    await writer.close()


async def test_reader_and_listener_come_back_after_a_restart(own_postgres: Postgres) -> None:
    writer = HistoryWriter(own_postgres.url)
    await writer.open(1)
    heard = asyncio.Event()
    async with HistoryReader(own_postgres.url) as reader, asyncio.timeout(60):
        listening = asyncio.create_task(reader.listen(heard.set))
        await heard.wait()
        await reader.jobs(JobFilter(), 10)
        await asyncio.to_thread(own_postgres.kill)
        with pytest.raises(HistoryUnavailableError):
            await reader.ping()
        with pytest.raises(HistoryUnavailableError):
            await writer.flush(1, Batch(tuple(a_story("a", *FULL))))
        heard.clear()
        await asyncio.to_thread(own_postgres.restart)
        await heard.wait()  # it says so when it listens again
        cursor = await reader.head()
        heard.clear()
        assert await writer.flush(1, Batch(tuple(a_story("a", *FULL)))) is FlushOutcome.WRITTEN
        await heard.wait()
        assert len((await reader.transitions_after(cursor, JobFilter(), 10)).rows) == 4
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    await writer.close()


async def test_after_a_failover_nothing_is_written_before_history_was_opened_anew_and_old_cursors_are_unknown(
    own_postgres: Postgres,
) -> None:
    """The replica's next numbers are those of rows that it lost: a cursor must not be taken for one of its own."""
    writer = HistoryWriter(own_postgres.url)
    await writer.open(1)
    await writer.flush(1, Batch(tuple(a_story("kept", *FULL))))
    replica = await asyncio.to_thread(own_postgres.replica)
    await writer.flush(1, Batch(tuple(a_story("lost", *FULL))))
    async with HistoryReader(own_postgres.url) as reader:
        cursor = await reader.head()
        await asyncio.to_thread(own_postgres.fail_over, replica)
        for _ in range(2):
            with pytest.raises(HistoryUnavailableError, match="failed over or restored"):
                await writer.flush(1, Batch(tuple(a_story("too soon", *FULL))))
        assert [(job.job.uid, job.recorded) for job in await writer.open(1)] == [("uid-kept", 4)]
        again = [*a_story("lost", *FULL), *a_story("more", *FULL), *(a_story(f"j{n}", *FULL)[0] for n in range(40))]
        assert await writer.flush(1, Batch(tuple(again))) is FlushOutcome.WRITTEN
        with pytest.raises(CursorUnknownError):
            await reader.transitions_after(cursor, JobFilter(), 10)
    await writer.close()


async def test_a_server_that_crashed_and_came_back_is_the_same_history(own_postgres: Postgres) -> None:
    writer = HistoryWriter(own_postgres.url)
    await writer.open(1)
    async with HistoryReader(own_postgres.url) as reader:
        cursor = await reader.head()
        await asyncio.to_thread(own_postgres.kill)
        await asyncio.to_thread(own_postgres.restart)
        assert await writer.flush(1, Batch(tuple(a_story("a", *FULL)))) is FlushOutcome.WRITTEN
        assert len((await reader.transitions_after(cursor, JobFilter(), 10)).rows) == 4
    await writer.close()


async def test_a_flush_that_is_cancelled_leaves_the_writer_usable(database_url: str, connection: Connection) -> None:
    writer = HistoryWriter(database_url)
    await writer.open(0)
    async with connection.transaction():
        await connection.execute("SELECT FROM meta FOR UPDATE")
        flushing = asyncio.create_task(writer.flush(0, Batch(tuple(a_story("a", *FULL)))))
        await until_waiting_for_a_lock(connection)
        flushing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await flushing
    assert await writer.flush(0, Batch(tuple(a_story("a", *FULL)))) is FlushOutcome.WRITTEN
    assert len(await keys(connection)) == 4
    await writer.close()


async def until_waiting_for_a_lock(connection: Connection) -> None:
    deadline = time.monotonic() + 20
    while not await connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ):
        assert time.monotonic() < deadline, "the flush never came to wait for the lock"
        await asyncio.sleep(0.01)


# ---------------------------------------------------------------- rivals
async def test_of_two_writers_only_the_newer_epoch_writes(database_url: str, connection: Connection) -> None:
    old, new = HistoryWriter(database_url, holder="old"), HistoryWriter(database_url, holder="new")
    await old.open(1)
    stories = [a_story(f"j{i}", *FULL) for i in range(1000)]  # more than it comes to write
    outcomes: list[FlushOutcome] = []
    under_way = asyncio.Event()

    async def go_on_writing() -> None:
        for story in stories:
            outcomes.append(await old.flush(1, Batch(tuple(story))))
            if len(outcomes) == 10:
                under_way.set()
            if outcomes.count(FlushOutcome.DEPOSED) == 50:
                return

    writing = asyncio.create_task(go_on_writing())
    await under_way.wait()
    await new.open(2)
    mine = a_story("mine", *FULL)
    assert await new.flush(2, Batch(tuple(mine))) is FlushOutcome.WRITTEN
    await writing
    accepted = outcomes.index(FlushOutcome.DEPOSED)
    assert accepted >= 10
    assert set(outcomes[accepted:]) == {FlushOutcome.DEPOSED}, "once deposed, always deposed"
    told = await keys(connection)
    assert told == expected_keys([e for story in stories[:accepted] for e in story] + mine)
    epochs = await connection.fetch("SELECT epoch FROM transitions ORDER BY seq")
    assert [row["epoch"] for row in epochs] == [1] * 4 * accepted + [2] * 4
    await old.close()
    await new.close()


async def test_a_flush_that_waited_while_the_epoch_rose_is_refused(
    database_url: str, writer: HistoryWriter, connection: Connection
) -> None:
    async with connection.transaction():
        await connection.execute("UPDATE meta SET epoch = 9")
        flushing = asyncio.create_task(writer.flush(0, Batch(tuple(a_story("a", *FULL)))))
        other = await asyncpg.connect(database_url, timeout=10)
        await until_waiting_for_a_lock(other)
        await other.close()
    assert await flushing is FlushOutcome.DEPOSED
    assert await keys(connection) == []


async def test_numbers_become_visible_in_their_order(database_url: str, connection: Connection) -> None:
    """Two writers of one epoch (one is hung and comes back) beside a reader that follows: it skips nothing."""
    writers = [HistoryWriter(database_url) for _ in range(2)]
    for writer in writers:
        await writer.open(1)
    async with HistoryReader(database_url) as reader:
        cursor = await reader.head()
        seen: list[str] = []
        done = asyncio.Event()

        async def follow() -> None:
            nonlocal cursor
            while True:
                last = done.is_set()
                changes = await reader.transitions_after(cursor, JobFilter(), 50)
                cursor = changes.cursor
                seen.extend(row.job.uid for row in changes.rows)
                if last and not changes.more:
                    return

        async def write(writer: HistoryWriter, prefix: str) -> None:
            for i in range(40):
                await writer.flush(1, Batch(tuple(a_story(f"{prefix}{i}", *FULL))))

        following = asyncio.create_task(follow())
        await asyncio.gather(*(write(w, p) for w, p in zip(writers, "ab", strict=True)))
        done.set()
        await following
    in_table = await connection.fetch("SELECT uid FROM transitions ORDER BY seq")
    assert seen == [row["uid"] for row in in_table]
    assert len(seen) == 2 * 40 * 4
    for writer in writers:
        await writer.close()


async def test_a_database_that_lost_the_claim_is_claimed_again(writer: HistoryWriter, connection: Connection) -> None:
    await writer.open(7)
    await connection.execute("UPDATE meta SET epoch = 3")  # an older backup was restored
    assert await writer.flush(7, Batch(tuple(a_story("a", *FULL)))) is FlushOutcome.WRITTEN
    assert await connection.fetchval("SELECT epoch FROM meta") == 7


# ---------------------------------------------------------------- time
async def test_a_lock_held_by_another_ends_in_unavailable_and_a_later_try_succeeds(
    database_url: str, connection: Connection
) -> None:
    writer = HistoryWriter(database_url, limits=Limits(lock=0.2))
    await writer.open(0)
    batch = Batch(tuple(a_story("a", *FULL)))
    async with connection.transaction():
        await connection.execute("SELECT FROM meta FOR UPDATE")
        with pytest.raises(HistoryUnavailableError, match="lock timeout"):
            await writer.flush(0, batch)
    assert await writer.flush(0, batch) is FlushOutcome.WRITTEN
    await writer.close()


async def test_the_server_ends_a_session_that_hangs_with_the_lock(database_url: str, writer: HistoryWriter) -> None:
    address = Address(database_url, Limits(idle_in_transaction=0.2))
    hung = await address.connect("a frozen writer")
    await hung.execute("BEGIN; SELECT FROM meta FOR UPDATE")
    async with asyncio.timeout(10):
        assert await writer.flush(0, Batch(tuple(a_story("a", *FULL)))) is FlushOutcome.WRITTEN
    hung.terminate()


async def test_a_server_that_does_not_answer_is_given_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        ended.set()

    ended = asyncio.Event()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    history = HistoryWriter(f"postgresql://me:secret@127.0.0.1:{port}/none", limits=Limits(connect=0.3))
    async with asyncio.timeout(10):
        with pytest.raises(HistoryUnavailableError, match="connecting"):
            await history.open(1)
        await ended.wait()  # its connection was closed too
    server.close()
    await server.wait_closed()


# ---------------------------------------------------------------- secrets
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cr3t-word@127.0.0.1:1/none",
        "postgresql://me:s3cr3t-word@127.0.0.1:notaport/none",
        "postgresql://me:s3cr3t-w@rd@127.0.0.1:1/none",
        "mysql://me:s3cr3t-word@127.0.0.1/none",
        "postgresql://127.0.0.1:1/none?user=me&password=s3cr3t-word",
    ],
)
async def test_the_password_is_never_shown(url: str, caplog: pytest.LogCaptureFixture) -> None:
    import traceback

    caplog.set_level(logging.DEBUG)
    writer = HistoryWriter(url, limits=Limits(connect=1))
    with pytest.raises(HistoryUnavailableError) as caught:
        await writer.open(1)
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(Address(url))
    assert "s3cr3t" not in shown
