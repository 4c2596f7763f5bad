"""Why a job that may start does not: read from the queues, as a typed value that `sentences` puts into words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from taskjob.core.line import fits
from taskjob.core.model import QueueName, Uid
from taskjob.core.phases import Reason, StopPolicy, Strategy
from taskjob.core.queues import Queues
from taskjob.core.quota import less
from taskjob.core.tracked import TrackedJob, TrackedQueue
from taskjob.core.values import value

RUNNING = "running jobs"
"""What `max_running` limits, where a resource is named."""


@value
@dataclass(frozen=True, slots=True)
class Why:
    """The reason, and of the figures those that belong to it.

    `WAITING_FOR_QUOTA`, `EXCEEDS_QUOTA`: of `resource`, `asked` is more than `available`, out of `limit`. Where
    nothing lacks, `behind` is the job whose place or claim comes before; with neither, the quota is not known yet.
    `RATE_LIMITED`: `until` then. `QUEUE_NOT_FOUND`: `problem`, if there is a queue and it cannot be used.
    """

    reason: Reason
    queue: QueueName
    resource: str = ""
    asked: int = 0
    available: int = 0
    limit: int = 0
    behind: Uid | None = None
    until: datetime | None = None
    problem: str | None = None
    from_nodes: bool = False  # the limit is what the nodes give now


def why(queues: Queues, waiter: TrackedJob, now: datetime) -> Why:
    """What keeps a job that passed everything but its queue: the first that is against it, in this order.

    The queue is not there, or cannot be used, or is held, or does not take the namespace; the request can never fit;
    too many run; the request does not fit now; who stands first, or has a claim, comes before; too many were just
    started. If nothing is against it, it is `QUEUED`: the next cycle starts it.
    """
    job = waiter.job
    name = job.queue
    tracked = queues.by_name.get(name)
    queue = tracked.queue if tracked is not None else None
    if tracked is None or queue is None:
        return Why(Reason.QUEUE_NOT_FOUND, name)
    if queue.problem is not None:
        return Why(Reason.QUEUE_NOT_FOUND, name, problem=queue.problem)
    if queue.stop_policy is not StopPolicy.NONE:
        return Why(Reason.QUEUE_HELD, name)
    if not queues.takes(tracked, job.namespace):
        return Why(Reason.NAMESPACE_NOT_ALLOWED, name)
    ledger = tracked.ledger
    if queue.quota_from_nodes is not None and not ledger.quota:
        return Why(Reason.WAITING_FOR_QUOTA, name)
    exceeding = None if fits(job.request, tracked.capacity) else ledger.excess(job.request)
    if exceeding is not None:
        resource, asked, limit = exceeding
        from_nodes = queue.quota_from_nodes is not None
        return Why(Reason.EXCEEDS_QUOTA, name, resource, asked, limit, limit, from_nodes=from_nodes)
    if queue.max_running and ledger.charges >= queue.max_running:
        return Why(Reason.WAITING_FOR_QUOTA, name, RUNNING, 1, 0, queue.max_running)
    lacking = ledger.shortage(job.request)
    if lacking is not None:
        resource, asked, available = lacking
        return Why(Reason.WAITING_FOR_QUOTA, name, resource, asked, available, ledger.quota[resource])
    behind = _behind(queues, tracked, waiter)
    if behind is not None:
        return Why(Reason.WAITING_FOR_QUOTA, name, behind=behind)
    until = tracked.starts_again_at(now)
    if until is not None:
        return Why(Reason.RATE_LIMITED, name, limit=queue.max_starts_per_second, until=until)
    return Why(Reason.QUEUED, name)


def _behind(queues: Queues, tracked: TrackedQueue, waiter: TrackedJob) -> Uid | None:
    """Who keeps from a job what is free, if somebody does: the first of its own queue, or one of its cohort."""
    queue, ledger, job = tracked.queue, tracked.ledger, waiter.job
    claims = queues.claims_on(tracked)
    if tracked.blocked is not None and tracked.blocked != job.uid:
        if queue is not None and queue.strategy is Strategy.STRICT_FIFO:
            return tracked.blocked
        if tracked.claim is not None:
            others: Counter[str] = Counter()
            for claim in claims:
                others.update(claim.pool)
            room = (ledger.available(others), ledger.own())
            if not any(fits(job.request, less(each, tracked.claim.request)) for each in room):
                return tracked.blocked
    if claims and not ledger.within_quota(job.request):
        return claims[0].uid
    return None
