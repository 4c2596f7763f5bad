"""The whole operator but for its vendors: the real control loop over fakes that fail, in virtual time.

`Shell` wires `control` as `main` does. `FlakyKube` stands between it and a `FakeKube`: each call takes a while, and
may be lost before or after it was carried out; what a killed operator had sent still arrives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from fakes_history import FakeHistory
from fakes_kube import FakeKube
from taskjob.control.apply import Applier
from taskjob.control.capture import Capture, Following
from taskjob.control.loop import Loop, Wakeup
from taskjob.control.mirror import Mirror
from taskjob.control.queues import QueueReporter
from taskjob.control.reading import Care
from taskjob.control.recorder import Recorder
from taskjob.core.decisions import EndPod, Launch, RemoveJob, RemovePod, SetQueueStatus, SetStatus
from taskjob.core.model import Pod
from taskjob.core.notices import Notice
from taskjob.core.state import State
from taskjob.ports import Unreachable
from virtual_time import VirtualClock


@dataclass(eq=False)
class FlakyKube:
    """`ports.KubePort` over a fake: slow, and losing some of the calls. `trouble` is the share that is lost."""

    kube: FakeKube
    random: Random
    trouble: float = 0.0
    latency: float = 0.05
    hangs: set[str] = field(default_factory=set)  # the namespaces in which no create is answered
    slow: dict[str, float] = field(default_factory=dict)  # those in which it takes so many seconds
    _under_way: set[asyncio.Task[Any]] = field(default_factory=set)

    async def launch(self, launch: Launch, epoch: int) -> Any:
        if launch.job.namespace in self.hangs:
            self.kube.calls.append(("launch", launch))
            await asyncio.sleep(15)
            return Unreachable("no answer within 15 s")
        await asyncio.sleep(self.slow.get(launch.job.namespace, 0))
        return await self._call(lambda: self.kube.launch(launch, epoch))

    async def set_status(self, decision: SetStatus, epoch: int) -> Any:
        return await self._call(lambda: self.kube.set_status(decision, epoch))

    async def end_pod(self, decision: EndPod) -> Any:
        return await self._call(lambda: self.kube.end_pod(decision))

    async def remove_pod(self, decision: RemovePod) -> Any:
        return await self._call(lambda: self.kube.remove_pod(decision))

    async def remove_job(self, decision: RemoveJob) -> Any:
        return await self._call(lambda: self.kube.remove_job(decision))

    async def announce(self, notice: Notice) -> Any:
        return await self._call(lambda: self.kube.announce(notice))

    async def set_queue_status(self, decision: SetQueueStatus) -> Any:
        return await self._call(lambda: self.kube.set_queue_status(decision))

    async def open_log(self, pod: Pod, container: str, *, since: str | None, follow: bool) -> Any:
        return await self._call(lambda: self.kube.open_log(pod, container, since=since, follow=follow))

    async def _call(self, act: Callable[[], Awaitable[Any]]) -> Any:
        if self.random.random() < self.trouble / 2:
            await asyncio.sleep(self.latency)
            return Unreachable("lost on the way there")
        # A task of its own: a killed caller does not take back what it had sent.
        sent = asyncio.create_task(self._arrive(act))
        self._under_way.add(sent)
        sent.add_done_callback(self._under_way.discard)
        answer = await asyncio.shield(sent)
        await asyncio.sleep(self.random.uniform(0, self.latency))
        if self.random.random() < self.trouble / 2:
            return Unreachable("lost on the way back")
        return answer

    async def _arrive(self, act: Callable[[], Awaitable[Any]]) -> Any:
        await asyncio.sleep(self.random.uniform(0, self.latency))
        return await act()

    async def settle(self) -> None:
        """Wait until all that was sent has arrived."""
        while self._under_way:
            await asyncio.wait(self._under_way)


class Shell:
    """One operator over fakes. `start` begins it, `kill` ends it in the middle of whatever it does."""

    def __init__(
        self,
        fake: FakeKube,
        kube: FlakyKube,
        history: FakeHistory,
        *,
        epoch: int,
        ttl: int = 3600,
        follows: int = 100,
        log_bytes: int = 1 << 20,
        buffer: int = 200_000,
    ) -> None:
        self.clock = VirtualClock()
        self.fake = fake
        self.wakeup = Wakeup()
        self.mirror = Mirror(State(default_ttl_seconds=ttl), self.clock, self.wakeup)
        self.recorder = Recorder(history, self.mirror, self.clock, self.wakeup, epoch=epoch, buffer=buffer)
        care = Care(kube, self.recorder, self.clock, limit_bytes=log_bytes)
        following = Following(at_once=follows)
        capture = Capture(care, history, self.mirror, self.wakeup, epoch=epoch, following=following)
        self.applier = Applier(kube, self.mirror, capture, self.clock, self.wakeup, epoch=epoch, in_flight=8)
        reporter = QueueReporter(self.mirror, self.clock, self.applier.submit)
        self.applier.queue_told = reporter.told
        self.loop = Loop(self.mirror, self.applier, self.recorder, self.clock, self.wakeup, after_cycle=reporter)
        self._capture = capture
        self.tasks: list[asyncio.Task[Any]] = []

    def start(self) -> None:
        """List in the safe order, follow events, decide and record."""
        self.relist()
        self.fake.tell(self.mirror)
        parts = (self.loop.run(), self.recorder.run(), self._capture.run(), self._until_deposed())
        self.tasks = [asyncio.create_task(part) for part in parts]

    async def _until_deposed(self) -> None:
        await self.applier.deposed

    def relist(self) -> None:
        """Replace all that is held by lists: first TaskJobs, then pods."""
        self.mirror.replace_queues(*self.fake.list_queues())
        self.mirror.replace_jobs(*self.fake.list_jobs())
        self.mirror.replace_pods(*self.fake.list_pods())

    async def kill(self) -> None:
        """SIGKILL: nothing is finished; what was sent arrives all the same."""
        self.fake.forget(self.mirror)
        await self.applier.finish(0)
        doomed = [*self.tasks, *self.applier.tasks]
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)

    def failed(self) -> BaseException | None:
        """What a part ended with, if one ended by itself."""
        for task in self.tasks:
            if task.done() and not task.cancelled():
                return task.exception()
        return None
