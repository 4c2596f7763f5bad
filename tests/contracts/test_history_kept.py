"""What history keeps of logs, and for how long: over the fake and over PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from builders import a_job, at
from history_stories import FULL, a_story
from history_subjects import Subject, a_log
from taskjob.core.model import AttemptId, Job, Uid
from taskjob.ports import (
    Batch,
    HistoryUnavailableError,
    Keep,
    KeptLog,
    Log,
    LogChunk,
    LogGap,
    Pruned,
)


async def test_logs_are_kept_as_they_were(subject: Subject) -> None:
    job = a_job("a").build()
    body = bytes(range(256)) * 400
    await subject.history.flush(0, Batch(logs=(a_log(job, body=body, note="cut"), a_log(job, container="side"))))
    assert await subject.log(AttemptId(job.uid, 0, 0, 1), "main") == (body, 7, "cut")
    assert await subject.log(AttemptId(job.uid, 0, 0, 1), "side") == (b"hello\n", 7, "")


async def test_kept_logs_tells_what_is_held_of_each_container(subject: Subject) -> None:
    job = a_job("a").build()
    attempt = AttemptId(job.uid, 0, 0, 1)
    logs = (a_log(job, container="side"), a_log(job, container="main"), a_log(job, 2))
    await subject.history.flush(0, Batch(logs=logs))
    assert list(await subject.history.kept_logs(attempt)) == [KeptLog(logs[1]), KeptLog(logs[0])]
    assert list(await subject.history.kept_logs(AttemptId(job.uid, 0, 0, 3))) == []


def a_part(job: Job, body: bytes, *new: int, number: int, head: int = 0, tail: int = 0, **fields: Any) -> Log:
    """A log that grows; its new chunks are told by their numbers."""
    chunks = tuple(LogChunk(n, b"chunk %d\n" % n, b"time %d\n" % n) for n in new)
    attempt = AttemptId(job.uid, 0, 0, 1)
    shape: dict[str, Any] = {"size": 8, "times": b"t\n", "complete": False, "resume": "t 1 2", "main": True} | fields
    return Log(attempt, "main", body, chunks=chunks, number=number, head=head, tail=tail, **shape)


def held(log: Log, *numbers: int) -> KeptLog:
    """What is held, without the chunks' contents."""
    return KeptLog(replace(log, chunks=()), tuple((n, 8) for n in numbers))


@pytest.mark.parametrize("in_one_batch", [True, False])
async def test_a_log_grows_by_chunks_and_loses_those_that_are_left_out(subject: Subject, in_one_batch: bool) -> None:
    job = a_job("a").build()
    gaps = (LogGap(0, "rotated"), LogGap(5, "away \N{ROCKET}", 17))
    parts = [
        a_part(job, b"op", number=0),
        a_part(job, b"open", 0, 1, 2, number=3, head=1, tail=1),
        a_part(job, b"", 3, 4, number=5, head=1, tail=3, gaps=gaps, cut_bytes=16),
    ]
    batches = [tuple(parts)] if in_one_batch else [(part,) for part in parts]
    for logs in batches:
        await subject.history.flush(0, Batch(logs=logs))
    assert list(await subject.history.kept_logs(parts[0].attempt)) == [held(parts[2], 0, 3, 4)]
    await subject.history.flush(0, Batch(logs=batches[-1]))
    assert list(await subject.history.kept_logs(parts[0].attempt)) == [held(parts[2], 0, 3, 4)], "told twice"


async def test_a_log_that_is_complete_grows_no_more(subject: Subject) -> None:
    job = a_job("a").build()
    whole = a_part(job, b"end", 0, number=1, head=1, tail=1, complete=True, resume="")
    await subject.history.flush(0, Batch(logs=(a_part(job, b"", 0, number=1, head=1, tail=1),)))
    await subject.history.flush(0, Batch(logs=(whole,)))
    await subject.history.flush(0, Batch(logs=(a_part(job, b"more", 1, 2, number=3, head=3, tail=3),)))
    assert list(await subject.history.kept_logs(whole.attempt)) == [held(whole, 0)]


async def test_a_log_that_is_read_anew_from_its_beginning_replaces_what_was_read_of_it(subject: Subject) -> None:
    job = a_job("a").build()
    await subject.history.flush(0, Batch(logs=(a_part(job, b"x", 0, 1, 2, number=3, head=3, tail=3),)))
    anew = a_part(job, b"y", 0, number=1, head=1, tail=1)
    await subject.history.flush(0, Batch(logs=(anew,)))
    assert list(await subject.history.kept_logs(anew.attempt)) == [held(anew, 0)]


async def test_a_later_capture_replaces_only_an_empty_log(subject: Subject) -> None:
    job = a_job("a").build()
    attempt = AttemptId(job.uid, 0, 0, 1)
    await subject.history.flush(0, Batch(logs=(a_log(job, body=b"", note="the kubelet did not answer"),)))
    assert [kept.log.size for kept in await subject.history.kept_logs(attempt)] == [0]
    await subject.history.flush(0, Batch(logs=(a_log(job, body=b"first"),)))
    await subject.history.flush(0, Batch(logs=(a_log(job, body=b"second"),)))
    assert (await subject.log(attempt, "main"))[0] == b"first"


LONG, NEVER = timedelta(days=300), timedelta(0)


async def a_past(subject: Subject) -> None:
    """Three jobs: one left long ago, one has just left, one is there still; each with a log."""
    await subject.history.open(1)
    now = datetime.now(UTC)
    for name, gone_at in (("old", at(0)), ("new", now), ("live", None)):
        story = a_story(name, *FULL)
        story[-1] = replace(story[-1], gone_at=gone_at)
        await subject.history.flush(1, Batch(tuple(story), (a_log(story[0].job),)))


async def left(subject: Subject) -> tuple[set[str], set[str]]:
    """Whose transitions, and whose logs, are there."""
    logs = {
        name
        for name in ("old", "new", "live")
        if await subject.history.kept_logs(AttemptId(Uid(f"uid-{name}"), 0, 0, 1))
    }
    return {row[0].removeprefix("uid-") for row in await subject.told()}, logs


async def test_jobs_that_left_long_ago_go_with_all_of_theirs_and_no_others(subject: Subject) -> None:
    await a_past(subject)
    age = datetime.now(UTC) - at(0)
    keep = Keep(jobs=age - timedelta(hours=1))
    assert await subject.history.prune(0, keep, 10) == Pruned(), "an older epoch prunes nothing"
    assert await subject.history.prune(1, keep, 10) == Pruned(jobs=1)
    assert await left(subject) == ({"new", "live"}, {"new", "live"})
    assert await subject.history.prune(1, keep, 10) == Pruned()
    assert await subject.history.prune(1, Keep(), 10) == Pruned()


async def test_logs_go_before_their_jobs_but_never_those_of_a_job_that_is_there(subject: Subject) -> None:
    await a_past(subject)
    assert await subject.history.prune(1, Keep(logs=LONG), 10) == Pruned()
    assert await subject.history.prune(1, Keep(logs=NEVER), 1) == Pruned(logs=1)
    assert await subject.history.prune(1, Keep(logs=NEVER), 10) == Pruned(logs=1)
    assert await left(subject) == ({"old", "new", "live"}, {"live"})


async def test_an_unavailable_history_prunes_nothing(subject: Subject) -> None:
    with pytest.raises(HistoryUnavailableError):
        await subject.unavailable().prune(1, Keep(jobs=LONG), 10)
