"""The attempts that are charged to a queue, by the order in which their jobs would wait: who stands behind whom.

Whoever preempts within its queue looks at those behind it alone, and waits for those that are being ended. What an
attempt is depends on its pod and its job: whoever changes one of them has it looked at again (`look_again`), and the
next search sorts it in (`nomination`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Mapping

from taskjob.core.model import AttemptId, QueueName
from taskjob.core.ordering import AdmissionKey


class Standing:
    """Of a queue's attempts those that go on, in order, and those that are being ended. Deterministic."""

    __slots__ = ("_order", "_places", "awaited", "ending", "unsorted")

    def __init__(self) -> None:
        self._order: list[tuple[AdmissionKey, AttemptId]] = []
        self._places: dict[AttemptId, AdmissionKey] = {}
        self.ending: dict[AttemptId, None] = {}
        self.awaited: dict[AttemptId, QueueName] = {}  # their pods nobody has seen yet; the queue that would evict them
        self.unsorted: dict[AttemptId, None] = {}  # charged, and not looked at since something happened to them

    @property
    def places(self) -> Mapping[AttemptId, AdmissionKey]:
        """The attempts that go on, each with its job's place."""
        return self._places

    def look_again(self, attempt: AttemptId) -> None:
        """Something happened to it, or it is new."""
        self.unsorted[attempt] = None

    def goes_on(self, attempt: AttemptId, place: AdmissionKey) -> None:
        """It runs, or is about to; its job would wait at that place."""
        self.ending.pop(attempt, None)
        before = self._places.get(attempt)
        if before != place:
            self._leave(attempt, before)
            self._places[attempt] = place
            insort(self._order, (place, attempt))

    def ends(self, attempt: AttemptId) -> None:
        """It is being ended."""
        self._leave(attempt, self._places.pop(attempt, None))
        self.ending[attempt] = None

    def forget(self, attempt: AttemptId) -> None:
        """It is charged no more, or nobody knows what it is; nothing happens if it is not here."""
        self.unsorted.pop(attempt, None)
        self.awaited.pop(attempt, None)
        self.ending.pop(attempt, None)
        self._leave(attempt, self._places.pop(attempt, None))

    def _leave(self, attempt: AttemptId, place: AdmissionKey | None) -> None:
        if place is not None:
            del self._order[bisect_left(self._order, (place, attempt))]

    def behind(self, place: AdmissionKey) -> Iterator[AttemptId]:
        """Those whose jobs come after that place, in order."""
        at = bisect_right(self._order, place, key=lambda each: each[0])
        return (attempt for _, attempt in self._order[at:])
