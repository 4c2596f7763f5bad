"""What may start, judged without the core: from quotas, limits and the pods there are, by sums alone.

It knows nothing of pools, rows and offers.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from taskjob.core.model import Amounts, Job, Pod, Queue
from taskjob.core.phases import PodPhase
from world import World


def used(world: World) -> dict[str, Counter[str]]:
    """What live pods hold, by queue and resource."""
    usage: dict[str, Counter[str]] = defaultdict(Counter)
    for pod in world.pods.values():
        if not pod.phase.ended:
            usage[pod.queue].update(dict(pod.request))
    return usage


def free(world: World, usage: dict[str, Counter[str]], queue: Queue, resource: str) -> float:
    """How much more of a resource a queue may use, from quotas, limits and usage alone."""
    quota = dict(queue.quota)
    if resource not in quota:
        return float("inf")

    def kept(other: Queue) -> int:
        amount = dict(other.quota)[resource]
        return amount - min(amount, dict(other.lending_limit or ()).get(resource, amount))

    mine = usage[queue.name][resource]
    if queue.cohort is None:
        return quota[resource] - mine
    lenders = [q for q in world.queues.values() if q.cohort == queue.cohort and resource in dict(q.quota)]
    pool = sum(dict(q.quota)[resource] - kept(q) for q in lenders)
    pool -= sum(max(0, usage[q.name][resource] - kept(q)) for q in lenders)
    left: float = max(0, kept(queue) - mine) + max(0, pool)
    most = dict(queue.borrowing_limit or ()).get(resource)
    return left if most is None else min(left, quota[resource] + most - mine)


def fits(world: World, usage: dict[str, Counter[str]], queue: Queue, request: Amounts) -> bool:
    return all(amount <= free(world, usage, queue, resource) for resource, amount in request if amount)


def end(world: World, pod: Pod) -> None:
    """The pod ends well; nobody has looked yet."""
    second = world.now.replace(microsecond=0)
    world.put_pod(pod, phase=PodPhase.SUCCEEDED, started_at=second, finished_at=second, exit_code=0)


def order(job: Job, queue: Queue) -> tuple[float, float, str]:
    """Where a job stands in its queue."""
    created = job.created_at.timestamp()
    aged = created - job.priority * queue.aging_seconds / 100 if queue.aging_seconds else -job.priority
    return (aged, created, job.name)
