"""Scenarios that are not a shape: a restart under many live jobs, many that wait in one queue, and much churn."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from taskjob_cluster import Cluster, postgres

from .apiserver import ApiServer
from .flood import flood
from .peers import NAMESPACE, PEERS, PODS, Peer, operator_environment, queue_manifests, start_operator
from .run import Result, Watching, create, watching
from .work import Quota, Shape, Work

AT_ONCE = 100
WAVE = 5000
ADMITTED = 2000  # of those that wait
_EVENTS = f"/api/v1/namespaces/{NAMESPACE}/events?fieldSelector=source%3Dtaskjobs"
_QUEUE = "/apis/taskjobs.dev/v1beta1/taskqueues/bench"


class _Operator:
    """An operator that can be killed and started again on the same history."""

    def __init__(self, cluster: Cluster, database: str, log: Path) -> None:
        self._environment = operator_environment(cluster, database, reads_logs=True)
        self._log = log
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as output:
            self.running = start_operator(self._environment, output)

    def kill(self) -> None:
        self.running.kill()
        self.running.wait()

    def stop(self) -> None:
        self.running.terminate()
        self.running.wait(60)

    @property
    def rss_mb(self) -> float:
        return float(psutil.Process(self.running.pid).memory_info().rss / 1e6)


@asynccontextmanager
async def _staged(
    cluster: Cluster, server: ApiServer, peer: Peer, room: int
) -> AsyncIterator[tuple[_Operator, Watching]]:
    """An operator, a queue with that room, and a look at what becomes of the jobs. In the end nothing is left of it."""
    shape = Shape("live", "", [], (Quota("bench", room),))
    cluster.kubectl("apply", "-f", "-", input=queue_manifests(shape))
    try:
        with tempfile.TemporaryDirectory() as folder, postgres.start(die_with_parent=True) as database:
            operator = _Operator(cluster, database.url, Path(folder) / "operator.log")
            try:
                async with watching(server, peer) as found:
                    yield operator, found
            finally:
                operator.stop()
    finally:
        await server.remove_all(peer.path)
        await server.remove_all(PODS)
        cluster.kubectl("delete", "taskqueue", "bench")


async def restart(cluster: Cluster, server: ApiServer, count: int) -> Result:
    """`count` live jobs, a few of them running: SIGKILL, start again, and how long until it admits what now fits."""
    peer = PEERS["taskjobs"]
    works = [Work(f"live-{number}", seconds=7200) for number in range(count)]
    async with _staged(cluster, server, peer, AT_ONCE) as (operator, found):
        seen = found.seen
        await create(server, peer, works, seen)
        await found.until(seen.until_true(lambda: len(seen.launched) >= AT_ONCE and len(seen.objects) >= count))
        rss = await _settled(operator)
        killed_at = time.monotonic()
        operator.kill()
        await server.patch(_QUEUE, {"spec": {"quota": {"cpu": str(AT_ONCE + 1)}}})
        operator.start()
        await found.until(seen.until_true(lambda: len(seen.launched) > AT_ONCE))
        seconds = max(seen.launched.values()) - killed_at
        again = await _settled(operator)
    return {
        "shape": "restart",
        "peer": peer.name,
        "jobs": count,
        "restart_s": seconds,
        "operator_rss_mb": max(rss, again),
    }


async def _settled(operator: _Operator) -> float:
    """The memory once the operator has no more to do: its CPU stands nearly still."""
    process = psutil.Process(operator.running.pid)
    process.cpu_percent()
    while True:
        await asyncio.sleep(2)
        if process.cpu_percent() < 10:
            return operator.rss_mb


async def pending(cluster: Cluster, server: ApiServer, count: int) -> Result:
    """`count` jobs wait in one queue that has no room; then it gets some: how fast they are admitted and finish."""
    peer = PEERS["taskjobs"]
    works = [Work(f"pending-{number}") for number in range(count)]
    async with _staged(cluster, server, peer, 0) as (operator, found):
        seen = found.seen
        await create(server, peer, works, seen)
        await found.until(seen.until_true(lambda: len(seen.objects) >= count))
        rss = await _settled(operator)
        opened_at = time.monotonic()
        await server.patch(_QUEUE, {"spec": {"quota": {"cpu": str(AT_ONCE)}}})
        wanted = min(ADMITTED, count)
        await found.until(seen.until_true(lambda: len(seen.finished) >= wanted))
        first = min(seen.launched.values()) - opened_at
        rate = wanted / (max(seen.finished.values()) - opened_at)
    return {
        "shape": "pending",
        "peer": peer.name,
        "jobs": count,
        "admitted_after_s": first,
        "finished_per_s": rate,
        "operator_rss_mb": rss,
    }


async def churn(cluster: Cluster, server: ApiServer, count: int) -> Result:
    """`count` short jobs in waves, each removed at once: the memory after all of them over that after the first wave,
    and how many TaskJobs, pods and Events of ours the API server still has."""
    peer = PEERS["taskjobs-default"]
    memory = []
    async with _staged(cluster, server, peer, 1_000_000) as (operator, found):
        for begin in range(0, count, WAVE):
            works = [Work(f"churn-{number}") for number in range(begin, min(begin + WAVE, count))]
            await create(server, peer, works, found.seen)
            await found.until(found.seen.until([work.name for work in works], nothing_left=True))
            memory.append(await _settled(operator))
        ours = f"{PODS}?labelSelector={peer.job_label}"
        left = {path.partition("?")[0]: await server.count(path) for path in (peer.path, ours, _EVENTS)}
    return {
        "shape": "churn",
        "peer": peer.name,
        "jobs": count,
        "operator_rss_mb": memory,
        "rss_ratio": memory[-1] / memory[0],
        "left_behind": left,
    }


Scenario = Callable[[Cluster, ApiServer, int], Awaitable[Result]]
SCENARIOS: dict[str, tuple[Scenario, int]] = {
    "restart": (restart, 20_000),
    "pending": (pending, 50_000),
    "churn": (churn, 50_000),
    "flood": (flood, 10_000),
}
"""Each with how many jobs it is about."""
