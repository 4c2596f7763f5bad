"""A page of history costs what is on it, not what is in the table: the plans over 100,000 jobs, as executed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from builders import at
from taskjob.history.connection import PAGE_PLANS
from taskjob.history.cursors import Place
from taskjob.history.reader import JobFilter, page_query, transitions_query
from taskjob.history.statements import SQL
from taskjob.history.writer import HistoryWriter

JOBS = 100_000
LIMIT = 100
# One in 1,000 jobs is running, one in 500 failed; 10 queues, 1,000 namespaces and groups; 2 transitions a
# job. A queue and a namespace have been quiet for long: `q-old` and `ns-old` hold the oldest 10,000 and 5,000.
FILL = """
INSERT INTO jobs (uid, namespace, name, labels, job_group, queue, priority, depends_on, phase, reason, message, run,
                  attempt, retries, transition, created_at, epoch)
SELECT 'uid-' || md5(i::text), CASE WHEN i < 5000 THEN 'ns-old' ELSE 'ns-' || i % 1000 END, 'job-' || i,
       jsonb_build_object('team', 't' || i % 1000, 'all', 'x'),
       'g-' || i / 100, CASE WHEN i < 10000 THEN 'q-old' ELSE 'q-' || i % 10 END,
       (ARRAY[1000, 100, 0, -100])[1 + i % 4], '[]',
       CASE WHEN i % 1000 = 0 THEN 'Running' WHEN i % 500 = 1 THEN 'Failed' ELSE 'Succeeded' END,
       'Completed', 'a message of some length', 0, 1, 0, 4,
       '2026-01-01 12:00+00'::timestamptz + i * interval '1 second', 1
FROM generate_series(1, 100000) i;
INSERT INTO transitions (uid, run, member, attempt, from_phase, to_phase, n, at, reason, message, epoch)
SELECT 'uid-' || md5(i::text), 0, 0, 1, p.before, p.after, p.n, now(), 'Completed', 'a message of some length', 1
FROM generate_series(1, 100000) i,
     (VALUES ('Pending', 'Starting', 2), ('Starting', 'Succeeded', 3)) AS p (before, after, n)
ORDER BY i;
ANALYZE;
"""


@pytest.fixture(scope="module")
def filled(database_server: str) -> Iterator[str]:
    """The URL of a database with 100,000 jobs."""
    from database import a_database

    async def fill(url: str) -> None:
        writer = HistoryWriter(url)
        await writer.open(1)
        await writer.close()
        connection = await asyncpg.connect(url, timeout=10)
        await connection.execute(FILL)
        await connection.close()

    with a_database(database_server) as url:
        asyncio.run(fill(url))
        yield url


def scans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "Relation Name" in plan or plan["Node Type"] == "Bitmap Index Scan":
        yield plan
    for child in plan.get("Plans", ()):
        yield from scans(child)


async def executed(url: str, sql: str, arguments: list[Any]) -> tuple[int, int, list[dict[str, Any]]]:
    """(rows returned, rows touched by scans of jobs and transitions, those scans)"""
    connection = await asyncpg.connect(url, server_settings=PAGE_PLANS, timeout=10)
    try:
        [row] = await connection.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *arguments)
    finally:
        await connection.close()
    plan = json.loads(row[0])[0]["Plan"]
    found = list(scans(plan))
    touched = sum(
        round((s["Actual Rows"] + s.get("Rows Removed by Filter", 0) + s.get("Rows Removed by Index Recheck", 0))
              * s["Actual Loops"])
        for s in found
    )  # fmt: skip
    return round(plan["Actual Rows"] * plan["Actual Loops"]), touched, found


MIDDLE = Place(at(50_000), "uid-f")


@pytest.mark.parametrize(
    ("wanted", "place", "rows", "bound"),
    [
        pytest.param(JobFilter(), None, LIMIT, LIMIT, id="the newest"),
        pytest.param(JobFilter(), MIDDLE, LIMIT, LIMIT, id="from the middle"),
        pytest.param(JobFilter(namespaces=["ns-7"]), None, 95, 190, id="a namespace"),
        pytest.param(JobFilter(namespaces=["ns-7"]), MIDDLE, 45, 90, id="a namespace, from the middle"),
        pytest.param(JobFilter(namespaces=["ns-old"]), None, LIMIT, LIMIT, id="a namespace long quiet"),
        pytest.param(JobFilter(namespaces=["ns-old", "ns-8"]), None, LIMIT, 2 * LIMIT, id="two namespaces"),
        pytest.param(JobFilter(namespaces=[f"ns-{i}" for i in range(20)]), None, LIMIT, 2000, id="20 namespaces"),
        pytest.param(JobFilter(namespaces=["none"]), None, 0, 0, id="an empty namespace"),
        pytest.param(JobFilter(queue="q-3"), MIDDLE, LIMIT, LIMIT, id="a queue"),
        pytest.param(JobFilter(queue="q-old"), None, LIMIT, LIMIT, id="a queue long quiet"),
        pytest.param(JobFilter(queue="q-old", priority=0), None, LIMIT, 5 * LIMIT, id="a priority in it"),
        pytest.param(JobFilter(queue="q-old", phases=["Succeeded"]), None, LIMIT, 2 * LIMIT, id="a phase in it"),
        pytest.param(JobFilter(queue="q-old", phases=["Running"]), None, 9, 200, id="what is old and runs"),
        pytest.param(JobFilter(priority=1000), MIDDLE, LIMIT, LIMIT, id="a priority"),
        pytest.param(JobFilter(group="g-500"), None, 100, 100, id="a group"),
        pytest.param(JobFilter(phases=["Running"]), None, 100, 100, id="what runs"),
        pytest.param(JobFilter(phases=["Running", "Starting", "Pending"]), None, 100, 100, id="what is active"),
        pytest.param(JobFilter(phases=["Failed"], namespaces=["ns-501"]), None, 95, 400, id="failed in a namespace"),
        pytest.param(JobFilter(phases=["Succeeded"], namespaces=["ns-7"]), None, 95, 190, id="succeeded in one"),
        pytest.param(JobFilter(labels={"team": "t77"}), None, 100, 300, id="a rare label"),
        pytest.param(JobFilter(labels={"all": "x"}), MIDDLE, LIMIT, LIMIT, id="a label of all"),
        pytest.param(JobFilter(name_prefix="job-9999"), None, 11, 30, id="a rare prefix"),
        pytest.param(JobFilter(name_prefix="job-"), MIDDLE, LIMIT, LIMIT, id="a prefix of all"),
        pytest.param(JobFilter(created_after=at(99_990)), None, 11, 11, id="the latest seconds"),
        pytest.param(JobFilter(queue="q-3", created_before=at(30_000)), None, LIMIT, LIMIT, id="a queue, long ago"),
        pytest.param(JobFilter(queue="q-3", created_after=at(99_000)), MIDDLE, 0, 0, id="a queue, no such time"),
        pytest.param(
            JobFilter(phases=["Running", "Failed"], created_before=at(50_000)),
            None,
            LIMIT,
            2 * LIMIT,
            id="ended long ago",
        ),
        pytest.param(JobFilter(created_before=at(500)), None, LIMIT, LIMIT, id="the oldest"),
    ],
)
async def test_a_page_touches_what_it_shows(
    filled: str, wanted: JobFilter, place: Place | None, rows: int, bound: int
) -> None:
    name, arguments = page_query(wanted, place, LIMIT)
    returned, touched, found = await executed(filled, SQL[name], arguments)
    assert returned == rows
    assert not [s for s in found if s["Node Type"] == "Seq Scan"], found
    assert touched <= bound, f"{touched} rows touched for {returned}: {found}"


async def test_following_the_stream_touches_only_what_is_new(filled: str) -> None:
    arguments = transitions_query(JobFilter(queue="q-3"), 2 * JOBS - 50, 1000)
    returned, touched, found = await executed(filled, SQL["transitions_after"], arguments)
    assert returned == 4  # of 50 transitions of 25 jobs, those of 2 in this queue
    assert not [s for s in found if s["Node Type"] == "Seq Scan" and s["Relation Name"] != "meta"], found
    assert touched <= 50 + 50 + 4, f"{touched} rows touched: {found}"


async def test_the_namespaces_are_found_one_step_each_however_many_jobs_they_have(filled: str) -> None:
    returned, touched, found = await executed(filled, SQL["namespaces"], [201])
    assert returned == 201
    assert not [s for s in found if s["Node Type"] == "Seq Scan"], found
    assert touched <= 203, f"{touched} rows touched: {found}"
