"""An event loop whose time passes only when everybody waits: hours of sleeps in milliseconds, in the same order."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar

from builders import NOON

_T = TypeVar("_T")


class _Selector(selectors.DefaultSelector):
    """Never waits: what it would have waited is added to the loop's time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise RuntimeError("everybody waits, and for nothing that could come: a deadlock")
            # a hair more than asked, so that rounding never makes the loop wait twice for one timer
            self.now += max(timeout, 0) + 1e-9
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """`asyncio.SelectorEventLoop` in virtual time; starts at 0."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


class VirtualClock:
    """`ports.Clock` over the running loop's virtual time; begins at `builders.NOON`."""

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.elapsed())

    def elapsed(self) -> float:
        return asyncio.get_running_loop().time()


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run to the end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)
