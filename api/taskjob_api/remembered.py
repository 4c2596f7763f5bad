"""Answers that are kept for seconds: bounded, each asked for once however many wait for it, errors never kept."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")


class Kept(NamedTuple, Generic[Answer]):
    """An answer, and for how long it may be used, counted from when it was asked for."""

    answer: Answer
    seconds: float


class Remembered(Generic[Key, Answer]):
    """The last `limit` answers by key; the one that was used longest ago goes first."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._known: OrderedDict[Key, tuple[Answer, float]] = OrderedDict()
        self._asking: dict[Key, asyncio.Task[Kept[Answer]]] = {}

    def __len__(self) -> int:
        return len(self._known)

    async def get(self, key: Key, ask: Callable[[], Awaitable[Kept[Answer]]]) -> Answer:
        """The answer that is known, or else `ask`'s. What `ask` raises is raised to all that wait, and forgotten."""
        if (known := self._known.get(key)) is not None:
            if self._clock() < known[1]:
                self._known.move_to_end(key)
                return known[0]
            del self._known[key]
        if (asking := self._asking.get(key)) is None:
            asking = self._asking[key] = asyncio.create_task(self._ask(key, ask))
            asking.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # known to those who wait
        # A client that leaves does not take the answer away from the others.
        return (await asyncio.shield(asking)).answer

    async def _ask(self, key: Key, ask: Callable[[], Awaitable[Kept[Answer]]]) -> Kept[Answer]:
        asked_at = self._clock()
        try:
            kept = await ask()
        finally:
            del self._asking[key]
        self._known[key] = (kept.answer, asked_at + kept.seconds)
        self._known.move_to_end(key)
        while len(self._known) > self._limit:
            self._known.popitem(last=False)
        return kept
