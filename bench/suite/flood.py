"""A tenant that floods: what becomes of the others while its ten thousand jobs come, and while they wait.

The others' jobs have a queue of their own with room for all. Their latency, from the create to the sight of the pod, is
taken three times: alone, while the flood is created as fast as the API server takes it, and while it waits, a hundred
at a time. What the API server itself is slowed by the creates is in it: no operator can give that back. Bare pods tell
how much that is: they are created at the same pace, beside the jobs in the flood, after them without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

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
        async with (
            watching(server, peer) as found,
            watching(server, PEERS["pods"]) as bare,
            ApiServer(cluster) as flooder,
        ):
            await _trickle(server, [found], "warm", told)
            await _trickle(server, [found], "alone", told)
            await _trickle(server, [bare], "alone", told)
            coming = asyncio.create_task(create(flooder, peer, works, found.seen))
            await _trickle(server, [found, bare], "coming", told)
            await coming
            await found.until(found.seen.until_true(lambda: len(found.seen.objects) >= count))
            await _trickle(server, [found, bare], "waiting", told)
            told["waited"] = sum(work.name not in found.seen.launched for work in works)
    for share in (50, 99):
        for when in ("coming", "waiting"):
            told[f"flood_{when}_p{share}_ratio"] = told[f"{when}_p{share}_ms"] / told[f"alone_p{share}_ms"]
            told[f"pods_{when}_p{share}_ratio"] = told[f"{when}_pods_p{share}_ms"] / told[f"alone_pods_p{share}_ms"]
    await server.remove_all(peer.path)
    await server.remove_all(PODS)
    return told


async def _trickle(server: ApiServer, all_found: Sequence[Watching], when: str, told: Result) -> None:
    """The others' jobs, and bare pods, at a steady pace each; notes their latency."""
    await asyncio.gather(*(_of_one_peer(server, found, when, told) for found in all_found))


async def _of_one_peer(server: ApiServer, found: Watching, when: str, told: Result) -> None:
    which = f"{when}_pods" if found.peer is PEERS["pods"] else when
    works = [Work(f"{which}-{n}".replace("_", "-"), at=n / PER_SECOND) for n in range(PER_SECOND * SECONDS)]
    await create(server, found.peer, works, found.seen)
    names = {work.name for work in works}
    await found.until(found.seen.until_true(lambda: names <= found.seen.finished.keys()))
    created = {name: at for name, at in found.seen.created.items() if name in names}
    latency = between(created, found.seen.launched)
    told |= {f"{which}_p{share}_ms": percentile(latency, share / 100) for share in (50, 99)}
    print(
        f"  flood: {when}: {found.peer.title}: create -> pod "
        f"{told[f'{which}_p50_ms']:.0f} / {told[f'{which}_p99_ms']:.0f} ms",
        flush=True,
    )
