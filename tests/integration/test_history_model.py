"""The fake and PostgreSQL agree on any story, however it is cut into batches and told again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import a_job, at
from fakes_history import FakeHistory
from history_stories import an_entry
from taskjob.core.model import Entry
from taskjob.core.phases import Phase
from taskjob.history.writer import HistoryWriter
from taskjob.ports import Batch, DeposedError, FlushOutcome

if TYPE_CHECKING:  # the class cannot be subscripted at run time
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]

JOBS = [a_job(name).build() for name in "abc"]


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    job = draw(st.sampled_from(JOBS))
    gone_at = draw(st.one_of(st.none(), st.none(), st.integers(1, 9).map(at)))
    entry = an_entry(
        job,
        draw(st.one_of(st.none(), st.sampled_from(Phase))),
        draw(st.sampled_from(Phase)),
        draw(st.integers(1, 5)),
        gone_at,
    )
    return replace(entry, transitions=()) if draw(st.integers(0, 4)) == 0 else entry


steps = st.lists(st.tuples(st.integers(0, 2), st.lists(entries(), max_size=5), st.booleans()), max_size=8)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=steps)
def test_fake_and_postgresql_hold_the_same_after_any_story(
    database_url: str, story: list[tuple[int, list[Entry], bool]]
) -> None:
    async def tell() -> None:
        connection = await asyncpg.connect(database_url, timeout=10)
        real, fake = HistoryWriter(database_url), FakeHistory()
        try:
            await real.open(2**31)
            await connection.execute("TRUNCATE transitions, jobs, attempts; UPDATE meta SET epoch = 0")
            await tell_both(real, fake, story)
            await compare(connection, fake)
        finally:
            await real.close()
            await connection.close()

    asyncio.run(tell())


async def tell_both(real: HistoryWriter, fake: FakeHistory, story: list[tuple[int, list[Entry], bool]]) -> None:
    for epoch, told, opens in story:
        if opens:
            assert await outcome_of_open(real, epoch) == await outcome_of_open(fake, epoch)
        batch = Batch(tuple(told))
        outcome = await fake.flush(epoch, batch)
        assert await real.flush(epoch, batch) is outcome
        if outcome is FlushOutcome.WRITTEN:
            assert await real.flush(epoch, batch) is outcome


async def compare(connection: Connection, fake: FakeHistory) -> None:
    rows = await connection.fetch("SELECT uid, attempt, from_phase, to_phase, n FROM transitions ORDER BY seq")
    assert [tuple(row) for row in rows] == [
        (t.attempt.uid, t.attempt.attempt, t.from_phase or "", t.to_phase, t.n) for t in fake.transitions
    ]
    rows = await connection.fetch("SELECT uid, phase, message, transition, gone_at FROM jobs ORDER BY uid")
    assert [tuple(row) for row in rows] == [
        (uid, known.job.status.phase, known.job.status.message, known.transition, known.gone_at)
        for uid, known in sorted(fake.jobs.items())
    ]
    rows = await connection.fetch("SELECT uid FROM attempts")
    assert {row["uid"] for row in rows} == {attempt.uid for attempt in fake.attempts}


async def outcome_of_open(history: FakeHistory | HistoryWriter, epoch: int) -> list[tuple[str, int, bool]] | str:
    try:
        return [(known.job.uid, known.recorded, known.terminal) for known in await history.open(epoch)]
    except DeposedError as error:
        return str(error)[:40].partition("(")[0].strip()
