"""Captures logs into history, beside everything else: no job waits for it.

1. What runs for a while is followed, each container for itself, a bounded number at once: the kubelet serves only the
   file it writes just now, and a pod that is deleted serves nothing.
2. Of a pod that ended, what was not followed is read; what was followed is read to its end. The pod stays until
   history holds it all, or it is known to be lost (see `core.retention`).

What an earlier operator has read is gone on with: history says how far it came.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from taskjob import metrics
from taskjob.control.lines import Lines
from taskjob.control.mirror import Mirror
from taskjob.control.reading import Care, End, Reading
from taskjob.core.model import AttemptId, ContainerRun, Pod
from taskjob.ports import Gone, HistoryPort, HistoryUnavailableError, KeptLog, Log, NoLog, Unreachable

logger = logging.getLogger(__name__)

AT_ONCE: Final = 16
AT_ONCE_OF_A_NODE: Final = 4
"""Pods that ended: so many are read. One whose node does not answer leaves its place to others while it waits for its
next chance, so that nodes which serve no logs hold up those of no other."""

RETRY_SECONDS: Final = (0.5, 2.0, 8.0)
"""A node that does not answer gets so many more chances; then the log counts as lost, and history says why."""

LOOK_SECONDS: Final = 0.5
AGAIN_SECONDS: Final = (0.2, 1.0, 5.0, 10.0)
NEWS_LOOKS: Final = 15
HANDOVER_SECONDS: Final = 10.0
EMPTY_SECONDS: Final = 1.0
"""containerd was seen to show the log of a container that had just ended as empty: it is read again after so long."""


@dataclass(frozen=True, slots=True)
class Following:
    """Which logs are followed: those of containers that have run for `after_seconds`, at most `at_once`."""

    after_seconds: float = 2.0
    at_once: int = 100


@dataclass(slots=True, eq=False)
class Followed:
    """A container that is, or was, followed."""

    task: asyncio.Task[None] = field(init=False)
    reading: Reading | None = None
    streams: bool = False  # a connection is open


Key = tuple[AttemptId, str]


class Capture:
    """Reads logs of pods and hands them to the recorder."""

    def __init__(
        self,
        care: Care,
        history: HistoryPort,
        mirror: Mirror,
        wake: Callable[[], None],
        *,
        epoch: int,
        following: Following = Following(),
    ) -> None:
        self._care = care
        self._history = history
        self._mirror = mirror
        self._wake = wake
        self._epoch = epoch
        self._following = following
        self._ended: asyncio.Queue[Pod] = asyncio.Queue()
        self._due: Lines[str, tuple[Pod, list[Reading] | None]] = Lines(AT_ONCE_OF_A_NODE)
        self._reads = asyncio.Semaphore(AT_ONCE)
        self._places = asyncio.Semaphore(following.at_once)
        self._in_line = 0  # containers that wait for a place
        self._followed: dict[Key, Followed] = {}
        self._known: dict[AttemptId, Mapping[str, KeptLog]] = {}  # what earlier operators have read

    def ask(self, pod: Pod) -> None:
        """Capture the log of this ended pod."""
        if self._care.limit_bytes:
            self._ended.put_nowait(pod)
        else:
            self._mirror.state.log_kept(pod.attempt)  # nothing of it is wanted, so nothing waits for it
            self._wake()

    @property
    def waiting(self) -> int:
        """How many pods wait to be read."""
        return self._ended.qsize() + len(self._due)

    async def run(self) -> None:
        """Capture until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look(group))
            group.create_task(self._receive(group))
            group.create_task(self._read_due(group))

    # ------------------------------------------------------------------ what runs
    async def _look(self, group: asyncio.TaskGroup) -> None:
        """See, again and again, what has run for long enough to be followed, and what is over."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self._sweep()
            self._begin(group)
            under_way = sum(not each.task.done() for each in self._followed.values())
            metrics.log_follows.set(under_way - self._in_line)
            metrics.log_follows_waiting.set(self._in_line)

    def _begin(self, group: asyncio.TaskGroup) -> None:
        if self._following.at_once == 0 or self._care.limit_bytes == 0:
            return
        latest = self._care.clock.now() - timedelta(seconds=self._following.after_seconds)
        state = self._mirror.state
        for attempt, tracked in state.pods.items():
            pod = tracked.pod
            if not tracked.live or not state.queues.serves(pod.queue):
                continue
            for run in pod.containers:
                # A pod that is being deleted takes its logs with it.
                due = pod.deleting or (run.started_at is not None and run.started_at <= latest)
                if due and (attempt, run.name) not in self._followed:
                    followed = Followed()
                    followed.task = group.create_task(self._follow(followed, pod, run))
                    self._followed[attempt, run.name] = followed

    async def _sweep(self) -> None:
        """What was followed of pods that left without anybody asking for their logs is over."""
        pods = self._mirror.state.pods
        for key in [key for key, each in self._followed.items() if key[0] not in pods and each.task.done()]:
            reading = self._followed.pop(key).reading
            if reading is not None and not reading.complete:
                await self._care.recorder.keep_part(reading.close)
        for attempt in [attempt for attempt in self._known if attempt not in pods]:
            del self._known[attempt]

    async def _follow(self, followed: Followed, pod: Pod, run: ContainerRun) -> None:
        """Follow a container until its end, or its pod's. What is left then, who reads ended pods reads."""
        try:
            known = await self._read_before(pod, patient=True)
            reading = followed.reading = Reading(self._care, pod, run, known.get(run.name))
            if reading.complete:
                return
            lost = await self._until_end(reading)
            await reading.flush()
            if lost:
                await self._care.recorder.keep_part(lambda: reading.close(lost))
        except asyncio.CancelledError:
            raise
        except Exception:  # a defect in following one log must not end the capture of the others
            metrics.log_failures.labels("Defect").inc()
            logger.exception("the log of pod %s/%s could not be followed", pod.namespace, pod.name)

    async def _until_end(self, reading: Reading) -> str:
        """Returns what to note if the log's end is lost; nothing if it was read, or is still to be."""
        failures, broken = 0, False
        while True:
            answer = await self._in_a_place(reading)
            broken = answer is not End.CLEAN and (broken or answer is not End.YIELDED) and not isinstance(answer, Gone)
            if not broken and answer is End.CLEAN:
                await self._news(reading)
            if self._is_gone(reading.pod) or isinstance(answer, Gone):
                if not broken and not reading.behind:
                    return ""
                since = f" after {reading.last_line_at} UTC" if reading.last_line_at else ""
                silent = f"node {reading.pod.node} did not answer any more, and the pod is gone"
                why = silent if broken else "the pod is gone, and its log was not read to its end"
                reading.gap(f"{why}: what the container wrote{since} is lost")
                return why
            if self._has_ended(reading):
                return ""
            if answer is End.YIELDED:
                continue
            if isinstance(answer, End):
                failures = 0
            else:
                failures += 1
                metrics.log_failures.labels("Unreachable").inc()
            await asyncio.sleep(AGAIN_SECONDS[min(failures, len(AGAIN_SECONDS) - 1)])

    async def _news(self, reading: Reading) -> None:
        """A followed log ended: the watch will soon tell that its container did, or else the connection broke."""
        for _ in range(NEWS_LOOKS):
            if self._has_ended(reading):
                return
            await asyncio.sleep(AGAIN_SECONDS[0])

    async def _in_a_place(self, reading: Reading) -> End | NoLog | Gone | Unreachable:
        self._in_line += 1
        try:
            await self._places.acquire()
        finally:
            self._in_line -= 1
        followed = self._followed.get((reading.pod.attempt, reading.run.name))
        try:
            if followed is not None:
                followed.streams = True
            return await reading.stream(follow=True, yields=lambda: self._in_line > 0)
        finally:
            if followed is not None:
                followed.streams = False
            self._places.release()

    def _is_gone(self, pod: Pod) -> bool:
        tracked = self._mirror.state.pods.get(pod.attempt)
        return tracked is None or tracked.gone

    def _has_ended(self, reading: Reading) -> bool:
        """As far as the watch has told. A container may end long before its pod."""
        tracked = self._mirror.state.pods.get(reading.pod.attempt)
        if tracked is None or not tracked.live:
            return True
        return any(run.name == reading.run.name and run.ended for run in tracked.pod.containers)

    # ------------------------------------------------------------------ what ended
    async def _receive(self, group: asyncio.TaskGroup) -> None:
        """Streams that are open when a pod ends end with their containers, or soon enough. Nobody else's log waits for
        those of a node that does not answer any more."""
        while True:
            pod = await self._ended.get()
            streams = [each for each in map(self._followed.get, _keys(pod)) if each is not None and each.streams]
            if streams:
                group.create_task(self._hand_over(pod, streams))
            else:
                self._due.put(pod.node or "", (pod, None))

    async def _hand_over(self, pod: Pod, streams: list[Followed]) -> None:
        """As long as they bring something: the file that one is still in nobody can open again."""
        tasks, before = [each.task for each in streams], -1
        while not all(task.done() for task in tasks):
            brought = sum(each.reading.volume for each in streams if each.reading is not None)
            if brought == before:
                break
            before = brought
            await asyncio.wait(tasks, timeout=HANDOVER_SECONDS)
        self._due.put(pod.node or "", (pod, None))

    async def _read_due(self, group: asyncio.TaskGroup) -> None:
        while True:
            node, (pod, read) = await self._due.take()
            await self._reads.acquire()
            group.create_task(self._work(node, pod, read))

    async def _work(self, node: str, pod: Pod, read: list[Reading] | None) -> None:
        try:
            await self._capture(pod, read)
        except Exception:  # as above
            metrics.log_failures.labels("Defect").inc()
            logger.exception("the log of pod %s/%s could not be captured", pod.namespace, pod.name)
            await self._care.recorder.keep(pod.attempt, _lost(pod, "an error of the operator"))
        self._reads.release()
        self._due.done(node)

    async def _step_aside(self, seconds: float) -> None:
        """Others are read meanwhile."""
        self._reads.release()
        await asyncio.sleep(seconds)
        await self._reads.acquire()

    async def _capture(self, pod: Pod, read: list[Reading] | None) -> None:
        """`read`: what was read a moment ago, and was empty in part."""
        notes: dict[str, str] = {}
        readings = read if read is not None else await self._readings(pod)
        for reading in readings:
            if read is None or reading.empty:
                notes[reading.run.name] = await self._read(reading)
        if read is None and any(each.empty and not notes[each.run.name] for each in readings):
            asyncio.get_running_loop().call_later(EMPTY_SECONDS, self._due.put, pod.node or "", (pod, readings))
            return
        if readings:
            logs = tuple(reading.close(notes.get(reading.run.name, "")) for reading in readings)
            await self._care.recorder.keep(pod.attempt, logs)
        else:
            self._mirror.state.log_kept(pod.attempt)  # there is nothing (left) to wait for
            self._wake()

    async def _readings(self, pod: Pod) -> list[Reading]:
        """One for each container whose log is not complete yet."""
        known = await self._read_before(pod)
        readings = [
            await self._handed_over(pod, run) or Reading(self._care, pod, run, known.get(run.name))
            for run in pod.containers
        ]
        return [reading for reading in readings if not reading.complete]

    async def _handed_over(self, pod: Pod, run: ContainerRun) -> Reading | None:
        """What was followed so far."""
        followed = self._followed.get((pod.attempt, run.name))
        if followed is None:
            return None
        followed.task.cancel()
        await asyncio.gather(followed.task, return_exceptions=True)
        del self._followed[pod.attempt, run.name]
        return followed.reading

    async def _read(self, reading: Reading) -> str:
        """Read what is left of a container's log. Returns what to note, if something went wrong."""
        message = ""
        for seconds in (*RETRY_SECONDS, None):
            answer = await reading.stream(follow=False)
            match answer:
                case End.CLEAN:
                    return ""
                case NoLog(message):
                    if not reading.empty:
                        reading.gap(message)
                    return message
                case Gone():
                    return "" if not reading.empty else "the pod was removed before its log was read"
                case Unreachable(message):
                    pass
                case _:
                    message = "the connection broke off"
            metrics.log_failures.labels("Unreachable").inc()
            if seconds is not None:
                await self._step_aside(seconds)
        if not reading.empty:
            reading.gap(f"the log could not be read to its end: {message}")
        return f"the log could not be read: {message}"

    async def _read_before(self, pod: Pod, *, patient: bool = False) -> Mapping[str, KeptLog]:
        """What an earlier operator has read of this pod's logs. If history cannot say, who is patient asks again; for
        others reading twice does no harm."""
        if pod.epoch == self._epoch:
            return {}
        while pod.attempt not in self._known:
            try:
                self._known[pod.attempt] = {
                    kept.log.container: kept for kept in await self._history.kept_logs(pod.attempt)
                }
            except HistoryUnavailableError:
                if not patient:
                    return {}
                await asyncio.sleep(AGAIN_SECONDS[-1])
        return self._known[pod.attempt]


def _keys(pod: Pod) -> list[Key]:
    return [(pod.attempt, run.name) for run in pod.containers]


def _lost(pod: Pod, why: str) -> tuple[Log, ...]:
    note = f"the log could not be read: {why}"
    return tuple(Log(pod.attempt, run.name, b"", 0, note=note, main=run.main) for run in pod.containers)
