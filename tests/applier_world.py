"""One operator over fakes that answer at once, in virtual time: `story(tell)` plays what `tell(world)` says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

from builders import a_queue
from fakes_history import FakeHistory
from fakes_kube import FakeKube
from shell import FlakyKube, Shell
from taskjob.core.model import Job
from taskjob.core.phases import Phase
from virtual_time import VirtualClock, run

W = TypeVar("W", bound="World")


class World:
    """One operator over fakes that answer at once, unless told otherwise."""

    def __init__(self) -> None:
        self.fake = FakeKube(now=VirtualClock().now, obeys_deadlines=True)
        self.history = FakeHistory()
        self.epoch = 0
        self.fake.create_queue(a_queue())
        self.start()

    def start(self) -> None:
        """The first operator, or the one after it."""
        self.epoch += 1
        self.kube = FlakyKube(self.fake, Random(0), latency=0.001)
        self.shell = Shell(self.fake, self.kube, self.history, epoch=self.epoch)
        self.shell.start()

    def job(self, job: Job) -> Job:
        return self.fake.jobs[job.uid]

    def calls(self, method: str) -> int:
        return sum(1 for called, _ in self.fake.calls if called == method)

    def is_in(self, job: Job, phase: Phase) -> bool:
        return self.job(job).status.phase is phase

    def has_pod(self, job: str) -> bool:
        return any(pod.job_name == job for pod in self.fake.pods.values())

    async def until(self, holds: Callable[[], bool], seconds: float = 120) -> None:
        """Let (virtual) time pass until something holds."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not holds():
            assert asyncio.get_running_loop().time() < deadline, f"it did not come to hold: {self.fake.calls[-10:]}"
            await asyncio.sleep(0.01)
            self.fake.deliver_events()

    async def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds * 10)):
            await asyncio.sleep(0.1)
            self.fake.deliver_events()


def story(tell: Callable[[World], Awaitable[None]]) -> None:
    """Play it in a world of its own."""
    story_of(World, tell)


def story_of(make: Callable[[], W], tell: Callable[[W], Awaitable[None]]) -> None:
    """The same in a world of another make."""

    async def play() -> None:
        world = make()
        try:
            await tell(world)
        finally:
            await world.shell.kill()

    run(play())
