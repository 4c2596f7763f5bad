"""What PostgreSQL cannot hold, or a release does not know, is cleaned or left out alone; the rest is written."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import a_job
from history_stories import FULL, a_story, expected_keys, keys
from taskjob.core.model import AttemptId, Entry, JobName, Uid
from taskjob.history.reader import HistoryReader
from taskjob.history.rows import clean_text
from taskjob.history.writer import HistoryWriter
from taskjob.ports import Batch, FlushOutcome, Log

if TYPE_CHECKING:  # the class cannot be subscripted at run time
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

PENDING, STARTING, RUNNING, SUCCEEDED = FULL


async def test_text_that_postgresql_cannot_hold_is_cleaned(writer: HistoryWriter, connection: Connection) -> None:
    [entry] = a_story("a", PENDING)
    message = "null \x00, lone \ud800 and \udc00, a pair \ud83d\ude80"
    labels = (("k\x00", "v\ud800"), ("plain", "x"))
    job = replace(entry.job, labels=labels, status=replace(entry.job.status, message=message))
    told = replace(entry.transitions[0], message=message)
    log = Log(AttemptId(job.uid, 0, 0, 1), "main\x00", b"\x00\xff", 2, note="\udfff")
    assert await writer.flush(0, Batch((Entry(job, (told,)),), (log,))) is FlushOutcome.WRITTEN
    cleaned = "null \ufffd, lone \ufffd and \ufffd, a pair \N{ROCKET}"
    assert await connection.fetchval("SELECT message FROM transitions") == cleaned
    row = await connection.fetchrow("SELECT message, labels ->> 'plain' AS plain, labels ? 'k\ufffd' AS key FROM jobs")
    assert row is not None
    assert tuple(row) == (cleaned, "x", True)
    assert await connection.fetchval("SELECT container FROM logs") == "main\ufffd"


async def test_one_entry_that_is_refused_does_not_hold_up_the_others(
    writer: HistoryWriter, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    stories = [a_story(f"j{i}", *FULL) for i in range(20)]
    [bad] = a_story(a_job("bad").of_priority(2**40), PENDING)  # no integer of PostgreSQL's
    entries = [e for story in stories for e in story]
    log = Log(AttemptId(Uid("uid-j3"), 0, 0, 1), "main", b"x", 1)
    far = replace(log, size=2**70)
    caplog.set_level(logging.ERROR, logger="taskjob.history")
    batch = Batch((*entries[:30], bad, *entries[30:]), (log, replace(far, container="far")))
    assert await writer.flush(0, batch) is FlushOutcome.WRITTEN
    assert await keys(connection) == expected_keys(entries), "all but the bad one, in order"
    assert await connection.fetchval("SELECT count(*) FROM logs") == 1
    assert writer.refused == 2
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert "uid-bad" in lines[0]
    assert "n=1" in lines[0]
    assert "far" in lines[1]


async def test_a_name_too_long_for_an_index_is_left_out_alone(writer: HistoryWriter, connection: Connection) -> None:
    import random

    noise = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=20_000))
    [bad] = a_story("bad", PENDING)
    bad = replace(bad, job=replace(bad.job, name=JobName(noise)))
    good = a_story("good", PENDING)
    assert await writer.flush(0, Batch((bad, *good))) is FlushOutcome.WRITTEN
    assert await keys(connection) == expected_keys(good)


async def test_a_job_in_words_of_a_newer_release_is_left_out_and_named(
    writer: HistoryWriter, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    await writer.flush(0, Batch((*a_story("a", *FULL), *a_story("b", *FULL))))
    await connection.execute("UPDATE jobs SET phase = 'Dreaming' WHERE uid = 'uid-a'")
    assert [known.job.uid for known in await writer.open(1)] == ["uid-b"]
    assert "uid-a" in caplog.text
    assert "Dreaming" in caplog.text


@given(st.text(st.characters(codec=None), max_size=60))
def test_cleaned_text_is_utf8_without_nul_and_cleaning_again_changes_nothing(text: str) -> None:
    cleaned = clean_text(text)
    assert "\x00" not in cleaned
    cleaned.encode("utf-8")
    assert clean_text(cleaned) == cleaned


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=60))
def test_text_that_postgresql_can_hold_is_not_touched(text: str) -> None:
    assert clean_text(text) == text


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(codec=None), max_size=80), name=st.text(st.characters(codec=None), max_size=30))
def test_any_text_can_be_told(database_url: str, text: str, name: str) -> None:
    async def tell() -> Any:
        writer = HistoryWriter(database_url)
        await writer.open(0)
        [entry] = a_story(a_job("a").with_uid(f"u-{text}"), PENDING)
        job = replace(entry.job, labels=((name, text),), status=replace(entry.job.status, message=text))
        await writer.flush(0, Batch((replace(entry, job=job),)))
        await writer.close()
        async with HistoryReader(database_url) as reader:
            return await reader.job(f"u-{text}")

    row = asyncio.run(tell())
    assert row is not None
    assert row.message == clean_text(text)
    assert row.labels == {clean_text(name): clean_text(text)}
