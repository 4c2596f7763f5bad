"""One operator that captures logs, over fakes, in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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


def story(tell: Callable[[World], Awaitable[None]]) -> None:
    story_of(World, tell)
