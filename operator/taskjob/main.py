"""The operator's composition root: it and `acting` wire the adapters, nobody else does. `taskjob-operator` runs `main`.

Starts in the order that makes it safe: TaskJobs and TaskQueues are listed, then pods (so that an attempt which a
status names and no pod shows is really gone), and only then does the loop decide anything. With leader election every
replica lists and follows from the start; whoever comes to lead lists once more, in the same order, before it decides.
Whatever ends unexpectedly ends the process: a restart is cheap, and half an operator is worse than none.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import uvloop
from pydantic import ValidationError

from taskjob import heap
from taskjob.acting import FINISH_SECONDS, Acting, pod_reader
from taskjob.admin import Admin
from taskjob.config import OperatorSettings, explain_invalid
from taskjob.control.loop import Wakeup
from taskjob.control.mirror import Mirror, StoreRestoredError
from taskjob.core.capacity import Unknown
from taskjob.core.model import Job, Uid
from taskjob.core.namespaces import Unknown as UnknownNamespaces
from taskjob.core.state import State
from taskjob.kube import handlers
from taskjob.kube.callers import Callers
from taskjob.kube.credentials import ConfigurationError
from taskjob.kube.election import Timing
from taskjob.kube.fence import FenceRefusedError, announce
from taskjob.kube.http import KubeHttp, NoAnswerError
from taskjob.kube.informer import PodInformer
from taskjob.kube.lease import Elector, LeaseRefusedError, Unopposed, claim_epoch, lift_epoch
from taskjob.kube.lists import ListError, list_jobs, list_queues
from taskjob.kube.namespaces import TO_GRANT_NAMESPACES, NamespaceWatch
from taskjob.kube.permitted import LOOK_SECONDS, NamespacesChangedError, permitted, until_changed
from taskjob.kube.surroundings import TO_GRANT, Surroundings
from taskjob.ports import DeposedError

logger = logging.getLogger("taskjob")

RELIST_RETRY_SECONDS: Final = 5.0
CATCH_UP_RETRY_SECONDS: Final = 0.5
LOOK_AROUND_SECONDS: Final = 15.0
END_SECONDS: Final = 25.0
"""Within which a process that stops has ended, whatever still hangs: before a kubelet's usual patience is over."""
FOR_PEOPLE: Final = (
    ConfigurationError,
    LeaseRefusedError,
    FenceRefusedError,
    DeposedError,
    StoreRestoredError,
    NamespacesChangedError,
)
"""What ends the operator and needs no traceback: the message says what is wrong."""


@dataclass(slots=True, eq=False)
class Operator:
    """The wired parts of one operator. Those that watch run from the start, in every replica."""

    settings: OperatorSettings
    http: KubeHttp
    wakeup: Wakeup
    mirror: Mirror
    pods: PodInformer
    surroundings: Surroundings | None  # None: this installation may not watch the whole cluster
    namespaces: NamespaceWatch | None  # None: nor may it watch namespaces
    leader: Elector | Unopposed
    admin: Admin
    configured: Sequence[str] = ()  # the namespaces that were asked for; `settings` has those that are followed
    acting: Acting | None = None
    _listing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def wire(cls, settings: OperatorSettings, http: KubeHttp, configured: Sequence[str] = ()) -> Operator:
        """Build the parts. Starts nothing. `configured`: the namespaces that were asked for, of which `settings` names
        those that are followed."""
        wakeup = Wakeup()
        state = State(settings.ttl_seconds_after_finished, settings.controller_name)
        mirror = Mirror(state, http.clock, wakeup)
        pods = PodInformer(http, mirror, settings.namespaces, pod_reader(settings))
        surroundings = None
        if settings.watch_cluster:
            surroundings = Surroundings(http, mirror, mirror.surroundings_needed, settings.namespaces)
        else:
            mirror.surroundings_unknown(
                Unknown.FORBIDDEN,
                f"spec.quotaFromNodes cannot be followed by this installation: {TO_GRANT}, or write spec.quota instead",
            )
        namespaces = None
        if settings.watch_namespaces:
            namespaces = NamespaceWatch(http, mirror, mirror.namespaces_needed)
        else:
            mirror.namespaces_unknown(
                UnknownNamespaces.FORBIDDEN,
                f"spec.namespaceSelector cannot be followed by this installation: {TO_GRANT_NAMESPACES}, or remove it",
            )
        leader = _elector(settings, mirror) if settings.leader_election else Unopposed(_identity(settings))
        callers = None if settings.insecure_local else Callers(http, settings.explain_to)
        admin = Admin(mirror, pods, leader, http.clock, settings.admin_host, settings.admin_port, callers)
        return cls(settings, http, wakeup, mirror, pods, surroundings, namespaces, leader, admin, configured)

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
        newer = 0  # the epoch that deposed us, if one did
        ends = [work, kopf]
        if isinstance(self.leader, Elector):
            # Beside the work, not in it: a part that hangs does not hide that somebody else may lead.
            ends.append(asyncio.create_task(_until_lost(self.leader)))
        if len(self.configured) > 1:
            look = min(LOOK_SECONDS, self.settings.relist_seconds)
            ends.append(asyncio.create_task(until_changed(self.http, self.configured, self.settings.namespaces, look)))
        try:
            await asyncio.wait([stopped, *ends], return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                if end.done():
                    end.result()  # raises what it failed with
                    raise RuntimeError("kopf stopped by itself")
        except Exception as error:
            cause = root_cause(error)
            newer = cause.epoch if isinstance(cause, DeposedError) else 0
            raise
        finally:
            faulthandler.dump_traceback_later(END_SECONDS, exit=True)  # `main` calls it off
            # Decide nothing more, finish, let another one lead, then stop kopf, which cancels the rest.
            ours = [signals, stopped, *(end for end in ends if end is not kopf)]
            for part in ours:
                part.cancel()
            await asyncio.gather(*ours, return_exceptions=True)
            if self.acting is not None:
                await self.acting.finish(leads=self.leader.may_act())
            await self._step_down(newer)
            kopf_stop.set()
            if not listed.is_set():
                kopf.cancel()
            await asyncio.wait([kopf], timeout=FINISH_SECONDS)
            await self.admin.stop()
            if self.acting is not None:
                await self.acting.history.close()

    async def _watch_objects(self, listed: asyncio.Event, stop: asyncio.Event, ready: asyncio.Event) -> None:
        """kopf, once the first lists have worked: it looks only once which resources there are, and never follows
        those whose CRDs come later."""
        await listed.wait()
        await handlers.run(self.mirror, self.http.credentials, stop, ready=ready, namespaces=self.settings.namespaces)

    async def _work(self, listed: asyncio.Event) -> None:
        """List in the safe order and follow; once this process leads, decide and record."""
        if isinstance(self.leader, Unopposed):
            await self._claim(self.leader)
        await self._relist(retry_seconds=RELIST_RETRY_SECONDS)
        listed.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.pods.run())
            if self.surroundings is not None:
                group.create_task(self.surroundings.run())
            if self.namespaces is not None:
                group.create_task(self.namespaces.run())
            await self.pods.wait_synced()
            await self._look_around()
            state = self.mirror.state
            counts = len(state.jobs), len(state.pods), len(state.queues.by_name)
            logger.info("listed %d TaskJobs, %d pods, %d queues", *counts)
            group.create_task(self._relist_for_ever())
            if isinstance(self.leader, Elector):
                self.leader.start()
                await asyncio.wrap_future(self.leader.won)
                await self._announce()
                await self._catch_up()
            elif self.mirror.newest_epoch > self.leader.epoch:
                logger.warning(
                    "the cluster shows epoch %d: the Lease was lost, claiming anew", self.mirror.newest_epoch
                )
                await self._claim(self.leader)
                await self._catch_up()
            acting = Acting.wire(self.settings, self.http, self.mirror, self.wakeup, self.leader.epoch)
            self.acting, self.admin.loop, self.admin.recorder = acting, acting.loop, acting.recorder
            await acting.run()

    async def _look_around(self) -> None:
        """Know nodes and namespaces before the first decision, lest all that waits for them be told something else."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_AROUND_SECONDS):
                for watch in (self.surroundings, self.namespaces):
                    if watch is not None:
                        await watch.wait_told()

    async def _claim(self, leader: Unopposed) -> None:
        """Take the Lease by force."""
        of = self.settings
        leader.epoch = await claim_epoch(
            self.http, of.lease_namespace, of.lease_name, leader.holder, floor=self.mirror.newest_epoch
        )
        logger.info("epoch %d claimed by %s", leader.epoch, leader.holder)
        await self._announce()

    async def _announce(self) -> None:
        """Tell the chart's policies our epoch, where they are told: from then on they refuse what the last leader still
        sends, and all that it got written before is in the lists that come next."""
        of = self.settings
        if of.fence_account:
            await announce(self.http, of.lease_namespace, of.fence_account, self.leader.epoch)

    async def _step_down(self, newer: int) -> None:
        """Give the Lease back. If it is ours and yet `newer` deposed us, the cluster or its database comes from a
        backup: then the Lease is left with that epoch, so that the next start exceeds it."""
        if isinstance(self.leader, Elector):
            await asyncio.to_thread(self.leader.resign, newer)
        elif newer > self.leader.epoch:
            with contextlib.suppress(NoAnswerError, LeaseRefusedError):
                await lift_epoch(self.http, self.settings.lease_namespace, self.settings.lease_name, self.leader, newer)

    async def _catch_up(self) -> None:
        """See all that the leader before us did: the watches may lag, and kopf does not tell of all that vanished.

        TaskJobs before pods, so that an attempt which a status names and no pod shows is really gone.
        """
        begun = self.http.clock.elapsed()
        await self._relist(retry_seconds=CATCH_UP_RETRY_SECONDS)
        while True:
            try:
                await self.pods.relist()
                break
            except ListError as error:
                logger.warning("%s", error)
                await asyncio.sleep(CATCH_UP_RETRY_SECONDS)
        state = self.mirror.state
        state.entries.clear()  # whoever led told history of those that left, or opening history tells
        took = self.http.clock.elapsed() - begun
        logger.info("caught up with %d TaskJobs and %d pods in %.2f s", len(state.jobs), len(state.pods), took)

    async def _relist(self, *, retry_seconds: float | None) -> None:
        """Replace TaskJobs and TaskQueues by lists: tried every so many seconds until it works, or once."""
        while True:
            try:
                async with self._listing:  # one after the other, so that a later one is never older
                    self.mirror.replace_queues(*await list_queues(self.http))
                    self.mirror.replace_jobs(*await list_jobs(self.http, self.settings.namespaces, self._held))
                return
            except ListError as error:
                logger.warning("%s", error)
                if retry_seconds is None:
                    return
                await asyncio.sleep(retry_seconds)

    def _held(self, uid: Uid) -> Job | None:
        tracked = self.mirror.state.jobs.get(uid)
        return tracked.job if tracked is not None else None

    async def _relist_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self.settings.relist_seconds)
            await self._relist(retry_seconds=None)
            try:
                await self.pods.relist()
            except ListError as error:
                logger.warning("%s", error)
            if self.acting is None:
                self.mirror.state.entries.clear()  # the leader tells history of them
            heap.give_back()  # lists are the largest that is made and thrown away


def root_cause(error: BaseException) -> BaseException:
    """What a task group failed with, if it is one thing."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _identity(settings: OperatorSettings) -> str:
    """Who we are in the Lease. A host name and a process id are not enough: containers share both."""
    return settings.identity or f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(3)}"


def _elector(settings: OperatorSettings, mirror: Mirror) -> Elector:
    timing = Timing(settings.lease_seconds, settings.renew_deadline_seconds)

    async def connect() -> KubeHttp:
        return await KubeHttp.connect(settings.kubeconfig, in_flight=1, timeout_seconds=timing.request)

    return Elector(
        connect,
        settings.lease_namespace,
        settings.lease_name,
        _identity(settings),
        timing,
        floor=lambda: mirror.newest_epoch,
    )


async def _until_lost(elector: Elector) -> None:
    """Raises `DeposedError` when the leadership is over, or what the elector failed with."""
    why = await asyncio.wrap_future(elector.lost)
    raise DeposedError(why)


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
        named = tuple(dict.fromkeys(settings.namespaces))
        followed = await permitted(http, named)
        operator = Operator.wire(settings.model_copy(update={"namespaces": followed}), http, named)
        if settings.leader_election:
            http.may_write = operator.leader.may_act
        await operator.run()


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
    heap.settle()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except Exception as error:
        cause = root_cause(error)
        if isinstance(cause, FOR_PEOPLE):
            logger.error("the operator stops: %s", cause)
        else:
            logger.exception("the operator stops: a part of it failed")
        return 1
    finally:
        faulthandler.cancel_dump_traceback_later()
    logger.info("stopped as asked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
