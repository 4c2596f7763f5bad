"""What lists and the stream of the API cost, on a PostgreSQL of its own. `python bench/api.py --help`.

1. Fills history with ended jobs, and lists them: a page of 100 and of 500, along different filters, over HTTP.
2. Tells transitions at full speed while so many WebSocket clients listen: how many frames a second the API sends, what
   a frame costs it in CPU, and how long after its flush a transition reaches the last client.

The API runs in a process of its own; the clients and the writer share one other. It needs no cluster: nothing here asks
the API server. Figures are of one run on the machine that is printed; compare, do not quote.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
from websockets.asyncio.client import ClientConnection, connect

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from builders import a_job
from history_stories import FULL, a_story, an_entry
from taskjob.core.model import Entry
from taskjob.history.writer import HistoryWriter
from taskjob.ports import Batch
from taskjob_cluster import postgres

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: none
clusters: [{name: none, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: none, user: {}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
"""


def machine() -> str:
    """Where this runs."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    memory = psutil.virtual_memory().total / 2**30
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} x {model}, {memory:.0f} GiB, Python {platform.python_version()}, load before {load:.1f}"


async def fill(writer: HistoryWriter, jobs: int) -> None:
    """So many ended jobs in four queues, a second apart."""
    now = datetime.now(UTC)
    for start in range(0, jobs, 500):
        entries: list[Entry] = []
        for n in range(start, min(start + 500, jobs)):
            job = replace(
                a_job(f"past-{n:07}").in_queue(f"q{n % 4}").build(),
                created_at=now - timedelta(seconds=jobs - n),
                labels=(("taskjobs.dev/group", f"g{n % 100}"),),
            )
            entries += [an_entry(job, before, after, n) for n, (before, after) in
                        enumerate(zip((None, *FULL), FULL, strict=False))]  # fmt: skip
        await writer.flush(1, Batch(tuple(entries)))


async def timed(call: Callable[[], Awaitable[object]], times: int) -> list[float]:
    """Milliseconds of each call."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        await call()
        found.append((time.perf_counter() - began) * 1000)
    return found


async def lists(url: str, api: psutil.Process) -> None:
    """The cost of a page."""
    print("\nlist over HTTP                        median ms   p95 ms   API CPU ms a call   bytes")
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        for query in ("limit=100", "limit=500", "queue=q1", "group=g7", "phase=Pending", "phase=Succeeded&queue=q1"):
            answer = await client.get(f"/jobs/?{query}")
            answer.raise_for_status()
            before = sum(api.cpu_times()[:2])
            found = await timed(lambda query=query: client.get(f"/jobs/?{query}"), 100)  # type: ignore[misc]  # bound now
            cpu = (sum(api.cpu_times()[:2]) - before) * 10
            p95 = statistics.quantiles(found, n=20)[-1]
            print(f"  {query:<34} {statistics.median(found):>9.1f} {p95:>9.1f} {cpu:>19.2f} {len(answer.content):>8}")


async def listen(socket: ClientConnection, expected: int, told_at: dict[str, float], delays: list[float]) -> None:
    """Read so many transitions; note how long after its flush began each came."""
    count = 0
    while count < expected:
        frame = json.loads(await socket.recv())
        if frame["type"] == "TRANSITION":
            count += 1
            delays.append(time.perf_counter() - told_at[frame["job"]["id"] + frame["to"]])


async def fan_out(
    url: str, api: psutil.Process, writer: HistoryWriter, *, clients: int, jobs: int, pause: float
) -> None:
    """So many clients hear so many jobs' stories."""
    sockets = [await connect(f"ws{url.removeprefix('http')}/jobs/stream", max_queue=10_000) for _ in range(clients)]
    for socket in sockets:
        assert json.loads(await socket.recv())["type"] == "HEARTBEAT"
    told_at: dict[str, float] = {}
    delays: list[float] = []
    listening = [asyncio.create_task(listen(socket, 4 * jobs, told_at, delays)) for socket in sockets]
    before, began = sum(api.cpu_times()[:2]), time.perf_counter()
    tag = f"{clients}-{began}"
    stories = [a_story(a_job(f"s{tag}-{n}"), *FULL) for n in range(jobs)]
    for start in range(0, jobs, 10):
        for step in range(len(FULL)):
            entries = [story[step] for story in stories[start : start + 10]]
            now = time.perf_counter()
            told_at.update({e.job.uid + str(t.to_phase): now for e in entries for t in e.transitions})
            await writer.flush(1, Batch(tuple(entries)))
            await asyncio.sleep(pause)
    told = time.perf_counter() - began
    await asyncio.wait_for(asyncio.gather(*listening), 300)
    took, cpu = time.perf_counter() - began, sum(api.cpu_times()[:2]) - before
    frames = 4 * jobs * clients
    rank = statistics.quantiles(delays, n=100)
    print(
        f"  {clients:>4} clients {4 * jobs:>6} transitions told in {told:>5.1f} s: {frames / took:>8.0f} frames/s, "
        f"API CPU {cpu / took * 100:>4.0f} %, {cpu / frames * 1e6:>5.1f} us a frame, "
        f"flush to client ms: median {rank[49] * 1000:.0f}, p99 {rank[98] * 1000:.0f}"
    )
    for socket in sockets:
        socket.transport.abort()


async def measure(arguments: argparse.Namespace, directory: Path) -> None:
    """Everything, against a PostgreSQL in this directory."""
    print(machine())
    server = postgres.start(directory / "postgres")
    try:
        writer = HistoryWriter(server.url)
        await writer.open(1)
        began = time.perf_counter()
        await fill(writer, arguments.jobs)
        print(f"filled history with {arguments.jobs} jobs in {time.perf_counter() - began:.1f} s")
        (directory / "kubeconfig").write_text(KUBECONFIG)
        log = (directory / "api.log").open("w")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "taskjob_api", stderr=log, stdout=log,
            env={**os.environ, "TASKJOBS_DATABASE_URL": server.url, "TASKJOBS_API_PORT": str(arguments.port),
                 "TASKJOBS_INSECURE_LOCAL": "true",
                 "TASKJOBS_KUBECONFIG": str(directory / "kubeconfig")},
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{arguments.port}"
            await answering(url, process)
            api = psutil.Process(process.pid)
            await lists(url, api)
            print("\nstream: as fast as it can be told, then at 100 flushes/s of 10 transitions at most")
            for clients in arguments.clients:
                await fan_out(url, api, writer, clients=clients, jobs=arguments.told, pause=0)
            for clients in arguments.clients:
                await fan_out(url, api, writer, clients=clients, jobs=arguments.told, pause=0.01)
            print(f"\nAPI RSS {api.memory_info().rss / 2**20:.0f} MiB")
        finally:
            process.terminate()
            await process.wait()
            await writer.close()
    finally:
        server.remove()


async def answering(url: str, process: asyncio.subprocess.Process) -> None:
    """Wait until the API answers."""
    async with httpx.AsyncClient(base_url=url) as client:
        for _ in range(300):
            if process.returncode is not None:
                raise SystemExit("the API ended at once; is the port taken?")
            try:
                if (await client.get("/jobs/?limit=1")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
    raise SystemExit("the API did not answer within 30 s")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=20_000, help="jobs in history (20000)")
    parser.add_argument("--told", type=int, default=500, help="jobs told for each fan-out, four transitions each (500)")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 10, 50], help="stream clients (1 10 50)")
    parser.add_argument("--port", type=int, default=18_099)
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(measure(parser.parse_args(), Path(directory)))


if __name__ == "__main__":
    main()
