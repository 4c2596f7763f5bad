"""How fast history is written and read: `python bench/history.py [--entries 1000] [--flushes 40]`.

Writes whole stories (appeared, Starting, Running, Succeeded) of jobs in batches, as the recorder does. An entry is one
transition; with its job's row and, from Starting on, its attempt's row, it touches 2.75 rows on average. The figures
are of the client's process alone (CPU) and of both together (rate). Starts a PostgreSQL of its own, or uses a new
database on the server that TASKJOBS_DATABASE_URL names.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import secrets
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil

from taskjob.core.model import (
    AttemptId,
    Entry,
    Job,
    JobName,
    Namespace,
    Pod,
    PodTemplate,
    PodUid,
    QueueName,
    Status,
    Transition,
    Uid,
)
from taskjob.core.phases import Phase, PodPhase, Reason
from taskjob.history.cursors import read_position, write_position
from taskjob.history.reader import HistoryReader, JobFilter
from taskjob.history.writer import HistoryWriter
from taskjob.ports import Batch, Log
from taskjob_cluster import postgres

START = datetime(2026, 1, 1, tzinfo=UTC)
STEPS = (
    (None, Phase.PENDING, Reason.QUEUED),
    (Phase.PENDING, Phase.STARTING, Reason.LAUNCHED),
    (Phase.STARTING, Phase.RUNNING, Reason.STARTED),
    (Phase.RUNNING, Phase.SUCCEEDED, Reason.COMPLETED),
)


def entry(number: int, step: int) -> Entry:
    before, after, reason = STEPS[step]
    uid = Uid(f"{number:08x}-1b2c-4d5e-8f90-0123456789ab")
    at = START + timedelta(seconds=number, milliseconds=step * 137)
    identity = AttemptId(uid, 0, 0, min(step, 1))
    message = "waits for 2 of 4 dependencies: extract, load" if step == 0 else ""
    status = Status(
        phase=after, reason=reason, message=message, attempt=identity.attempt, transition=step + 1, epoch=1,
        queued_at=at, admitted_at=at if step else None, started_at=at if step > 1 else None,
        finished_at=at if step > 2 else None, pod_name=f"job-{number}-abcde-1" if step else None,
        node_name="node-1" if step > 1 else None, exit_code=0 if step > 2 else None,
    )  # fmt: skip
    job = Job(
        uid, Namespace(f"team-{number % 20}"), JobName(f"job-{number}"), 1000 + step, 1, at, QueueName("default"), 0,
        (), PodTemplate(b"{}"), labels=(("app", "bench"), ("taskjobs.dev/group", f"graph-{number // 10}")),
        status=status,
    )  # fmt: skip
    phase = (PodPhase.PENDING, PodPhase.PENDING, PodPhase.RUNNING, PodPhase.SUCCEEDED)[step]
    pod = None if step == 0 else Pod(
        PodUid(f"pod-{uid}"), f"job-{number}-abcde-1", job.namespace, 5, identity, job.queue, (), phase, at,
        node=status.node_name, started_at=status.started_at, finished_at=status.finished_at, exit_code=status.exit_code,
    )  # fmt: skip
    return Entry(job, (Transition(identity, before, after, step + 1, at, reason, message, pod),))


def batches(entries: int, flushes: int) -> list[Batch]:
    """Each holds one step of as many jobs, so that nothing in it is coalesced."""
    return [Batch(tuple(entry(group * entries + i, step) for i in range(entries)))
            for group in range(flushes // 4) for step in range(4)]  # fmt: skip


async def timed(calls: list[Callable[[], Awaitable[object]]]) -> tuple[list[float], float]:
    """Seconds of each call, and the CPU seconds of this process for all."""
    took = []
    cpu = time.process_time()
    for call in calls:
        began = time.perf_counter()
        await call()
        took.append(time.perf_counter() - began)
    return took, time.process_time() - cpu


async def measure(url: str, entries: int, flushes: int) -> None:
    writer = HistoryWriter(url)
    await writer.open(1)
    await writer.flush(1, Batch((entry(2**31, 0),)))  # prepared statements, caches
    told = batches(entries, flushes)
    count = sum(len(batch.entries) for batch in told)
    for what in ("told first", "told again"):
        took, cpu = await timed([partial(writer.flush, 1, batch) for batch in told])
        print(
            f"flush, {what}: {count / sum(took):9,.0f} entries/s, client CPU {cpu / count * 1e6:5.1f} µs/entry, "
            f"a flush of {entries}: median {statistics.median(took) * 1e3:.1f} ms, slowest {max(took) * 1e3:.1f} ms"
        )
    await writer.close()
    writer = HistoryWriter(url)
    [(open_seconds,), cpu] = await timed([partial(writer.open, 1)])
    print(f"open with {count // 4:,} open jobs: {open_seconds:.2f} s, client CPU {cpu:.2f} s")
    body = Path(asyncio.__file__).with_name("base_events.py").read_bytes() * 16
    logs = [Batch(logs=(Log(AttemptId(Uid(f"log-{i}"), 0, 0, 1), "main", body, len(body)),)) for i in range(20)]
    took, cpu = await timed([partial(writer.flush, 1, batch) for batch in logs])
    size = len(body) / 2**20
    print(f"a log of {size:.1f} MB: median {statistics.median(took) * 1e3:.0f} ms, CPU {cpu / 20 * 1e3:.0f} ms")
    await writer.close()
    connection = await asyncpg.connect(url, timeout=10)
    await connection.execute("ANALYZE")  # as autovacuum does in the long run
    await connection.close()
    async with HistoryReader(url) as reader:
        for name, wanted in (
            ("all", JobFilter()),
            ("a namespace", JobFilter(namespaces=["team-3"])),
            ("three namespaces", JobFilter(namespaces=["team-3", "team-4", "team-5"])),
            ("a group", JobFilter(group="graph-7")),
            ("a label", JobFilter(labels={"app": "bench"})),
        ):
            took, cpu = await timed([partial(reader.jobs, wanted, 100) for _ in range(50)])
            print(f"a page of 100, {name}: median {statistics.median(took) * 1e3:.1f} ms, CPU {cpu / 50 * 1e3:.1f} ms")
        cursor = write_position(read_position(await reader.head())._replace(seq=0))
        began, cpu, rows = time.perf_counter(), time.process_time(), 0
        while True:
            changes = await reader.transitions_after(cursor, JobFilter(), 500)
            rows, cursor = rows + len(changes.rows), changes.cursor
            if not changes.more:
                break
        cpu, seconds = time.process_time() - cpu, time.perf_counter() - began
        print(
            f"the stream from its start: {rows / seconds:,.0f} transitions/s, client CPU {cpu / rows * 1e6:.1f} µs each"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--entries", type=int, default=1000, help="of one flush")
    parser.add_argument("--flushes", type=int, default=40)
    arguments = parser.parse_args()
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.processor())  # fmt: skip
    memory = psutil.virtual_memory().total / 2**30
    print(f"machine: {os.cpu_count()} cores, {model}, {memory:.0f} GiB; load {os.getloadavg()[0]:.1f} at the start")
    server = postgres.start()
    name = f"taskjobs_bench_{secrets.token_hex(4)}"

    async def run() -> None:
        connection = await asyncpg.connect(server.url, timeout=10)
        print(f"{await connection.fetchval('SHOW server_version')} is PostgreSQL's version, fsync "
              f"{await connection.fetchval('SHOW fsync')}; Python {platform.python_version()}")  # fmt: skip
        await connection.execute(f"CREATE DATABASE {name}")
        try:
            await measure(urlsplit(server.url)._replace(path=f"/{name}").geturl(), arguments.entries, arguments.flushes)
        finally:
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
            await connection.close()

    try:
        asyncio.run(run())
    finally:
        server.remove()


if __name__ == "__main__":
    main()
