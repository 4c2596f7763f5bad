"""Reports the figures of TaskQueues into their status and the metrics: at most once in a few seconds each."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from taskjob import metrics
from taskjob.control.mirror import Mirror
from taskjob.core.decisions import SetQueueStatus
from taskjob.core.model import QueueName
from taskjob.ports import Clock

REPORT_SECONDS = 2.0


class QueueReporter:
    """Called after each cycle; submits a status write for each queue whose figures changed."""

    def __init__(self, mirror: Mirror, clock: Clock, submit: Callable[[Iterable[SetQueueStatus]], None]) -> None:
        self._mirror = mirror
        self._clock = clock
        self._submit = submit
        self._reported: dict[QueueName, SetQueueStatus] = {}
        self._next_at = 0.0

    def not_told(self, figures: SetQueueStatus) -> None:
        """These figures did not reach the API server: they are news again."""
        if self._reported.get(figures.queue.name) == figures:
            del self._reported[figures.queue.name]

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
            admitted = tracked.ledger.charges
            figures = SetQueueStatus(
                queue=tracked.queue,
                pending=max(0, len(tracked.members) - admitted),
                admitted=admitted,
                usage=tuple(sorted(tracked.ledger.usage.items())),
            )
            metrics.queue_jobs.labels(name, "pending").set(figures.pending)
            metrics.queue_jobs.labels(name, "admitted").set(admitted)
            before = self._reported.get(name)
            if before is None or (before.pending, before.admitted, before.usage) != (
                figures.pending,
                figures.admitted,
                figures.usage,
            ):
                self._reported[name] = figures
                news.append(figures)
        for name in self._reported.keys() - there:  # one that is made anew under the name has no figures yet
            del self._reported[name]
            for what in ("pending", "admitted"):
                metrics.queue_jobs.remove(name, what)
        self._submit(news)
