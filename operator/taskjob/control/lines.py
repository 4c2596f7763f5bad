"""A queue of many lines: what waits for a bounded place, without one that is slow keeping it from the others."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

_Line = TypeVar("_Line")
_Item = TypeVar("_Item")


class Lines(Generic[_Line, _Item]):
    """Of each line at most `at_once` items are out at a time; all in the order in which they came, otherwise."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._ready: asyncio.Queue[tuple[_Line, _Item]] = asyncio.Queue()
        self._counted: dict[_Line, int] = {}  # ready or out
        self._waiting: dict[_Line, deque[_Item]] = {}  # for one of their line to be done

    def put(self, line: _Line, item: _Item) -> None:
        """It waits in that line."""
        counted = self._counted.get(line, 0)
        if counted < self._at_once:
            self._counted[line] = counted + 1
            self._ready.put_nowait((line, item))
        else:
            self._waiting.setdefault(line, deque()).append(item)

    async def take(self) -> tuple[_Line, _Item]:
        """The next whose turn it is; call `done` when it is."""
        return await self._ready.get()

    def done(self, line: _Line) -> None:
        """One that was taken from that line is out no more."""
        waiting = self._waiting.get(line)
        if waiting:
            self._ready.put_nowait((line, waiting.popleft()))
            if not waiting:
                del self._waiting[line]
        elif self._counted[line] > 1:
            self._counted[line] -= 1
        else:
            del self._counted[line]

    def __len__(self) -> int:
        """How many wait."""
        return self._ready.qsize() + sum(map(len, self._waiting.values()))
