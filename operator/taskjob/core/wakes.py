"""What is looked at again without an event, and when: a job for its deadlines and backoff, a queue for its limit of
starts, a claim that falls due, or a patience that ends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from heapq import heappop, heappush
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=str)


class Wakes(Generic[_Key]):
    """Of each key the earliest instant that was named: looking at it then names the next."""

    __slots__ = ("_earliest", "_heap")

    def __init__(self) -> None:
        self._earliest: dict[_Key, datetime] = {}
        self._heap: list[tuple[datetime, _Key]] = []  # with those that an earlier one replaced, which mean nothing

    def at(self, key: _Key, at: datetime | None) -> None:
        """Look at it at that instant, unless it is looked at before."""
        if at is not None:
            known = self._earliest.get(key)
            if known is None or at < known:
                self._earliest[key] = at
                heappush(self._heap, (at, key))

    def forget(self, key: _Key) -> None:
        """It is gone."""
        self._earliest.pop(key, None)

    def due(self, now: datetime) -> Iterator[_Key]:
        """Those whose instant has come; nothing is known of them any more."""
        while self._heap and self._heap[0][0] <= now:
            at, key = heappop(self._heap)
            if self._earliest.get(key) == at:
                del self._earliest[key]
                yield key

    @property
    def next_at(self) -> datetime | None:
        """The instant before which nobody is due."""
        return self._heap[0][0] if self._heap else None
