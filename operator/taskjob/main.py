"""The operator's composition root: the only file that wires adapters. `taskjob-operator` runs `main`.

Starts in the order that makes it safe: an epoch is claimed, TaskJobs and TaskQueues are listed, then pods (so that
an attempt which a status names and no pod shows is really gone), and only then does the loop decide anything.
Whatever ends unexpectedly ends the process: a restart is cheap, and half an operator is worse than none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from dataclasses import dataclass
from typing import Any, Final

import uvloop
from pydantic import ValidationError

from taskjob.admin import Admin
from taskjob.config import OperatorSettings, explain_invalid
from taskjob.control.apply import Applier
from taskjob.control.capture import Capture
from taskjob.control.loop import Loop, Wakeup
from taskjob.control.mirror import Mirror, StoreRestoredError
from taskjob.control.queues import QueueReporter
from taskjob.control.recorder import Recorder
from taskjob.core.state import State
from taskjob.history.writer import HistoryWriter
from taskjob.kube import handlers
from taskjob.kube.client import KubeClient
from taskjob.kube.credentials import ConfigurationError
from taskjob.kube.http import KubeHttp
from taskjob.kube.informer import PodInformer
from taskjob.kube.lease import LeaseRefusedError, claim_epoch
from taskjob.kube.lists import ListError, list_jobs, list_queues
from taskjob.ports import DeposedError

logger = logging.getLogger("taskjob")

RELIST_RETRY_SECONDS: Final = 5.0
FINISH_SECONDS: Final = 5.0
FOR_PEOPLE: Final = (ConfigurationError, LeaseRefusedError, DeposedError, StoreRestoredError)
"""What ends the operator and needs no traceback: the message says what is wrong."""


@dataclass(slots=True, eq=False)
class Operator:
    """The wired parts of one operator."""

    settings: OperatorSettings
    http: KubeHttp
    history: HistoryWriter
    mirror: Mirror
    pods: PodInformer
    recorder: Recorder
    capture: Capture
    applier: Applier
    loop: Loop
    admin: Admin

    @classmethod
    def wire(cls, settings: OperatorSettings, http: KubeHttp, epoch: int) -> Operator:
        """Build the parts around one epoch. Starts nothing."""
        clock = http.clock
        wakeup = Wakeup()
        kube = KubeClient(http)
        history = HistoryWriter(settings.database_url.get_secret_value())
        mirror = Mirror(State(default_ttl_seconds=settings.ttl_seconds_after_finished), clock, wakeup)
        pods = PodInformer(http, mirror, settings.namespaces)
        recorder = Recorder(
            history,
            mirror,
            clock,
            wakeup,
            epoch=epoch,
            flush_seconds=settings.history_flush_seconds,
            buffer=settings.history_buffer,
        )
        capture = Capture(kube, history, recorder, mirror, wakeup, limit_bytes=settings.log_limit_bytes)
        applier = Applier(kube, mirror, capture, clock, wakeup, epoch=epoch, in_flight=settings.writes_in_flight)
        reporter = QueueReporter(mirror, clock, applier.submit)
        loop = Loop(mirror, applier, recorder, clock, wakeup, settings.tick_seconds, after_cycle=reporter)
        admin = Admin(loop, recorder, pods, clock, settings.admin_host, settings.admin_port)
        return cls(settings, http, history, mirror, pods, recorder, capture, applier, loop, admin)

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT, then finish what is under way. Raises what a part failed with."""
        port = await self.admin.start()
        logger.info("probes and metrics on http://%s:%d", self.settings.admin_host, port)
        stop, listed = asyncio.Event(), asyncio.Event()
        kopf_stop, kopf_ready = asyncio.Event(), asyncio.Event()
        kopf = asyncio.create_task(self._watch_objects(listed, kopf_stop, kopf_ready))
        signals = asyncio.create_task(_take_signals(kopf_ready, stop))
        work = asyncio.create_task(self._work(listed))
        stopped = asyncio.create_task(stop.wait())
        try:
            ends: list[asyncio.Future[Any]] = [work, self.applier.deposed, kopf]
            await asyncio.wait([stopped, *ends], return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                if end.done():
                    end.result()  # raises what it failed with
                    raise RuntimeError("kopf stopped by itself")
        finally:
            # Decide nothing more, let requests under way end, write history, then stop kopf, which cancels the rest.
            for part in (work, signals, stopped):
                part.cancel()
            await asyncio.gather(work, signals, stopped, return_exceptions=True)
            await self.applier.finish(FINISH_SECONDS)
            if self.loop.last_cycle is not None:
                with contextlib.suppress(DeposedError):
                    self.loop.cycle()  # what the last answers showed is told to history; nothing is sent any more
            await self.recorder.finish(FINISH_SECONDS)
            kopf_stop.set()
            if not listed.is_set():
                kopf.cancel()
            await asyncio.wait([kopf], timeout=FINISH_SECONDS)
            await self.admin.stop()
            await self.history.close()

    async def _watch_objects(self, listed: asyncio.Event, stop: asyncio.Event, ready: asyncio.Event) -> None:
        """kopf, once the first lists have worked: it looks only once which resources there are, and never follows
        those whose CRDs come later."""
        await listed.wait()
        await handlers.run(self.mirror, self.http.credentials, stop, ready=ready, namespaces=self.settings.namespaces)

    async def _work(self, listed: asyncio.Event) -> None:
        """List in the safe order, then decide and record."""
        await self._relist(patiently=True)
        listed.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.pods.run())
            await self.pods.wait_synced()
            state = self.mirror.state
            logger.info("listed %d TaskJobs, %d pods, %d queues", len(state.jobs), len(state.pods), len(state.queues))
            group.create_task(self.recorder.run())
            group.create_task(self.capture.run())
            group.create_task(self.loop.run())
            group.create_task(self._relist_for_ever())

    async def _relist(self, *, patiently: bool) -> None:
        """Replace TaskJobs and TaskQueues by lists; `patiently`: until it works, else one try."""
        while True:
            try:
                self.mirror.replace_queues(*await list_queues(self.http))
                self.mirror.replace_jobs(*await list_jobs(self.http, self.settings.namespaces))
                return
            except ListError as error:
                logger.warning("%s", error)
                if not patiently:
                    return
                await asyncio.sleep(RELIST_RETRY_SECONDS)

    async def _relist_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self.settings.relist_seconds)
            await self._relist(patiently=False)


async def _take_signals(kopf_ready: asyncio.Event, stop: asyncio.Event) -> None:
    """SIGTERM and SIGINT set `stop`. kopf takes both for itself when it starts: we take them back."""
    loop = asyncio.get_running_loop()
    for _ in range(2):
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, stop.set)
        await kopf_ready.wait()


async def serve(settings: OperatorSettings) -> None:
    """Run one operator until it is told to stop. Raises what it failed with."""
    async with await KubeHttp.connect(
        settings.kubeconfig, in_flight=settings.writes_in_flight, timeout_seconds=settings.request_timeout_seconds
    ) as http:
        identity = f"{socket.gethostname()}/{os.getpid()}"
        epoch = await claim_epoch(http, settings.lease_namespace, settings.lease_name, identity)
        logger.info("epoch %d claimed by %s", epoch, identity)
        await Operator.wire(settings, http, epoch).run()


def main() -> int:
    """`taskjob-operator`: settings from the environment; 0 when told to stop, 1 when something failed."""
    try:
        settings = OperatorSettings()
    except ValidationError as error:
        print(explain_invalid(error), file=sys.stderr)
        return 2
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    if settings.log_level != "DEBUG":
        logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except Exception as error:
        cause: BaseException = error
        while isinstance(cause, BaseExceptionGroup) and len(cause.exceptions) == 1:
            cause = cause.exceptions[0]
        if isinstance(cause, FOR_PEOPLE):
            logger.error("the operator stops: %s", cause)
        else:
            logger.exception("the operator stops: a part of it failed")
        return 1
    logger.info("stopped as asked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
