"""Runs shapes on peers and measures them: one result, a plain dict, for each pair of a shape and a peer."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

from taskjob_cluster import Cluster

from . import meters
from .apiserver import ApiServer, Event
from .peers import PODS, Peer, pod_ended
from .recorded import reading
from .work import Seen, Shape, Work, between, percentile

LONGEST_SECONDS = 1800
CLEANING_SECONDS = 300
REST_SECONDS = 2
WARM = 20
_RUNS = itertools.count(1)
Result = dict[str, Any]


@dataclass(slots=True)
class Watching:
    """The arrivals of one peer's objects and pods. Only jobs whose create was sent count: others are of another run."""

    peer: Peer
    seen: Seen = field(default_factory=Seen)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def until(self, happened: Awaitable[None], seconds: float = LONGEST_SECONDS) -> None:
        """Wait for it. Raises what a watch failed with, or RuntimeError with what was seen once the time is over."""
        waiting = asyncio.ensure_future(happened)
        try:
            await asyncio.wait([waiting, *self.tasks], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in self.tasks:
                if task.done():
                    task.result()
            if not waiting.done():
                seen = self.seen
                unfinished = [name for name in seen.created if name not in seen.finished]
                raise RuntimeError(
                    f"after {seconds:.0f} s, of {len(seen.created)} jobs {len(seen.launched)} had a pod and "
                    f"{len(unfinished)} have not finished (such as {unfinished[:3]}); {len(seen.pods)} pods and "
                    f"{len(seen.objects)} objects are left"
                )
        finally:
            waiting.cancel()

    def forget_pods(self) -> None:
        """All pods are about to be listed: those that went unseen are not."""
        self.seen.pods.clear()

    def forget_objects(self) -> None:
        """All objects are about to be listed."""
        self.seen.objects.clear()

    def pod(self, event: Event) -> None:
        """An event of the pods' watch."""
        now, meta = time.monotonic(), event.object.metadata
        job = meta.labels.get(self.peer.job_label)
        seen = self.seen
        if job is None or job not in seen.created:
            return
        if event.type == "DELETED":
            seen.pods.discard(meta.name)
        else:
            seen.pods.add(meta.name)
            seen.launched.setdefault(job, now)
            if pod_ended(event.object):
                seen.ended.setdefault(job, now)
        seen.news.set()

    def object(self, event: Event) -> None:
        """An event of the objects' watch."""
        now, name = time.monotonic(), event.object.metadata.name
        seen = self.seen
        if name not in seen.created:
            return
        if event.type == "DELETED":
            seen.objects.discard(name)
        else:
            seen.objects.add(name)
        if self.peer.finished(event.object):
            seen.finished.setdefault(name, now)
        seen.news.set()


@asynccontextmanager
async def watching(server: ApiServer, peer: Peer) -> AsyncIterator[Watching]:
    """Both watches run within this context; what they fail with is raised where `until` waits."""
    found = Watching(peer)

    def pods_and_objects(event: Event) -> None:
        found.pod(event)
        found.object(event)

    if peer.path == PODS:
        watches = [server.watch(PODS, pods_and_objects, found.forget_pods)]
    else:
        watches = [
            server.watch(PODS, found.pod, found.forget_pods),
            server.watch(peer.path, found.object, found.forget_objects),
        ]
    found.tasks = [asyncio.create_task(watch) for watch in watches]
    try:
        yield found
    finally:
        for task in found.tasks:
            task.cancel()
        await asyncio.gather(*found.tasks, return_exceptions=True)


async def _until_one_ends(pids: Mapping[str, int]) -> None:
    """Raises RuntimeError when one of these processes has ended: what waits for it would wait in vain."""
    processes = {name: psutil.Process(pid) for name, pid in pids.items()}
    while True:
        for name, process in processes.items():
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                raise RuntimeError(f"{name} has ended")
        await asyncio.sleep(1)


async def create(server: ApiServer, peer: Peer, works: Sequence[Work], seen: Seen) -> None:
    """Create each job at its time, as fast as the server takes them when several are due."""
    start = time.monotonic()

    async def one(work: Work) -> None:
        seen.created[work.name] = time.monotonic()  # its events may come before the answer
        seen.created[work.name] = await server.create(peer.path, peer.body(work))

    tasks = []
    for work in works:
        wait = start + work.at - time.monotonic()
        if wait > 0.001:
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(one(work)))
    await asyncio.gather(*tasks)


async def measure(
    cluster: Cluster, server: ApiServer, peer: Peer, shape: Shape, patience: float = LONGEST_SECONDS
) -> Result:
    """Run the shape on the peer, clean up, and tell what it took. Raises RuntimeError after so many seconds."""
    try:
        return await _measured(cluster, server, peer, shape.of_run(next(_RUNS)), patience)
    finally:
        await server.remove_all(peer.path)
        await server.remove_all(PODS)
        await _rest(server)


async def _rest(server: ApiServer) -> None:
    """Wait until nothing but leases is written: else the next run would share the machine with what this one left."""
    before = -1
    with suppress(TimeoutError):
        async with asyncio.timeout(CLEANING_SECONDS):
            while before != (now := await _written(server)):
                before = now
                await asyncio.sleep(REST_SECONDS)


async def _written(server: ApiServer) -> int:
    """How many writes there were so far, those of leases apart."""
    return sum(n for name, n in meters.writes(await server.metrics()).items() if not name.endswith(" leases"))


async def _measured(cluster: Cluster, server: ApiServer, peer: Peer, shape: Shape, patience: float) -> Result:
    with peer.start(cluster, shape) as controllers:
        pids = {**cluster.pids, **controllers.pids}
        async with watching(server, peer) as found:
            found.tasks.append(asyncio.create_task(_until_one_ends(controllers.pids)))
            warm = [Work(f"warm-{number}", queue=shape.queues[0].name) for number in range(WARM)]
            await create(server, peer, warm, found.seen)
            await found.until(found.seen.until([work.name for work in warm], nothing_left=peer.removes), patience)
            found.seen = seen = Seen()
            names = [work.name for work in shape.works]
            before, meter = meters.writes(await server.metrics()), meters.Meter(pids)
            held = meter.memory()
            async with AsyncExitStack() as beside:
                if shape.looks_at_history and controllers.history is not None:
                    await beside.enter_async_context(reading(controllers.history, seen))
                await create(server, peer, shape.works, seen)
                await found.until(seen.until(names, nothing_left=peer.removes), patience)
                end = time.monotonic() if peer.removes else max(seen.finished.values())
                count, spent = len(names), meter.spent()
                done = meters.writes(await server.metrics())
                if shape.looks_at_history and controllers.history is not None:
                    await found.until(seen.until_true(lambda: seen.recorded.keys() >= set(names)), patience)
            done.subtract(before)
            memory = meter.memory()
            result: Result = {
                "shape": shape.name,
                "title": shape.title,
                "peer": peer.name,
                "jobs": count,
                **tell(shape, seen, end),
                "cpu_ms": {name: 1000 * seconds / count for name, seconds in spent.items()},
                "writes": {name: number / count for name, number in done.most_common() if number > count / 100},
                "writes_all": sum(done.values()) / count,
                "rss_mb": memory,
                "mb_per_1000": {name: (memory[name] - held[name]) * 1000 / count for name in controllers.pids},
            }
        if peer.leaves is not None:  # else the next peer would share the machine with their removal
            with suppress(TimeoutError):
                async with asyncio.timeout(CLEANING_SECONDS):
                    await server.remove_all(peer.path)
                    await server.remove_all(peer.leaves)
        return result


def tell(shape: Shape, seen: Seen, end: float) -> Result:
    """Rates and latencies of one run that ended at `end`. `edge`: from the last parent's pod's end to the pod;
    `history_lag`: from the sight of a job's end to that of its row."""
    wall = end - min(seen.created.values())
    edges = [
        (seen.launched[work.name] - max(seen.ended[name] for name in work.depends_on)) * 1000
        for work in shape.works
        if work.depends_on
    ]
    times = {
        "create_to_pod": between(seen.created, seen.launched),
        "create_to_finished": between(seen.created, seen.finished),
        "edge": edges,
        "history_lag": between(seen.finished, seen.recorded),
    }
    return {
        "wall_s": wall,
        "rate": len(shape.works) / wall,
        **{f"{name}_p{share}_ms": percentile(each, share / 100) for name, each in times.items() for share in (50, 99)},
    }


def told(result: Result) -> str:
    """A result in a few lines for people."""

    def ms(name: str) -> str:
        pair = [result[f"{name}_p{share}_ms"] for share in (50, 99)]
        return "-" if pair[0] is None else f"{pair[0]:,.0f} / {pair[1]:,.0f} ms"

    cpu = ", ".join(f"{name} {value:.2f}" for name, value in result["cpu_ms"].items())
    writes = ", ".join(f"{name} {value:.2f}" for name, value in result["writes"].items() if value > 0.02)
    return (
        f"{result['title']} | {result['peer']}: {result['jobs']} in {result['wall_s']:.1f} s, {result['rate']:.1f}/s\n"
        f"  p50 / p99: create -> pod {ms('create_to_pod')}; -> finished {ms('create_to_finished')}; "
        f"edge {ms('edge')}; history after it {ms('history_lag')}\n"
        f"  CPU ms a job: {cpu}\n  writes a job {result['writes_all']:.2f}: {writes}"
    )
