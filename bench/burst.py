"""What a whole operator does and costs: many TaskJobs at once, then a few each second, on simulated nodes.

    python bench/burst.py [--jobs 2000] [--rate 10] [--rate-seconds 20] [--profile FILE]

Everything (control plane, PostgreSQL, operator, this program) shares the machine, so that finished jobs a second are
the machine's CPU divided by what one job costs; what other programs took meanwhile is printed too. CPU is user and
system time of each process, from the first create until the operator has recorded and removed everything.
`--profile` runs the operator under cProfile, which makes it slower, and writes the figures to a file.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import re
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import psutil

from taskjob_cluster import Cluster, postgres, up

IN_FLIGHT = 50
LONGEST_SECONDS = 300
ROOT = "/apis/taskjobs.dev/v1beta1"
_COUNTED = re.compile(r"^apiserver_request_total\{([^}]*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_WRITES = ("POST", "PUT", "PATCH", "APPLY", "DELETE")


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    resource_version: str = ""
    labels: dict[str, str] = {}


class _Status(msgspec.Struct, frozen=True):
    phase: str = ""


class _Object(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()
    status: _Status = _Status()


class _Event(msgspec.Struct, frozen=True):
    type: str = ""
    object: _Object = _Object()


class _List(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()
    items: tuple[_Object, ...] = ()


_decode = msgspec.json.Decoder(_Event).decode
_decode_list = msgspec.json.Decoder(_List).decode


@dataclass(slots=True)
class Seen:
    """When things happened, by job name, in seconds of one monotonic clock."""

    created: dict[str, float] = field(default_factory=dict)
    launched: dict[str, float] = field(default_factory=dict)
    finished: dict[str, float] = field(default_factory=dict)
    pods: set[str] = field(default_factory=set)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def until_finished(self, count: int) -> None:
        """Wait until so many jobs have finished and no pod is left."""
        while len(self.finished) < count or self.pods:
            self.news.clear()
            await self.news.wait()

    def take(self, resource: str, event: _Event) -> None:
        """One event of a watch."""
        now, meta = time.monotonic(), event.object.metadata
        if (meta.labels.get("taskjobs.dev/job-name") or meta.name) not in self.created:
            return  # of an earlier measurement
        if resource == "pods":
            job = meta.labels.get("taskjobs.dev/job-name", "")
            if event.type == "DELETED":
                self.pods.discard(meta.name)
            else:
                self.pods.add(meta.name)
                self.launched.setdefault(job, now)
        elif event.object.status.phase in ("Succeeded", "Failed", "Cancelled", "Skipped"):
            self.finished.setdefault(meta.name, now)
        self.news.set()


class Load:
    """Creates TaskJobs in a cluster and watches what becomes of them."""

    def __init__(self, session: aiohttp.ClientSession, server: str) -> None:
        self.session = session
        self.server = server
        self.seen = Seen()

    async def create(self, name: str, queue: str) -> None:
        """One TaskJob of a cpu and 64Mi, whose pod ends at once."""
        body = {
            "apiVersion": "taskjobs.dev/v1beta1",
            "kind": "TaskJob",
            "metadata": {"name": name},
            "spec": {"queue": queue, "image": "busybox", "resources": {"requests": {"cpu": "1", "memory": "64Mi"}}},
        }
        self.seen.created[name] = time.monotonic()
        async with self.session.post(f"{self.server}{ROOT}/namespaces/default/taskjobs", json=body) as answer:
            answer.raise_for_status()

    async def watch(self, resource: str, path: str) -> None:
        """Follow a collection from now on, until cancelled."""
        timeout = aiohttp.ClientTimeout(total=None)
        while True:  # the server may end a watch at any time, with or without an ERROR: list and go on
            async with self.session.get(f"{self.server}{path}") as answer:
                listed = _decode_list(await answer.read())
            if resource == "pods":
                self.seen.pods.clear()  # those that went unseen are not listed
            for item in listed.items:
                self.seen.take(resource, _Event("ADDED", item))
            query = f"?watch=true&resourceVersion={listed.metadata.resource_version}&timeoutSeconds=3600"
            async with self.session.get(f"{self.server}{path}{query}", timeout=timeout) as answer:
                rest = b""
                async for piece in answer.content.iter_any():
                    *lines, rest = (rest + piece).split(b"\n")
                    for line in lines:
                        if not line.startswith(b'{"type":"ERROR"'):
                            self.seen.take(resource, _decode(line))

    async def writes(self) -> Counter[tuple[str, str]]:
        """Writes that the API server has carried out so far: (verb, resource) -> how many."""
        async with self.session.get(f"{self.server}/metrics") as answer:
            text = await answer.text()
        counted: Counter[tuple[str, str]] = Counter()
        for labels_text, count in _COUNTED.findall(text):
            labels = dict(_LABEL.findall(labels_text))
            if labels["verb"] in _WRITES and labels["code"].startswith(("2", "4")):
                resource = "/".join(filter(None, (labels["resource"], labels["subresource"])))
                counted[labels["verb"], resource] += int(float(count))
        return counted


class Meter:
    """CPU seconds by process since it was made."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._before = self._read()

    def _read(self) -> dict[str, float]:
        found = {}
        for name, process in self._processes.items():
            tree = [process, *(process.children(recursive=True) if name == "postgres" else [])]
            found[name] = sum(sum(each.cpu_times()[:2]) for each in tree if each.is_running())
        busy = psutil.cpu_times()
        found["all busy"] = sum(busy) - busy.idle - busy.iowait
        return found

    def spent(self) -> dict[str, float]:
        """Seconds since then; `others` is what no process that we know of took."""
        now = self._read()
        spent = {name: now[name] - before for name, before in self._before.items()}
        known = sum(seconds for name, seconds in spent.items() if name != "all busy")
        return {**spent, "others": spent["all busy"] - known}


def percentiles(begun: Mapping[str, float], ended: Mapping[str, float]) -> str:
    """p50 and p99 of the time between, in milliseconds."""
    times = sorted(ended[name] - at for name, at in begun.items() if name in ended)
    if not times:
        return "none"
    p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
    return f"p50 {times[len(times) // 2] * 1000:,.0f} ms, p99 {p99 * 1000:,.0f} ms"


def told(title: str, count: int, meter: Meter, writes: Counter[tuple[str, str]], seen: Seen) -> Iterator[str]:
    """The lines of one measurement."""
    wall = max(seen.finished.values()) - min(seen.created.values())
    spent = meter.spent()
    yield f"{title}: {count} jobs finished in {wall:.1f} s, {count / wall:.1f}/s"
    yield f"  create -> pod       {percentiles(seen.created, seen.launched)}"
    yield f"  create -> finished  {percentiles(seen.created, seen.finished)}"
    yield "  CPU ms per job      " + ", ".join(f"{name} {1000 * each / count:.2f}" for name, each in spent.items())
    total = sum(writes.values()) / count
    yield f"  API writes per job  {total:.2f}: " + ", ".join(
        f"{verb} {resource} {number / count:.2f}"
        for (verb, resource), number in writes.most_common()
        if number > count / 50
    )


async def measure(load: Load, pids: Mapping[str, int], names: Sequence[str], queue: str, rate: float | None) -> None:
    """Create the jobs, at once or `rate` a second, and tell what it took."""
    load.seen = Seen()
    watches = [
        asyncio.create_task(load.watch("pods", "/api/v1/namespaces/default/pods")),
        asyncio.create_task(load.watch("taskjobs", f"{ROOT}/namespaces/default/taskjobs")),
    ]
    writes, meter = await load.writes(), Meter(pids)
    gate = asyncio.Semaphore(IN_FLIGHT)

    async def one(name: str, number: int) -> None:
        if rate is not None:
            await asyncio.sleep(number / rate)
        async with gate:
            await load.create(name, queue)

    await asyncio.gather(*(one(name, number) for number, name in enumerate(names)))
    finished = asyncio.create_task(load.seen.until_finished(len(names)))
    await asyncio.wait([finished, *watches], timeout=LONGEST_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    if not finished.done():
        for watch in watches:
            if watch.done():
                watch.result()
        seen = load.seen
        raise SystemExit(
            f"of {len(names)} jobs {len(seen.launched)} were launched and {len(seen.finished)} have finished, "
            f"{len(seen.pods)} pods are left, such as {sorted(seen.pods)[:3]}"
        )
    after = await load.writes()
    after.subtract(writes)
    title = "at once" if rate is None else f"{rate:.0f} a second"
    print("\n".join(told(title, len(names), meter, after, load.seen)), flush=True)
    for watch in watches:
        watch.cancel()
    await asyncio.gather(*watches, return_exceptions=True)


def start_operator(cluster: Cluster, url: str, log: Path, profile: str | None) -> subprocess.Popen[bytes]:
    """The real command, perhaps under cProfile."""
    environment = {
        **os.environ,
        "TASKJOBS_DATABASE_URL": url,
        "TASKJOBS_KUBECONFIG": str(cluster.kubeconfig),
        "TASKJOBS_ADMIN_PORT": "0",
    }
    command = [sys.executable, *(["-m", "cProfile", "-o", profile] if profile else []), "-m", "taskjob.main"]
    with log.open("wb") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output)


async def run(options: argparse.Namespace, cluster: Cluster, pids: Mapping[str, int]) -> None:
    """Both measurements."""
    context = ssl.create_default_context(cafile=str(cluster.ca_file))
    headers = {"Authorization": f"Bearer {cluster.token}"}
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        load = Load(session, cluster.server)
        queue: dict[str, Any] = {
            "apiVersion": "taskjobs.dev/v1beta1",
            "kind": "TaskQueue",
            "metadata": {"name": "burst"},
            "spec": {"quota": {"cpu": "100000", "memory": "100Ti"}},
        }
        async with session.post(f"{cluster.server}{ROOT}/taskqueues", json=queue) as answer:
            answer.raise_for_status()
        await measure(load, pids, [f"warm-{number}" for number in range(20)], "burst", options.rate)
        if options.jobs:
            await measure(load, pids, [f"burst-{number}" for number in range(options.jobs)], "burst", None)
        paced = int(options.rate * options.rate_seconds)
        await measure(load, pids, [f"paced-{number}" for number in range(paced)], "burst", options.rate)


def main() -> None:
    """Set up, measure, take down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000, help="how many at once (2000)")
    parser.add_argument("--rate", type=float, default=10, help="jobs a second in the second part (10)")
    parser.add_argument("--rate-seconds", type=float, default=20, help="how long the second part lasts (20)")
    parser.add_argument("--profile", metavar="FILE", help="run the operator under cProfile and write its figures here")
    options = parser.parse_args()
    memory = psutil.virtual_memory().total / 2**30
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, {memory:.0f} GiB, Linux {platform.release()}, "
          f"Python {platform.python_version()}; load average before {os.getloadavg()[0]:.1f}")  # fmt: skip
    with (
        tempfile.TemporaryDirectory() as folder,
        up(f"burst-{os.getpid()}", provider="kwok", die_with_parent=True) as cluster,
        postgres.start(die_with_parent=True) as database,
    ):
        log = Path(folder) / "operator.log"
        operator = start_operator(cluster, database.url, log, options.profile)
        try:
            pids = {**cluster.pids, "operator": operator.pid, "load": os.getpid()}
            if database.ours and database.pid is not None:
                pids["postgres"] = database.pid
            asyncio.run(run(options, cluster, pids))
        finally:
            operator.terminate()
            operator.wait(30)
            trouble = [line for line in log.read_text().splitlines() if " ERROR " in line or " WARNING " in line]
            print(
                f"operator: exit code {operator.returncode}, {len(trouble)} warnings and errors", *trouble[:5], sep="\n"
            )


if __name__ == "__main__":
    main()
