"""What the API reads from history: pages, one job, logs, the stream; on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from builders import NOON, a_job, at
from history_stories import FULL, a_story
from taskjob.control.logbook import LogBook
from taskjob.control.stamped import Cursor
from taskjob.core.model import AttemptId, Entry, Job, Uid
from taskjob.core.phases import Phase
from taskjob.history.connection import Limits
from taskjob.history.cursors import CursorUnknownError, Position, read_position, write_position
from taskjob.history.reader import HistoryReader, JobFilter, JobRow, TransitionView
from taskjob.history.writer import HistoryWriter
from taskjob.ports import Batch, HistoryUnavailableError, Keep, Log

PENDING, STARTING, RUNNING, SUCCEEDED = FULL
ALL = JobFilter()


@pytest.fixture
async def reader(database_url: str, writer: HistoryWriter) -> AsyncIterator[HistoryReader]:
    async with HistoryReader(database_url, size=2) as reader:
        yield reader


def labelled(job: Job, **labels: str) -> Job:
    return replace(
        job, labels=tuple(sorted((key.replace("__", "/").replace("_", "."), v) for key, v in labels.items()))
    )


async def tell(writer: HistoryWriter, *entries: Entry) -> None:
    await writer.flush(0, Batch(entries))


async def names(reader: HistoryReader, wanted: JobFilter) -> list[str]:
    return [row.name for row in (await reader.jobs(wanted, 100)).items]


async def test_jobs_are_listed_newest_first_page_by_page(writer: HistoryWriter, reader: HistoryReader) -> None:
    # Several share a second, as creationTimestamps do: the uid decides between them.
    stories = [a_story(a_job(f"j{i:02}").created(i // 3), PENDING) for i in range(25)]
    await tell(writer, *(entry for story in stories for entry in story))
    found: list[JobRow] = []
    cursor: str | None = None
    pages = 0
    while pages == 0 or cursor is not None:
        page = await reader.jobs(ALL, 10, cursor)
        found += page.items
        cursor = page.next
        pages += 1
    assert pages == 3
    keys = [(row.created_at, row.uid) for row in found]
    assert len(keys) == 25
    assert keys == sorted(keys, reverse=True)


async def test_the_namespaces_that_have_or_had_jobs_are_told_by_name(
    writer: HistoryWriter, reader: HistoryReader
) -> None:
    assert await reader.namespaces(10) == []
    for n, namespace in enumerate(("b", "a", "b", "c", "B-not-a-namespace")):
        await tell(writer, *a_story(a_job(f"j{n}").in_namespace(namespace), PENDING))
    assert await reader.namespaces(10) == ["B-not-a-namespace", "a", "b", "c"]
    assert await reader.namespaces(2) == ["B-not-a-namespace", "a"]


async def test_a_page_that_ends_with_the_list_has_no_next(writer: HistoryWriter, reader: HistoryReader) -> None:
    await tell(writer, *a_story("a", PENDING), *a_story("b", PENDING))
    assert (await reader.jobs(ALL, 2)).next is None
    assert (await reader.jobs(ALL, 1)).next is not None


async def test_a_job_created_while_paging_does_not_shift_the_pages(
    writer: HistoryWriter, reader: HistoryReader
) -> None:
    await tell(writer, *(a_story(a_job(f"j{i}").created(i), PENDING)[0] for i in range(4)))
    first = await reader.jobs(ALL, 2)
    await tell(writer, *a_story(a_job("newest").created(9), PENDING))
    second = await reader.jobs(ALL, 2, first.next)
    assert [row.name for row in (*first.items, *second.items)] == ["j3", "j2", "j1", "j0"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (ALL, ["e", "d", "c", "b", "a"]),
        (JobFilter(namespaces=["team"]), ["d", "c", "b", "a"]),
        (JobFilter(namespaces=["team", "other", "team"]), ["e", "d", "c", "b", "a"]),
        (JobFilter(namespaces=[]), []),
        (JobFilter(phases=["Running"]), ["c"]),
        (JobFilter(phases=["Running", "Succeeded"]), ["d", "c"]),
        (JobFilter(phases=[]), []),
        (JobFilter(namespaces=["team"], phases=["Pending", "Running"]), ["c", "b", "a"]),
        (JobFilter(queue="gpu"), ["b"]),
        (JobFilter(priority=100), ["c"]),
        (JobFilter(group="g1"), ["e", "d"]),
        (JobFilter(labels={"tier": "x"}), ["e", "c"]),
        (JobFilter(labels={"tier": "x", "taskjobs.dev/group": "g1"}), ["e"]),
        (JobFilter(labels={"tier": "y"}), []),
        (JobFilter(name_prefix="b"), ["b"]),
        (JobFilter(name_prefix="B%"), []),
        (JobFilter(created_after=at(2)), ["e", "d", "c"]),
        (JobFilter(created_before=at(2)), ["b", "a"]),
        (JobFilter(created_after=at(1), created_before=at(3), queue="default"), ["c"]),
        (JobFilter(uid="uid-d"), ["d"]),
        (JobFilter(queue="no\x00such"), []),
    ],
)
async def test_filters_select(
    writer: HistoryWriter, reader: HistoryReader, wanted: JobFilter, expected: list[str]
) -> None:
    stories = [
        a_story(a_job("a").created(0), PENDING),
        a_story(a_job("b").created(1).in_queue("gpu"), PENDING),
        a_story(a_job("c").created(2).of_priority("High"), PENDING, STARTING, RUNNING),
        a_story(a_job("d").created(3), *FULL),
        a_story(a_job("e").created(4).in_namespace("other"), PENDING),
    ]
    labels = {"c": {"tier": "x"}, "d": {"taskjobs_dev__group": "g1"}, "e": {"taskjobs_dev__group": "g1", "tier": "x"}}
    entries = [replace(e, job=labelled(e.job, **labels.get(e.job.name, {}))) for story in stories for e in story]
    await tell(writer, *entries)
    assert await names(reader, wanted) == expected


async def test_a_job_is_read_with_all_that_is_known_of_it(writer: HistoryWriter, reader: HistoryReader) -> None:
    builder = a_job("a").of_priority("Critical").in_queue("q").after("x", "y").asking(cpu=0.5, memory=2**30)
    entries = a_story(builder, PENDING, STARTING, RUNNING, Phase.FAILED)
    entries[-1] = replace(entries[-1], gone_at=at(60))
    await tell(writer, *(replace(e, job=labelled(e.job, app="it")) for e in entries))
    row = await reader.job("uid-a")
    assert row is not None
    assert (row.namespace, row.name, row.queue, row.priority, row.labels) == ("team", "a", "q", 1000, {"app": "it"})
    assert [(d.name, d.condition) for d in row.depends_on] == [("x", "Succeeded"), ("y", "Succeeded")]
    assert (row.phase, row.reason, row.message) == ("Failed", "AttemptFailed", "now Failed")
    assert (row.run, row.attempt, row.retries, row.transition, row.exit_code) == (0, 1, 0, 4, 1)
    assert (row.created_at, row.started_at, row.finished_at, row.gone_at) == (NOON, at(3.5), at(4), at(60))
    assert row.requests == {"cpu": "500m", "memory": "1Gi"}
    [attempt] = row.attempts
    assert (attempt.attempt, attempt.pod_name, attempt.node, attempt.pod_phase) == (1, "a-1", "node", "Failed")
    assert (attempt.exit_code, attempt.failure) == (1, "ExitCode")
    assert attempt.message == 'container "main" exited with code 1'
    assert (attempt.started_at, attempt.finished_at) == (at(3.5), at(4))


async def test_who_knows_a_job_from_history_alone_does_not_take_back_what_it_requested(
    writer: HistoryWriter, reader: HistoryReader
) -> None:
    entries = a_story(a_job("a").asking(cpu=2), PENDING, STARTING)
    await tell(writer, *entries)
    (known,) = await writer.open(0)
    await tell(writer, Entry(known.job, (), gone_at=at(60)))
    row = await reader.job("uid-a")
    assert row is not None
    assert (row.requests, row.gone_at) == ({"cpu": "2"}, at(60))


async def test_an_unknown_job_is_none(reader: HistoryReader) -> None:
    assert await reader.job("nobody") is None
    assert await reader.job("no\x00body") is None
    assert await reader.logs("nobody") is None


async def test_a_value_that_no_column_holds_is_the_callers_mistake(reader: HistoryReader) -> None:
    with pytest.raises(ValueError, match="cannot look for this value"):
        await reader.logs("uid-a", attempt=2**40)


async def test_the_log_of_the_last_attempt_is_the_default(writer: HistoryWriter, reader: HistoryReader) -> None:
    def log(run: int, attempt: int, container: str, body: bytes) -> Log:
        return Log(AttemptId(Uid("u"), run, 0, attempt), container, body, len(body) + 5, 5, "the middle is left out")

    big = b"".join(b"line %d\n" % i for i in range(50_000))
    logs = (
        log(0, 9, "main", b"old run"),
        log(1, 1, "main", b"one"),
        log(1, 2, "aside", b"side"),
        log(1, 2, "main", big),
    )
    await writer.flush(0, Batch(logs=logs))
    last = await reader.logs("u")
    assert last is not None
    assert (last.run, last.attempt, last.container, last.body) == (1, 2, "main", big)
    assert (last.size, last.cut_bytes, last.note) == (len(big) + 5, 5, "the middle is left out")

    async def body(attempt: int | None = None, container: str | None = None, run: int | None = None) -> bytes | None:
        row = await reader.logs("u", attempt, container, run)
        return None if row is None else row.body

    assert await body(attempt=1) == b"one"
    assert await body(container="aside") == b"side"
    assert await body(attempt=9, run=0) == b"old run"
    assert await body(attempt=3) is None


class Interrupted(HistoryReader):
    """Something is written after each statement of its own."""

    def __init__(self, url: str, write: Callable[[], Awaitable[object]]) -> None:
        super().__init__(url, size=2)
        self._write = write

    async def _fetch(self, doing: str, name: str, *arguments: Any) -> list[asyncpg.Record]:
        found = await super()._fetch(doing, name, *arguments)
        await self._write()
        return found


async def test_a_log_that_is_written_while_it_is_read_is_shown_as_it_was_at_one_instant(
    database_url: str, writer: HistoryWriter
) -> None:
    book = LogBook(AttemptId(Uid("u"), 0, 0, 1), "main", 2048)
    written = 0

    async def write() -> None:
        """As many lines as close two chunks, and the beginning of a third."""
        nonlocal written
        for n in range(written, written + 48):
            book.feed(b"line %09d\n" % n, (b"%030d" % n,), line_ends=True)
        written += 48
        await writer.flush(0, Batch(logs=(book.take(Cursor()),)))

    async with Interrupted(database_url, write) as reader:
        await write()
        for _ in range(8):  # the first half fills, then the middle is left out
            lines = written
            row = await reader.logs("u")
            assert row is not None
            assert row.size == 15 * lines
            assert [part.n for part in row.parts] == sorted({part.n for part in row.parts})
            assert len(row.body) + row.cut_bytes == row.size
            assert [int(line) for line in row.body.split(b"line ")[1:]][-1] == lines - 1
        assert row is not None
        assert row.cut_bytes > 0


# ---------------------------------------------------------------- the stream
async def test_a_stream_that_comes_back_misses_nothing_and_repeats_nothing(
    writer: HistoryWriter, reader: HistoryReader
) -> None:
    await tell(writer, *a_story("before", PENDING))
    cursor = await reader.head()
    await tell(writer, *a_story("a", *FULL))
    seen: list[TransitionView] = []
    while True:
        changes = await reader.transitions_after(cursor, ALL, 3)
        seen += changes.rows
        cursor = changes.cursor
        if not changes.more:
            break
    assert [(row.from_phase, row.to_phase) for row in seen] == [
        (None, "Pending"),
        ("Pending", "Starting"),
        ("Starting", "Running"),
        ("Running", "Succeeded"),
    ]
    assert await reader.transitions_after(cursor, ALL, 3) == ((), cursor, False)
    again = await reader.transitions_after(seen[1].cursor, ALL, 100)
    assert list(again.rows) == seen[2:]


async def test_a_cursor_older_than_what_is_kept_is_told_and_one_from_now_goes_on(
    writer: HistoryWriter, reader: HistoryReader
) -> None:
    first = await reader.head()
    story = a_story("old", *FULL)
    await tell(writer, *story[:-1], replace(story[-1], gone_at=at(4)))
    keep = Keep(jobs=timedelta(seconds=1))
    assert (await writer.prune(0, keep, 10)).jobs == 1
    with pytest.raises(CursorUnknownError, match="older than what history keeps"):
        await reader.transitions_after(first, ALL, 10)
    now = await reader.head()
    assert await reader.transitions_after(now, ALL, 10) == ((), now, False)
    await tell(writer, *a_story("new", PENDING))
    assert [row.job.name for row in (await reader.transitions_after(now, ALL, 10)).rows] == ["new"]


async def test_a_frame_shows_the_job_as_it_was_then(writer: HistoryWriter, reader: HistoryReader) -> None:
    start = await reader.head()
    await tell(writer, *a_story(a_job("a").in_queue("q"), *FULL))
    rows = (await reader.transitions_after(start, ALL, 10)).rows
    assert [(r.job.phase, r.job.message, r.job.attempt, r.job.transition) for r in rows] == [
        ("Pending", "now Pending", 0, 1),
        ("Starting", "now Starting", 1, 2),
        ("Running", "now Running", 1, 3),
        ("Succeeded", "now Succeeded", 1, 4),
    ]
    assert {(r.job.uid, r.job.name, r.job.queue) for r in rows} == {("uid-a", "a", "q")}
    assert [r.at for r in rows] == [at(1), at(2), at(3), at(4)]


async def test_filtered_streams_pass_over_what_is_not_wanted(writer: HistoryWriter, reader: HistoryReader) -> None:
    start = await reader.head()
    await tell(writer, *(entry for i in range(30) for entry in a_story(f"j{i}", *FULL)))
    await tell(writer, *a_story(a_job("other").in_namespace("elsewhere"), PENDING))
    only = await reader.transitions_after(start, JobFilter(namespaces=["elsewhere"]), 10)
    assert [(row.job.name, row.to_phase) for row in only.rows] == [("other", "Pending")]
    assert only.cursor == await reader.head()
    ended = await reader.transitions_after(start, JobFilter(phases=["Succeeded"]), 20)
    assert [row.job.name for row in ended.rows] == [f"j{i}" for i in range(20)]
    assert ended.more
    rest = await reader.transitions_after(ended.cursor, JobFilter(phases=["Succeeded"]), 20)
    assert [row.job.name for row in rest.rows] == [f"j{i}" for i in range(20, 30)]
    assert not rest.more
    nothing = await reader.transitions_after(start, JobFilter(queue="none"), 20)
    assert nothing == ((), await reader.head(), False)


@pytest.mark.parametrize("cursor", ["", "nonsense", "%%%", "a" * 5000, "kgEC", "\u00e4"])
async def test_what_is_no_cursor_is_refused(reader: HistoryReader, cursor: str) -> None:
    with pytest.raises(CursorUnknownError):
        await reader.transitions_after(cursor, ALL, 10)
    with pytest.raises(CursorUnknownError):
        await reader.jobs(ALL, 10, cursor)


async def test_a_cursor_of_another_database_is_unknown(
    writer: HistoryWriter, reader: HistoryReader, database_server: str
) -> None:
    position = read_position(await reader.head())
    other = position.incarnation.__class__(int=1)
    with pytest.raises(CursorUnknownError, match="another history"):
        await reader.transitions_after(write_position(Position(other, 0)), ALL, 10)


async def test_a_cursor_beyond_what_is_there_is_unknown(writer: HistoryWriter, reader: HistoryReader) -> None:
    await tell(writer, *a_story("a", PENDING))
    position = read_position(await reader.head())
    with pytest.raises(CursorUnknownError, match="restored"):
        await reader.transitions_after(write_position(position._replace(seq=position.seq + 1)), ALL, 10)


async def test_a_listener_hears_of_each_flush_with_news(writer: HistoryWriter, reader: HistoryReader) -> None:
    heard: asyncio.Queue[None] = asyncio.Queue()
    listening = asyncio.create_task(reader.listen(lambda: heard.put_nowait(None)))
    try:
        async with asyncio.timeout(20):
            await heard.get()  # connected
            await tell(writer, *a_story("a", *FULL))
            await heard.get()
            await tell(writer, *a_story("a", *FULL))  # nothing new: not announced
            await tell(writer, *a_story("b", *FULL))
            await heard.get()
        assert heard.empty(), "one announcement for each flush that told something new"
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_a_database_without_history_says_who_makes_it(database_url: str) -> None:
    async with HistoryReader(database_url) as reader:
        with pytest.raises(HistoryUnavailableError, match="the operator sets it up"):
            await reader.jobs(ALL, 10)


async def test_a_reader_starts_without_a_server_and_says_so_when_asked() -> None:
    url = "postgresql://me:the-secret@127.0.0.1:1/none"
    async with HistoryReader(url, limits=Limits(connect=1)) as reader:
        with pytest.raises(HistoryUnavailableError) as caught:
            await reader.ping()
    assert "the-secret" not in repr(caught.value)


async def test_what_is_created_at_a_microsecond_pages_exactly(writer: HistoryWriter, reader: HistoryReader) -> None:
    instants = [NOON + timedelta(microseconds=n) for n in range(3)]
    for n, instant in enumerate(instants):
        [entry] = a_story(f"j{n}", PENDING)
        await tell(writer, replace(entry, job=replace(entry.job, created_at=instant)))
    first = await reader.jobs(ALL, 2)
    second = await reader.jobs(ALL, 2, first.next)
    assert [row.created_at for row in (*first.items, *second.items)] == instants[::-1]
