"""Carries out decisions: one function for each, idempotent, a bounded number of requests in flight.

What the API server answers is an observation and goes into the mirror. A definite no goes back into the state,
which decides again; an answer that never came leaves the assumption standing until somebody knows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import assert_never

from taskjob import metrics
from taskjob.control.capture import Capture
from taskjob.control.launcher import RETRY_SECONDS, Launcher, pause
from taskjob.control.launches import Launches
from taskjob.control.mirror import Mirror
from taskjob.control.outbox import Courtesy, Outbox, Pace, Request
from taskjob.core.decisions import (
    Decision,
    EndPod,
    KeepLog,
    Launch,
    RemoveJob,
    RemovePod,
    SetQueueStatus,
    SetStatus,
)
from taskjob.core.model import Job
from taskjob.core.notices import Notice, notice_of
from taskjob.ports import (
    Changed,
    Clock,
    Deposed,
    DeposedError,
    Done,
    Gone,
    KubePort,
    Refused,
    Stale,
    Unreachable,
    Written,
)

logger = logging.getLogger(__name__)

HOLDS_AT_ONCE, HOLDS_PAUSES, LONGEST_HOLDS_PAUSE = 100, 1000.0, 20.0
"""Explanations of waiting. People read them, so the first hundred come at once; a flood of jobs must not double its own
writes, so more come at twenty a second on an idle server, and at five on a busy one."""

REMOVALS_PER_SECOND, REMOVALS_AT_ONCE = 200.0, 50

PROGRESS_AT_ONCE, PROGRESS_PAUSES = 4, 10.0
"""`Starting` and `Running`: history and the stream tell them at once; on a busy server a job's end overtakes them."""

NOTICES_PER_SECOND, NOTICES_AT_ONCE = 10.0, 50
"""Events: a courtesy, which a thousand failing jobs must not turn into a load."""

REFUSED_STATUS_SECONDS = 30.0
SWEEP_SECONDS = 1.0
"""So often launches that wait are looked at, whether they wait in vain."""


class Applier:
    """Sends what `Loop` decides. `submit` never blocks; `room` says how many launches would be sent soon."""

    def __init__(
        self,
        kube: KubePort,
        mirror: Mirror,
        capture: Capture,
        clock: Clock,
        wake: Callable[[], None],
        *,
        epoch: int,
        in_flight: int = 48,
    ) -> None:
        self._kube = kube
        self._mirror = mirror
        self._capture = capture
        self._clock = clock
        self._wake = wake
        self.epoch = epoch
        self._limit = in_flight
        launches = Launches(in_flight)
        self._launcher = Launcher(kube, mirror, clock, wake, launches, epoch=epoch)
        self._outbox = Outbox(
            launches,
            Courtesy(HOLDS_AT_ONCE, HOLDS_PAUSES, LONGEST_HOLDS_PAUSE),
            Pace(REMOVALS_PER_SECOND, REMOVALS_AT_ONCE),
            Pace(NOTICES_PER_SECOND, NOTICES_AT_ONCE),
            Courtesy(PROGRESS_AT_ONCE, PROGRESS_PAUSES),
        )
        self.tasks: set[asyncio.Task[None]] = set()  # the requests under way
        self._timer: asyncio.TimerHandle | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self.queue_told: Callable[[SetQueueStatus, bool], None] = lambda *_: None  # `QueueReporter.told`
        self.deposed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # ------------------------------------------------------------------ in and out
    def room(self) -> int:
        """How many more launches may be decided: what waits is kept short, so that priority holds to the last."""
        return max(0, self._limit - self._outbox.launches.waiting(self._clock.elapsed()))

    def submit(self, decisions: Iterable[Decision | SetQueueStatus]) -> None:
        """Take decisions to carry out."""
        now, in_vain = self._clock.elapsed(), False
        for decision in decisions:
            metrics.labelled(metrics.decisions, type(decision).__name__).inc()
            if isinstance(decision, KeepLog):
                self._capture.ask(decision.pod)
            else:
                self._outbox.push(decision, now)
                in_vain = in_vain or self._outbox.launches.is_held_up(decision, now)
        if in_vain:
            self._wake()  # they take no room, and no answer will tell that there is some
        self._pump()

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return not self.tasks and not len(self._outbox) and not self._outbox.launches.in_doubt

    async def finish(self, seconds: float) -> None:
        """Wait for the requests under way, for so many seconds at most; nothing new is sent."""
        self._limit = 0
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=seconds)

    def _pump(self) -> None:
        now = self._clock.elapsed()
        while len(self.tasks) < self._limit:
            request = self._outbox.pop(now)
            if request is None:
                break
            task = asyncio.create_task(self._send(request))
            self.tasks.add(task)
            task.add_done_callback(self._sent)
        due_in = self._outbox.due_in(now)
        if due_in is not None and self._timer is None and len(self.tasks) < self._limit:
            self._timer = asyncio.get_running_loop().call_later(due_in + 0.001, self._paced)
        if len(self._outbox.launches) and self._sweep is None and self._limit:
            self._sweep = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._look_at_launches)

    def _look_at_launches(self) -> None:
        self._sweep = None
        self._launcher.give_up(self._limit)
        self._wake()  # whose turn it is has changed with time alone
        self._pump()

    def _paced(self) -> None:
        self._timer = None
        self._pump()

    def _sent(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, DeposedError):
            if not self.deposed.done():
                self.deposed.set_exception(error)
            return
        self._pump()

    async def _send(self, request: Request) -> None:
        try:
            await self._carry_out(request)
        except (DeposedError, asyncio.CancelledError):
            raise
        except Exception:  # a defect of ours: what it was about is decided and tried again, nothing stays half done
            logger.exception("%s could not be carried out, trying again", type(request).__name__)
            self._later(RETRY_SECONDS[-1], lambda: self._ask_again(request))

    def _ask_again(self, request: Request) -> None:
        state = self._mirror.state
        match request:
            case Launch():
                self._outbox.push(request, self._clock.elapsed())  # it may exist: only the same create can tell
                self._pump()
            case SetStatus():
                state.not_written(request)
            case EndPod():
                state.end_asked(request.pod, None)
            case RemovePod():
                state.pod_not_removed(request.pod)
            case RemoveJob():
                state.job_not_removed(request.job.uid)
            case SetQueueStatus():
                self.queue_told(request, True)
            case Notice():
                pass
            case _:
                assert_never(request)

    async def _carry_out(self, request: Request) -> None:
        match request:
            case Launch():
                again_in = await self._launcher.launch(request)
                if again_in is not None:  # until then it holds no slot
                    self._later(again_in, lambda: self._ask_again(request))
            case SetStatus():
                try:
                    await self._set_status(request)
                finally:
                    self._outbox.written(request.job.uid, self._clock.elapsed())
            case EndPod():
                await self._end_pod(request)
            case RemovePod():
                await self._remove_pod(request)
            case RemoveJob():
                await self._remove_job(request)
            case SetQueueStatus():
                await self._set_queue_status(request)
            case Notice():
                await self._kube.announce(request)  # whatever comes of it: the status says the same
            case _:
                assert_never(request)

    # ------------------------------------------------------------------ one function per decision
    async def _set_status(self, decision: SetStatus) -> None:
        state = self._mirror.state
        if not state.still_wanted(decision):
            return
        if state.jobs[decision.job.uid].job.version > decision.job.version:
            # The write before it has answered meanwhile: this one could only be refused as stale.
            state.not_written(decision)
            self._wake()
            return
        answer = await self._kube.set_status(decision, self.epoch)
        if not isinstance(answer, Unreachable):
            self._launcher.answering.heard(self._clock.elapsed())
        match answer:
            case Written(job):
                self._mirror.observe_job(job)
                self._announce(notice_of(decision.job.status, job))
            case Stale(Job() as job):
                metrics.stale_writes.inc()
                self._mirror.observe_job(job)
            case Stale() | Gone():
                self._mirror.forget_job(decision.job.uid)
            case Deposed(message):
                raise DeposedError(message)
            case Refused(code, message):
                logger.error(
                    "status of TaskJob %s/%s was refused (%d): %s",
                    decision.job.namespace,
                    decision.job.name,
                    code,
                    message,
                )
                # What people would read in the status stands at least beside the object. Whether that works or not,
                # the status is tried again.
                self._announce(Notice(decision.job, str(decision.status.reason), decision.status.message))
                self._later(REFUSED_STATUS_SECONDS, lambda: state.not_written(decision))
                return
            case Unreachable():
                await asyncio.sleep(pause(answer, 0))
            case _:
                assert_never(answer)
        state.not_written(decision)  # whatever it was, what is wanted now is decided on what is known now
        self._wake()

    async def _set_queue_status(self, figures: SetQueueStatus) -> None:
        answer = await self._kube.set_queue_status(figures)
        self.queue_told(figures, isinstance(answer, Unreachable))
        if isinstance(answer, Refused):  # of an API server that has just started, or it may not be written at all
            self._later(REFUSED_STATUS_SECONDS, lambda: self.queue_told(figures, True))

    def _announce(self, notice: Notice | None) -> None:
        """Tell it by an Event, when there is nothing better to do; what is too much is dropped."""
        if notice is None:
            return
        if self._outbox.has_room_for_notices:
            metrics.notices.labels(notice.reason).inc()
            self._outbox.push(notice, self._clock.elapsed())
            self._pump()
        else:
            metrics.notices_dropped.inc()

    async def _end_pod(self, decision: EndPod) -> None:
        logger.info("ending pod %s/%s: %s", decision.pod.namespace, decision.pod.name, decision.why)
        answer = await self._kube.end_pod(decision)
        match answer:
            case Done(pod):
                if pod is not None:
                    self._mirror.observe_pod(pod)
            case Changed(pod):
                self._mirror.observe_pod(pod)
                self._mirror.state.end_asked(decision.pod, None)
                self._wake()
            case Gone():
                self._mirror.forget_pod(decision.pod)
            case Refused() | Unreachable():
                logger.warning(
                    "pod %s/%s could not be ended, trying again: %s",
                    decision.pod.namespace,
                    decision.pod.name,
                    answer.message,
                )
                # No slot is held meanwhile: this is sent before all else, and it may be that no pod may be ended.
                self._later(RETRY_SECONDS[-1], lambda: self._mirror.state.end_asked(decision.pod, None))
            case _:
                assert_never(answer)

    async def _remove_pod(self, decision: RemovePod) -> None:
        answer = await self._kube.remove_pod(decision)
        match answer:
            case Done(pod):
                if pod is not None:
                    self._mirror.observe_pod(pod)
            case Gone():
                self._mirror.forget_pod(decision.pod)
            case Refused() | Unreachable():
                pod = decision.pod
                self._later(RETRY_SECONDS[-1], lambda: self._mirror.state.pod_not_removed(pod))
            case _:
                assert_never(answer)

    async def _remove_job(self, decision: RemoveJob) -> None:
        uid = decision.job.uid
        answer = await self._kube.remove_job(decision)
        match answer:
            case Done():
                return  # its DELETED event, or the next list, says when it is gone
            case Stale(Job() as job):
                self._mirror.observe_job(job)
                self._mirror.state.job_not_removed(uid)
                self._wake()
            case Gone() | Stale():
                self._mirror.forget_job(uid)
            case Refused() | Unreachable():
                self._later(RETRY_SECONDS[-1], lambda: self._mirror.state.job_not_removed(uid))
            case _:
                assert_never(answer)

    # ------------------------------------------------------------------ waiting
    def _later(self, seconds: float, ask_again: Callable[[], None]) -> None:
        def do() -> None:
            ask_again()
            self._wake()

        asyncio.get_running_loop().call_later(seconds, do)
