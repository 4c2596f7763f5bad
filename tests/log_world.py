"""One operator that captures logs, over fakes, in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from random import Random

import applier_world
from applier_world import story_of
from builders import a_job
from shell import FlakyKube, Shell
from taskjob.core.model import Pod
from taskjob.ports import Log


class World(applier_world.World):
    """With a pod that runs, and the logs that history holds."""

    LOG_BYTES = 1 << 20

    def start(self) -> None:
        self.epoch += 1
        kube = FlakyKube(self.fake, Random(0), latency=0.001)
        self.shell = Shell(self.fake, kube, self.history, epoch=self.epoch, log_bytes=self.LOG_BYTES)
        self.shell.start()

    async def a_running_pod(self, name: str = "a") -> Pod:
        self.fake.create_job(a_job(name).build())
        await self.until(lambda: any(pod.job_name == name for pod in self.fake.pods.values()))
        return self.fake.start(self.fake.pod_of(name))

    def log(self, container: str = "main") -> Log:
        """As history holds it."""
        (found,) = (log for (_, name), log in self.history.logs.items() if name == container)
        return found

    def body(self, container: str = "main") -> bytes:
        found = [log for (_, name), log in self.history.logs.items() if name == container]
        return b"".join(chunk.body for chunk in found[0].chunks) + found[0].body if found else b""

    def opened(self) -> int:
        return sum(1 for called, _ in self.fake.calls if called == "open_log")


class WholeWorld(World):
    """That keeps all of a log, and so shows what was read of it."""

    LOG_BYTES = 16 << 20


def story(tell: Callable[[World], Awaitable[None]]) -> None:
    story_of(World, tell)


LARGE = 5300
"""Kilobytes from which on the kubelet may have begun a new file."""


def text(name: str, kilobytes: int) -> list[bytes]:
    """Lines of a kilobyte."""
    return [b"%s %06d %s\n" % (name.encode(), n, b"x" * 990) for n in range(kilobytes)]


def write_over(world: World, pod: Pod, lines: Sequence[bytes], begin: timedelta, seconds: float) -> None:
    """As if the container had written them evenly, beginning so long after its start."""
    assert pod.started_at is not None
    steps = 500
    for n in range(steps):
        at = pod.started_at + begin + timedelta(seconds=seconds) * n / steps
        world.fake.write(pod, *lines[len(lines) * n // steps : len(lines) * (n + 1) // steps], at=at)


async def write_for(world: World, pod: Pod, lines: Sequence[bytes], seconds: int) -> None:
    """The container takes its time to write them."""
    steps = seconds * 10
    for n in range(steps):
        world.fake.write(pod, *lines[len(lines) * n // steps : len(lines) * (n + 1) // steps])
        await world.pass_time(0.1)
