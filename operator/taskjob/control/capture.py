"""Captures the logs of ended attempts into history, beside everything else: no job waits for it.

An attempt's pod stays until its log is kept (or known to be lost), see `core.retention`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from taskjob.control.mirror import Mirror
from taskjob.control.recorder import Recorder
from taskjob.core.model import AttemptId, Pod
from taskjob.ports import Gone, HistoryPort, HistoryUnavailableError, KubePort, Log, Unreachable

logger = logging.getLogger(__name__)

AT_ONCE = 8
RETRY_SECONDS = (0.5, 2.0, 8.0)
"""A node that does not answer gets so many more chances; then the log counts as lost, and history says why."""


class Capture:
    """Reads logs of ended pods, a few at once, and hands them to the recorder."""

    def __init__(
        self,
        kube: KubePort,
        history: HistoryPort,
        recorder: Recorder,
        mirror: Mirror,
        wake: Callable[[], None],
        *,
        limit_bytes: int,
    ) -> None:
        self._kube = kube
        self._history = history
        self._recorder = recorder
        self._mirror = mirror
        self._wake = wake
        self._limit_bytes = limit_bytes
        self._asked: asyncio.Queue[Pod] = asyncio.Queue()

    def ask(self, pod: Pod) -> None:
        """Capture the log of this ended pod."""
        self._asked.put_nowait(pod)

    @property
    def waiting(self) -> int:
        """How many pods wait to be read."""
        return self._asked.qsize()

    async def run(self) -> None:
        """Capture until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            pod = await self._asked.get()
            try:
                await self._capture(pod)
            except Exception:  # a defect in reading one log must not end the capture of the others
                logger.exception("the log of pod %s/%s could not be captured", pod.namespace, pod.name)
                await self._recorder.keep(pod.attempt, (_lost(pod.attempt, "an error of the operator"),))

    async def _capture(self, pod: Pod) -> None:
        began_before_us = pod.version <= self._mirror.first_pods_version
        if began_before_us and pod.attempt in await self._kept(pod.attempt):
            self._mirror.state.log_kept(pod.attempt)
            self._wake()
            return
        for seconds in (*RETRY_SECONDS, None):
            answer = await self._kube.read_logs(pod, self._limit_bytes)
            match answer:
                case Gone():
                    self._mirror.state.log_kept(pod.attempt)  # there is nothing left to wait for
                    self._wake()
                    return
                case Unreachable(message):
                    if seconds is None:
                        await self._recorder.keep(pod.attempt, (_lost(pod.attempt, message),))
                        return
                    await asyncio.sleep(seconds)
                case logs:
                    await self._recorder.keep(pod.attempt, logs)
                    return

    async def _kept(self, attempt: AttemptId) -> frozenset[AttemptId]:
        """Whether history has it from before a restart; if it cannot say, reading twice does no harm."""
        try:
            return await self._history.kept_logs([attempt])
        except HistoryUnavailableError:
            return frozenset()


def _lost(attempt: AttemptId, why: str) -> Log:
    return Log(attempt, container="main", body=b"", size=0, note=f"the log could not be read: {why}")
