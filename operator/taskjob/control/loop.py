"""The loop: wake -> plan -> apply. One task, one cycle at a time, many events in one cycle."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from taskjob import metrics
from taskjob.control.apply import Applier
from taskjob.control.mirror import Mirror
from taskjob.control.recorder import Recorder
from taskjob.core.cycle import plan
from taskjob.ports import Clock, DeposedError

logger = logging.getLogger(__name__)

IDLE_SECONDS = 5.0
"""With nothing to do a cycle is run this often, so that its age tells a live loop from a stuck one."""


class Wakeup:
    """Wakes the loop from anywhere in its thread; many calls before it looks are one."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def __call__(self) -> None:
        """Wake the loop."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """Return when called, or after so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return

    def clear(self) -> None:
        """Forget the calls so far: what they told is about to be looked at."""
        self._event.clear()


@dataclass(slots=True, eq=False)
class Loop:
    """Runs cycles while the mirror is in step with the cluster."""

    mirror: Mirror
    applier: Applier
    recorder: Recorder
    clock: Clock
    wakeup: Wakeup
    tick_seconds: float = 0.005
    last_cycle: float | None = None  # `clock.elapsed()` of the last cycle's end
    cycles: int = 0
    after_cycle: Callable[[], None] | None = None

    async def run(self) -> None:
        """Run until cancelled."""
        seconds, rested_at = 0.0, self.clock.elapsed()
        while True:
            if seconds > 0:
                await self.wakeup.wait(seconds)
            # What comes after a rest is decided at once; in a burst what arrives within a tick shares the next cycle.
            await asyncio.sleep(max(0.0, rested_at + self.tick_seconds - self.clock.elapsed()))
            self.wakeup.clear()
            seconds = self.cycle() if self.mirror.synced else IDLE_SECONDS
            rested_at = self.clock.elapsed()

    def cycle(self) -> float:
        """One cycle; returns in how many seconds the next is due if nothing happens before.

        Raises `DeposedError` when an object shows a newer epoch. What we hold may then be older than what that
        operator has done: a pod of a TaskJob that we have not heard of yet is no stray.
        """
        if self.mirror.newest_epoch > self.applier.epoch:
            raise DeposedError(
                f"epoch {self.mirror.newest_epoch} is at work in the cluster, ours is {self.applier.epoch}"
            )
        begun = self.clock.elapsed()
        now = self.clock.now()
        planned = plan(self.mirror.state, now, self.applier.room())
        self.recorder.tell(planned.entries)
        self.applier.submit(planned.decisions)
        for fault in planned.faults:
            logger.error("TaskJob %s cannot be decided about and is left alone: %s", fault.uid, fault.error)
        self.cycles += 1
        self.last_cycle = self.clock.elapsed()
        metrics.cycles.inc()
        metrics.cycle_seconds.observe(self.last_cycle - begun)
        if self.after_cycle is not None:
            self.after_cycle()
        if planned.wake_at is None:
            return IDLE_SECONDS
        return min(max((planned.wake_at - now).total_seconds(), 0.001), IDLE_SECONDS)
