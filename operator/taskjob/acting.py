"""The parts that decide and write, wired around the epoch of a leadership: `main` makes them when it leads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from taskjob.config import OperatorSettings
from taskjob.control.apply import Applier
from taskjob.control.capture import Capture, Following
from taskjob.control.loop import Loop, Wakeup
from taskjob.control.mirror import Mirror
from taskjob.control.pruner import Pruner
from taskjob.control.queues import QueueReporter
from taskjob.control.reading import Care
from taskjob.control.recorder import Recorder
from taskjob.control.redact import compile_patterns, redact_line
from taskjob.core.model import Pod
from taskjob.history.writer import HistoryWriter
from taskjob.kube.client import KubeClient
from taskjob.kube.http import KubeHttp
from taskjob.kube.pod_shape import PodObject
from taskjob.kube.pods import parse_pod
from taskjob.ports import DeposedError, Keep

FINISH_SECONDS: Final = 5.0
"""For what is under way, each part, when the process stops."""


def pod_reader(settings: OperatorSettings) -> Callable[[bytes | PodObject], Pod]:
    """How pods are read: what is taken out of logs stands in no container's last words either."""
    return partial(parse_pod, clean=partial(redact_line, compile_patterns(settings.log_redact)))


@dataclass(slots=True, eq=False)
class Acting:
    """There from when this process leads until it ends."""

    history: HistoryWriter
    recorder: Recorder
    capture: Capture
    pruner: Pruner
    applier: Applier
    loop: Loop

    @classmethod
    def wire(cls, settings: OperatorSettings, http: KubeHttp, mirror: Mirror, wakeup: Wakeup, epoch: int) -> Acting:
        """Build them. Starts nothing."""
        clock = http.clock
        kube = KubeClient(http, pod_reader(settings))
        history = HistoryWriter(settings.database_url.get_secret_value())
        recorder = Recorder(
            history,
            mirror,
            clock,
            wakeup,
            epoch=epoch,
            flush_seconds=settings.history_flush_seconds,
            buffer=settings.history_buffer,
            namespaces=settings.namespaces,
        )
        care = Care(kube, recorder, clock, settings.log_limit_bytes, compile_patterns(settings.log_redact))
        following = Following(settings.log_follow_after_seconds, settings.log_follows)
        capture = Capture(care, history, mirror, wakeup, epoch=epoch, following=following)
        applier = Applier(kube, mirror, capture, clock, wakeup, epoch=epoch, in_flight=settings.writes_in_flight)
        reporter = QueueReporter(mirror, clock, applier.submit)
        applier.queue_told = reporter.told
        loop = Loop(mirror, applier, recorder, clock, wakeup, settings.tick_seconds, after_cycle=reporter)
        pruner = Pruner(history, _keep(settings), epoch=epoch)
        return cls(history, recorder, capture, pruner, applier, loop)

    async def run(self) -> None:
        """Decide and record until cancelled. Raises what a part failed with."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.recorder.run())
            group.create_task(self.capture.run())
            group.create_task(self.pruner.run())
            group.create_task(self.loop.run())
            await self.applier.deposed

    async def finish(self, *, leads: bool) -> None:
        """After `run` was cancelled: let requests under way end, if they still count, and write history."""
        await self.applier.finish(FINISH_SECONDS if leads else 0)
        if leads and self.loop.last_cycle is not None:
            with contextlib.suppress(DeposedError):
                self.loop.cycle()  # what the last answers showed is told to history; nothing is sent any more
        await self.recorder.finish(FINISH_SECONDS)


def _keep(settings: OperatorSettings) -> Keep:
    def days(number: float) -> timedelta | None:
        return timedelta(days=number) if number > 0 else None

    return Keep(jobs=days(settings.history_keep_days), logs=days(settings.history_keep_logs_days))
