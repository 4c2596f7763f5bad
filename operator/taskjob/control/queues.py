"""Reports the figures of TaskQueues into their status and the metrics: at most once in a few seconds each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from enum import StrEnum

from taskjob import metrics
from taskjob.control.mirror import Mirror
from taskjob.core import amounts
from taskjob.core.decisions import QueueCondition, SetQueueStatus
from taskjob.core.model import Queue, QueueName
from taskjob.core.phases import Reason, StopPolicy
from taskjob.core.tracked import TrackedQueue
from taskjob.ports import Clock

REPORT_SECONDS = 2.0


class QueueReporter:
    """Called after each cycle; submits a status write for each queue whose figures changed, unless one of it is under
    way: a report carries no version, and two could arrive in either order."""

    def __init__(self, mirror: Mirror, clock: Clock, submit: Callable[[Iterable[SetQueueStatus]], None]) -> None:
        self._mirror = mirror
        self._clock = clock
        self._submit = submit
        self._reported: dict[QueueName, SetQueueStatus] = {}
        self._under_way: dict[QueueName, SetQueueStatus] = {}
        self._next_at = 0.0

    def told(self, figures: SetQueueStatus, again: bool) -> None:
        """A report was answered, or never will be: the queue's next may follow, as soon as its figures change. With
        `again` the same are news again. One that was refused is told of twice, the second time a while later: if
        another of the queue has followed meanwhile, that says nothing of it."""
        name = figures.queue.name
        if self._under_way.get(name) is figures:
            del self._under_way[name]
        if again and self._reported.get(name) is figures:
            del self._reported[name]

    def __call__(self) -> None:
        """Report, if it is time to."""
        if self._clock.elapsed() < self._next_at:
            return
        self._next_at = self._clock.elapsed() + REPORT_SECONDS
        news: list[SetQueueStatus] = []
        queues = self._mirror.state.queues
        there: set[QueueName] = set()
        for name, tracked in queues.by_name.items():
            if tracked.queue is None or not queues.serves(name):
                continue
            there.add(name)
            figures = _figures(tracked.queue, tracked, queues.unknown_to(tracked.queue))
            metrics.queue_jobs.labels(name, "pending").set(figures.pending)
            metrics.queue_jobs.labels(name, "admitted").set(figures.admitted)
            before = self._reported.get(name)
            if name not in self._under_way and (
                before is None
                or before.queue.generation != figures.queue.generation
                or replace(before, queue=figures.queue) != figures
            ):
                self._reported[name] = figures
                self._under_way[name] = figures
                news.append(figures)
        for name in self._reported.keys() - there:  # one that is made anew under the name has no figures yet
            del self._reported[name]
            for what in ("pending", "admitted"):
                metrics.queue_jobs.remove(name, what)
        self._submit(news)


def _figures(queue: Queue, tracked: TrackedQueue, unknown: tuple[StrEnum, str] | None) -> SetQueueStatus:
    ledger = tracked.ledger
    admitted = ledger.charges
    return SetQueueStatus(
        queue=queue,
        pending=max(0, len(tracked.members) - admitted),
        admitted=admitted,
        usage=tuple(sorted(ledger.usage.items())),
        quota=tuple(sorted(ledger.quota.items())),
        borrowed=tuple(sorted(ledger.borrowed().items())) if queue.cohort is not None else (),
        conditions=(_active(queue, unknown), _over_quota(sorted(ledger.overused()), tracked)),
    )


def _active(queue: Queue, unknown: tuple[StrEnum, str] | None) -> QueueCondition:
    """Whether the queue admits, and why not."""
    if queue.problem is None and queue.stop_policy is StopPolicy.NONE:
        return QueueCondition("Active", True, "Ready")
    if queue.problem is None:
        message = f"spec.stopPolicy is {queue.stop_policy}: nothing starts until it is None"
        return QueueCondition("Active", False, "Held", message)
    reason = unknown[0] if unknown is not None and queue.problem == unknown[1] else Reason.INVALID_SPEC
    return QueueCondition("Active", False, reason.value, queue.problem)


def _over_quota(over: Sequence[str], tracked: TrackedQueue) -> QueueCondition:
    """Whether more is in use of these than may be: the quota or a lender's was lowered, or a pod became larger."""
    if not over:
        return QueueCondition("OverQuota", False, "WithinQuota")
    ledger = tracked.ledger
    parts = ", ".join(
        f"{of} {amounts.show(of, ledger.usage[of])} of {amounts.show(of, ledger.quota[of])}" for of in over
    )
    message = f"in use: {parts}; nothing more is admitted until enough of it has ended"
    return QueueCondition("OverQuota", True, "UsageAboveQuota", message)
