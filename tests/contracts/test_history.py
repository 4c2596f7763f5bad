"""What the control loop may rely on from history: one suite, over the fake and over PostgreSQL."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builders import a_job, at
from history_stories import FULL, a_story, an_entry, transition
from history_subjects import Subject, a_log
from taskjob.core.model import AttemptId, Entry, Uid
from taskjob.core.phases import Phase, Reason
from taskjob.ports import (
    Batch,
    DeposedError,
    FlushOutcome,
    HistoryUnavailableError,
)

PENDING, STARTING, RUNNING, SUCCEEDED = FULL


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


@pytest.mark.parametrize(
    "message", ["Größe 漢字 🚀", 'a "quoted" \\u0000 text\n\twith controls \x01', "an ending backslash \\"]
)
async def test_unicode_comes_back_as_it_was(subject: Subject, message: str) -> None:
    [entry] = a_story("a", PENDING)
    job = replace(entry.job, status=replace(entry.job.status, message=message))
    await subject.history.flush(0, Batch((replace(entry, job=job),)))
    assert (await subject.job("uid-a"))[1] == message
