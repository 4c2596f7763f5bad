"""A tenant that floods: what becomes of the others while its ten thousand jobs come, and while they wait.

The others' jobs have a queue of their own with room for all. Their latency, from the create to the sight of the pod, is
taken three times: alone, while the flood is created as fast as the API server takes it, and while it waits, a hundred
at a time. What the API server itself is slowed by the creates is in it: no operator can give that back.
"""

from __future__ import annotations

import asyncio

from taskjob_cluster import Cluster

from .apiserver import ApiServer
from .peers import PEERS, PODS
from .run import Result, Watching, create, watching
from .work import Quota, Shape, Work, between, percentile

AT_ONCE = 100
RUNS_SECONDS = 10.0
PER_SECOND = 10
SECONDS = 20


async def flood(cluster: Cluster, server: ApiServer, count: int) -> Result:
    """`count` jobs of one tenant; latencies of the others and their ratios to those alone."""
    peer = PEERS["taskjobs"]
    shape = Shape("flood", "", [], (Quota("bench", 1_000_000), Quota("flooded", AT_ONCE)))
    works = [Work(f"flood-{number}", queue="flooded", seconds=RUNS_SECONDS) for number in range(count)]
    told: Result = {"shape": "flood", "peer": peer.name, "jobs": count}
    with peer.start(cluster, shape):
        async with watching(server, peer) as found, ApiServer(cluster) as flooder:
            await _trickle(server, found, "warm", told)
            await _trickle(server, found, "alone", told)
            coming = asyncio.create_task(create(flooder, peer, works, found.seen))
            await _trickle(server, found, "coming", told)
            await coming
            await found.until(found.seen.until_true(lambda: len(found.seen.objects) >= count))
            await _trickle(server, found, "waiting", told)
            told["waited"] = sum(work.name not in found.seen.launched for work in works)
    for share in (50, 99):
        for when in ("coming", "waiting"):
            told[f"flood_{when}_p{share}_ratio"] = told[f"{when}_p{share}_ms"] / told[f"alone_p{share}_ms"]
    await server.remove_all(peer.path)
    await server.remove_all(PODS)
    return told


async def _trickle(server: ApiServer, found: Watching, when: str, told: Result) -> None:
    """The others' jobs, at a steady pace; notes their latency."""
    works = [Work(f"{when}-{number}", at=number / PER_SECOND) for number in range(PER_SECOND * SECONDS)]
    await create(server, found.peer, works, found.seen)
    names = {work.name for work in works}
    await found.until(found.seen.until_true(lambda: names <= found.seen.finished.keys()))
    created = {name: at for name, at in found.seen.created.items() if name in names}
    latency = between(created, found.seen.launched)
    told |= {f"{when}_p{share}_ms": percentile(latency, share / 100) for share in (50, 99)}
    print(f"  flood: {when}: create -> pod {told[f'{when}_p50_ms']:.0f} / {told[f'{when}_p99_ms']:.0f} ms", flush=True)
