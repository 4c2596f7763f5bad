"""What the control loop may rely on from history: one suite, over the fake and over PostgreSQL."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from builders import a_job, at
from fakes_history import FakeHistory
from history_stories import FULL, a_story, an_entry, transition
from taskjob.core.model import AttemptId, Entry, Job, Uid
from taskjob.core.phases import Phase, Reason
from taskjob.history.connection import Limits
from taskjob.history.writer import HistoryWriter
from taskjob.ports import (
    Batch,
    DeposedError,
    FlushOutcome,
    HistoryPort,
    HistoryUnavailableError,
    Keep,
    KeptLog,
    Log,
    LogChunk,
    LogGap,
    Pruned,
)

PENDING, STARTING, RUNNING, SUCCEEDED = FULL
Told = tuple[str, int, str, str, int]


class Subject(ABC):
    """A history under test, and what one sees of it from outside."""

    history: HistoryPort

    @abstractmethod
    async def told(self) -> list[Told]:
        """(uid, attempt, from, to, n) in the order of the sequence."""

    @abstractmethod
    async def job(self, uid: str) -> tuple[str, str, int, datetime | None]:
        """(phase, message, transition, gone_at)"""

    @abstractmethod
    async def attempt(self, attempt: AttemptId) -> tuple[str, int | None, str | None]:
        """(pod's name, exit code, failure)"""

    @abstractmethod
    async def log(self, attempt: AttemptId, container: str) -> tuple[bytes, int, str]:
        """(body, cut bytes, note)"""

    @abstractmethod
    def unavailable(self) -> HistoryPort:
        """The same kind of history, but it cannot be reached."""


class Fake(Subject):
    def __init__(self) -> None:
        self.fake = FakeHistory()
        self.history = self.fake

    async def told(self) -> list[Told]:
        return [(t.attempt.uid, t.attempt.attempt, t.from_phase or "", t.to_phase, t.n) for t in self.fake.transitions]

    async def job(self, uid: str) -> tuple[str, str, int, datetime | None]:
        known = self.fake.jobs[Uid(uid)]
        return known.job.status.phase, known.job.status.message, known.transition, known.gone_at

    async def attempt(self, attempt: AttemptId) -> tuple[str, int | None, str | None]:
        pod = self.fake.attempts[attempt]
        return pod.name, pod.exit_code, pod.failure

    async def log(self, attempt: AttemptId, container: str) -> tuple[bytes, int, str]:
        log = self.fake.logs[attempt, container]
        return log.body, log.cut_bytes, log.note

    def unavailable(self) -> HistoryPort:
        return FakeHistory(available=False)


class Real(Subject):
    def __init__(self, writer: HistoryWriter, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self.history = writer
        self.connection = connection

    async def told(self) -> list[Told]:
        rows = await self.connection.fetch("SELECT uid, attempt, from_phase, to_phase, n FROM transitions ORDER BY seq")
        return [(r["uid"], r["attempt"], r["from_phase"], r["to_phase"], r["n"]) for r in rows]

    async def job(self, uid: str) -> tuple[str, str, int, datetime | None]:
        r = await self.connection.fetchrow("SELECT phase, message, transition, gone_at FROM jobs WHERE uid = $1", uid)
        assert r is not None, f"history knows no job {uid}"
        return r["phase"], r["message"], r["transition"], r["gone_at"]

    async def attempt(self, attempt: AttemptId) -> tuple[str, int | None, str | None]:
        r = await self.connection.fetchrow(
            "SELECT * FROM attempts WHERE (uid, run, member, attempt) = ($1, $2, $3, $4)", *attempt
        )
        assert r is not None, f"history knows no attempt {attempt}"
        return r["pod_name"], r["exit_code"], r["failure"]

    async def log(self, attempt: AttemptId, container: str) -> tuple[bytes, int, str]:
        r = await self.connection.fetchrow(
            "SELECT * FROM logs WHERE (uid, run, member, attempt, container) = ($1, $2, $3, $4, $5)",
            *attempt,
            container,
        )
        assert r is not None, f"history has no log of {attempt}"
        return zlib.decompress(r["body"]), r["cut_bytes"], r["note"]

    def unavailable(self) -> HistoryPort:
        return HistoryWriter("postgresql://nobody:secret@127.0.0.1:1/none", limits=Limits(connect=1))


@pytest.fixture(params=["fake", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    """None: the fake."""
    return None if request.param == "fake" else str(request.getfixturevalue("database_url"))


@pytest.fixture
async def subject(url: str | None) -> AsyncIterator[Subject]:
    if url is None:
        yield Fake()
        return
    writer = HistoryWriter(url)
    await writer.open(0)
    connection = await asyncpg.connect(url, timeout=10)
    yield Real(writer, connection)
    await connection.close()
    await writer.close()


def a_log(job: Job, attempt: int = 1, body: bytes = b"hello\n", container: str = "main", note: str = "") -> Log:
    return Log(AttemptId(job.uid, 0, 0, attempt), container, body, size=len(body), cut_bytes=7, note=note)


async def test_an_empty_history_has_no_open_jobs(subject: Subject) -> None:
    assert list(await subject.history.open(1)) == []


async def test_what_was_told_stands_in_the_order_of_the_sequence(subject: Subject) -> None:
    await subject.history.open(1)
    first, second = a_story("a", *FULL), a_story("b", *FULL)
    entries = [entry for pair in zip(first, second, strict=True) for entry in pair]
    assert await subject.history.flush(1, Batch(tuple(entries[:5]))) is FlushOutcome.WRITTEN
    assert await subject.history.flush(1, Batch(tuple(entries[5:]))) is FlushOutcome.WRITTEN
    expected = [
        (e.job.uid, t.attempt.attempt, t.from_phase or "", t.to_phase, t.n) for e in entries for t in e.transitions
    ]
    assert await subject.told() == expected


async def test_one_entry_may_tell_several_transitions(subject: Subject) -> None:
    story = a_story("late", *FULL)
    whole = Entry(story[-1].job, tuple(t for entry in story for t in entry.transitions))
    await subject.history.flush(0, Batch((whole,)))
    assert [(row[2], row[3]) for row in await subject.told()] == [
        ("", "Pending"),
        ("Pending", "Starting"),
        ("Starting", "Running"),
        ("Running", "Succeeded"),
    ]
    assert (await subject.job("uid-late"))[:3] == ("Succeeded", "now Succeeded", 4)


async def test_a_batch_told_twice_changes_nothing(subject: Subject) -> None:
    job = a_job("a").build()
    batch = Batch(tuple(a_story("a", *FULL)), (a_log(job),))
    await subject.history.flush(0, batch)
    before = await subject.told(), await subject.job(job.uid), await subject.log(AttemptId(job.uid, 0, 0, 1), "main")
    assert await subject.history.flush(0, batch) is FlushOutcome.WRITTEN
    after = await subject.told(), await subject.job(job.uid), await subject.log(AttemptId(job.uid, 0, 0, 1), "main")
    assert after == before


async def test_an_empty_batch_is_written(subject: Subject) -> None:
    assert await subject.history.flush(0, Batch()) is FlushOutcome.WRITTEN


async def test_a_different_transition_with_the_same_number_is_not_swallowed(subject: Subject) -> None:
    job = a_job("a").build()
    await subject.history.flush(0, Batch((an_entry(job, STARTING, RUNNING, 3),)))
    await subject.history.flush(0, Batch((an_entry(job, STARTING, Phase.FAILED, 3),)))
    assert [(row[2], row[3], row[4]) for row in await subject.told()] == [
        ("Starting", "Running", 3),
        ("Starting", "Failed", 3),
    ]


async def test_the_row_of_a_job_only_moves_forward(subject: Subject) -> None:
    story = a_story("a", *FULL)
    await subject.history.flush(0, Batch(tuple(story)))
    await subject.history.flush(0, Batch((story[1],)))
    assert (await subject.job("uid-a"))[:3] == ("Succeeded", "now Succeeded", 4)
    await subject.history.flush(0, Batch((story[3], story[1])))
    assert (await subject.job("uid-a"))[:3] == ("Succeeded", "now Succeeded", 4)


async def test_an_entry_without_transitions_refreshes_why_a_job_waits(subject: Subject) -> None:
    [entry] = a_story("a", PENDING)
    await subject.history.flush(0, Batch((entry,)))
    status = replace(entry.job.status, reason=Reason.WAITING_FOR_QUOTA, message="2 of 3 cores are taken")
    await subject.history.flush(0, Batch((Entry(replace(entry.job, status=status)),)))
    assert (await subject.job("uid-a"))[:3] == ("Pending", "2 of 3 cores are taken", 1)
    assert len(await subject.told()) == 1


async def test_attempts_come_from_the_pods_of_transitions(subject: Subject) -> None:
    await subject.history.flush(0, Batch(tuple(a_story("a", PENDING, STARTING, RUNNING, Phase.FAILED))))
    assert await subject.attempt(AttemptId(Uid("uid-a"), 0, 0, 1)) == ("a-1", 1, "ExitCode")


async def test_an_older_epoch_cannot_open(subject: Subject) -> None:
    await subject.history.open(5)
    with pytest.raises(DeposedError, match=r"epoch 4 is over.*epoch 5"):
        await subject.history.open(4)
    await subject.history.open(5)


async def test_a_flush_of_an_older_epoch_writes_nothing(subject: Subject) -> None:
    await subject.history.open(5)
    batch = Batch(tuple(a_story("a", *FULL)), (a_log(a_job("a").build()),))
    assert await subject.history.flush(4, batch) is FlushOutcome.DEPOSED
    assert await subject.told() == []
    assert list(await subject.history.kept_logs(AttemptId(Uid("uid-a"), 0, 0, 1))) == []
    assert await subject.history.flush(5, batch) is FlushOutcome.WRITTEN


async def test_an_unavailable_history_says_so_on_every_call(subject: Subject) -> None:
    history = subject.unavailable()
    with pytest.raises(HistoryUnavailableError):
        await history.open(1)
    with pytest.raises(HistoryUnavailableError):
        await history.flush(1, Batch(tuple(a_story("a", *FULL))))
    with pytest.raises(HistoryUnavailableError):
        await history.kept_logs(AttemptId(Uid("uid-a"), 0, 0, 1))


async def test_open_tells_the_jobs_that_are_not_gone(subject: Subject) -> None:
    running = a_story(a_job("a").of_priority("High").in_queue("q").after("x", "y"), PENDING, STARTING, RUNNING)
    ended = a_story("b", *FULL)
    left = a_story("c", *FULL)
    left[-1] = replace(left[-1], gone_at=at(9))
    await subject.history.flush(0, Batch((*running, *ended, *left)))
    found = {str(known.job.name): known for known in await subject.history.open(1)}
    assert sorted(found) == ["a", "b"]
    assert (found["a"].recorded, found["a"].terminal) == (3, False)
    assert (found["b"].recorded, found["b"].terminal) == (4, True)
    job, expected = found["a"].job, running[-1].job
    assert job.status == expected.status
    assert (job.uid, job.key, job.queue, job.priority, job.labels, job.depends_on, job.created_at) == (
        expected.uid,
        expected.key,
        expected.queue,
        expected.priority,
        expected.labels,
        expected.depends_on,
        expected.created_at,
    )


async def test_a_job_stays_gone(subject: Subject) -> None:
    story = a_story("a", *FULL)
    await subject.history.flush(0, Batch((*story, Entry(story[-1].job, gone_at=at(7)))))
    await subject.history.flush(0, Batch((story[-1],)))
    assert (await subject.job("uid-a"))[3] == at(7)
    assert list(await subject.history.open(1)) == []


async def test_a_job_can_be_told_gone_by_one_who_knows_less_of_it(subject: Subject) -> None:
    story = a_story("a", *FULL)
    await subject.history.flush(0, Batch(tuple(story)))
    await subject.history.flush(0, Batch((Entry(story[1].job, gone_at=at(7)),)))
    assert await subject.job("uid-a") == ("Succeeded", "now Succeeded", 4, at(7))


async def test_the_number_is_the_greater_of_status_and_transitions(subject: Subject) -> None:
    job = a_job("a").being(PENDING, transition=1).build()
    await subject.history.flush(0, Batch((Entry(job, (transition(job, PENDING, STARTING, 2),)),)))
    [known] = await subject.history.open(1)
    assert known.recorded == 2
    assert known.job.status.transition == 2


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


@pytest.mark.parametrize(
    "message", ["Größe 漢字 🚀", 'a "quoted" \\u0000 text\n\twith controls \x01', "an ending backslash \\"]
)
async def test_unicode_comes_back_as_it_was(subject: Subject, message: str) -> None:
    [entry] = a_story("a", PENDING)
    job = replace(entry.job, status=replace(entry.job.status, message=message))
    await subject.history.flush(0, Batch((replace(entry, job=job),)))
    assert (await subject.job("uid-a"))[1] == message


# ---------------------------------------------------------------- pruning
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
