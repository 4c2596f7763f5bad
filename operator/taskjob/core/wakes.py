"""What is looked at again without an event, and when: a job for its deadlines and backoff, a queue for its limit of
starts, a claim that falls due, or a patience that ends."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from heapq import heapify, heappop, heappush
from typing import Final, Generic, TypeVar

_Key = TypeVar("_Key", bound=str)

_SPARE: Final = 1000
"""Beside as many as there are keys, so many meaningless instants may lie about."""


class Wakes(Generic[_Key]):
    """Of each key the earliest instant that was named: looking at it then names the next."""

    __slots__ = ("_earliest", "_heap")

    def __init__(self) -> None:
        self._earliest: dict[_Key, datetime] = {}
        self._heap: list[tuple[datetime, _Key]] = []  # with those that were replaced or forgotten, which mean nothing

    def at(self, key: _Key, at: datetime | None) -> None:
        """Look at it at that instant, unless it is looked at before."""
        if at is not None:
            known = self._earliest.get(key)
            if known is None or at < known:
                self._earliest[key] = at
                heappush(self._heap, (at, key))
                if len(self._heap) > 2 * len(self._earliest) + _SPARE:
                    # What is gone may have had a week to go: it is not kept until then.
                    self._heap = [(at, key) for key, at in self._earliest.items()]
                    heapify(self._heap)

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

    def __len__(self) -> int:
        """How many instants are held, meaningless ones included."""
        return len(self._heap)

    @property
    def next_at(self) -> datetime | None:
        """The instant before which nobody is due."""
        return self._heap[0][0] if self._heap else None
