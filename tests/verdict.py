"""What operators that led one after the other are judged by: jobs lost, attempts doubled, stale writes, history."""

from __future__ import annotations

import asyncio
import itertools

import asyncpg

from cluster_api import Object, Witness
from kill_story import attempts_seen, expected, faults_of_history, faults_of_job, pods_created_twice
from operators import Site
from replicas import Load, epoch_of


def judge(site: Site, load: Load, acquired: dict[int, int]) -> dict[str, list[str]]:
    """Wait until everything has ended; what is wrong, by kind. `acquired`: the version at which each epoch was seen."""
    names = {job.name for job in load.jobs}
    load.wait_ended(120)
    site.pods.wait_until(lambda objects: not objects, 60, "no pod is left")
    history = site.wait_history(
        lambda told: names <= told.keys() and all(one.ended for one in told.values()),
        "all jobs have ended",
        seconds=60,
    )
    assert site.cluster.audit_log is not None
    _, twice = pods_created_twice(site.cluster.audit_log, site.namespace)
    seen = attempts_seen(site.pods.seen)
    doubled = [f"pod {name} was created {times} times" for name, times in twice.items()]
    doubled += [f"{job}: attempt {number} had the pods {uids}" for (job, number), uids in seen.items() if len(uids) > 1]
    wrong, incomplete = [], []
    ends = expected(load.jobs, {})
    attempts: dict[str, list[int]] = {}
    for name, attempt in sorted(seen):
        attempts.setdefault(name, []).append(attempt)
    for job in load.jobs:
        status = load.last[job.name]["status"]
        found = faults_of_job(job, ends[job.name], status, attempts.get(job.name, []))
        wrong += [f"{job.name}: {fault}" for fault in found]
        found = faults_of_history(job, ends[job.name], status, history.get(job.name))
        incomplete += [f"{job.name}: {fault}" for fault in found]
    epochs = asyncio.run(epochs_in_history(site.database_url))
    stale = stale_writes(acquired, site.jobs, site.pods)
    if epochs != sorted(set(epochs)):
        stale.append(f"history was written by the epochs {epochs}, in this order")
    return {"lost": wrong, "doubled": doubled, "incomplete": incomplete, "stale": stale}


def tell(faults: dict[str, list[str]]) -> str:
    return "\n".join(f"{kind} ({len(found)}):\n  " + "\n  ".join(found[:20]) for kind, found in faults.items() if found)


def stale_writes(acquired: dict[int, int], jobs: Witness, pods: Witness) -> list[str]:
    """Writes that the API server took from an epoch after a later one was acquired, by the order of its store."""
    over_at = {earlier: acquired[later] for earlier, later in itertools.pairwise(sorted(acquired))}
    found = []
    for pod in {pod["metadata"]["uid"]: pod for kind, pod in reversed(pods.seen) if kind == "ADDED"}.values():
        name, epoch, version = pod["metadata"]["name"], epoch_of(pod), int(pod["metadata"]["resourceVersion"])
        if version > over_at.get(epoch, version):
            found.append(f"pod {name} was created by epoch {epoch} at {version}, over since {over_at[epoch]}")
    before: dict[str, Object] = {}
    for _, job in jobs.seen:
        uid, status, version = job["metadata"]["uid"], job.get("status") or {}, int(job["metadata"]["resourceVersion"])
        epoch = int(status.get("epoch", 0))
        if status and status != before.get(uid) and version > over_at.get(epoch, version):
            name = job["metadata"]["name"]
            found.append(f"the status of {name} was written by epoch {epoch} at {version}, over since {over_at[epoch]}")
        before[uid] = status
    return found


async def epochs_in_history(url: str) -> list[int]:
    """The epochs that wrote history, in the order of its sequence, each once for each time that it began to."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        rows = await connection.fetch("SELECT epoch FROM transitions ORDER BY seq")
    finally:
        await connection.close()
    return [epoch for epoch, _ in itertools.groupby(row["epoch"] for row in rows)]
