"""When which queue is looked at without an event: for its limit of starts, a claim, a patience that ends.

Part of `queues.Queues`. Instants that were put off stay in the heap: at worst they cost a look that changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from heapq import heappop, heappush

from taskjob.core.deadlines import earliest
from taskjob.core.model import QueueName
from taskjob.core.tracked import TrackedJob, TrackedQueue


class Wakes:
    """The queues by the instant at which somebody wants them looked at."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, QueueName]] = []

    def after_look(self, name: QueueName, tracked: TrackedQueue, blocked: TrackedJob | None, now: datetime) -> None:
        """The queue was looked at: look again when its limit of starts allows one, if somebody waits for that, and when
        the first in line, which is `blocked`, has waited long enough to have a claim and to go before others."""
        claims_at = tracked.claims_at(blocked) if blocked is not None else None
        if claims_at is not None and claims_at <= now:
            claims_at = None
        at = earliest(tracked.starts_again_at(now) if tracked.line else None, claims_at)
        if at is not None and at != tracked.wake_at:
            tracked.wake_at = at
            heappush(self._heap, (at, name))

    def again_at(self, name: QueueName, tracked: TrackedQueue, at: datetime | None) -> None:
        """Look at the queue again at that instant. Only the earliest counts: looking at it then names the next."""
        if at is not None and (tracked.look_at is None or at < tracked.look_at):
            tracked.look_at = at
            heappush(self._heap, (at, name))

    def due(self, now: datetime) -> Iterator[QueueName]:
        """The queues whose instant has come, each once for every such instant; it is then forgotten."""
        while self._heap and self._heap[0][0] <= now:
            yield heappop(self._heap)[1]

    @property
    def next_at(self) -> datetime | None:
        """The next instant at which a queue is to be looked at without an event."""
        return self._heap[0][0] if self._heap else None
