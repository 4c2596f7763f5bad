"""The operator's own port: `/healthz` (is the loop alive), `/readyz` (may it be relied on), `/metrics`, `/explain`.

A standby is ready when it would be able to take over: it holds what the cluster holds. It says that it stands by.

Probes and metrics are figures only, and reachable without credentials wherever the port is. `/explain` names jobs of
all namespaces: it answers the accounts that it was told of (the API, which knows what its callers may see), and nobody
else.
"""

from __future__ import annotations

from collections import Counter as Tally
from dataclasses import dataclass
from typing import Final

import psutil
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest

from taskjob import metrics
from taskjob.control.loop import Loop
from taskjob.control.mirror import Mirror
from taskjob.control.recorder import Recorder
from taskjob.core.explanation import explanation
from taskjob.core.model import JobKey, JobName, Namespace, Uid
from taskjob.core.phases import Phase
from taskjob.kube.callers import Callers
from taskjob.kube.http import NoAnswerError
from taskjob.kube.informer import PodInformer
from taskjob.ports import Clock, Leader

_LAST_ANSWERS_SECONDS: Final = 2.0  # for requests that are being answered when the operator stops
STUCK_SECONDS: Final = 60.0
"""A loop without a cycle for so long is stuck: it runs one every few seconds even when nothing happens."""

SILENT_SECONDS: Final = 150.0
"""A watch without even a bookmark for so long is broken; where it was not even tried anew, so is its own repair."""

_process_cpu = Gauge("taskjobs_process_cpu_seconds", "CPU time of the operator's process, user and system.")
_process_memory = Gauge("taskjobs_process_resident_bytes", "Resident memory of the operator's process.")
_process_files = Gauge("taskjobs_process_open_files", "Open file descriptors of the operator's process.")
_process_threads = Gauge("taskjobs_process_threads", "Threads of the operator's process.")
_process_connections = Gauge("taskjobs_process_connections", "Open network connections of the operator's process.")


@dataclass(slots=True, eq=False)
class Admin:
    """The admin server over the parts that it reports on. `loop` and `recorder` are there once this process leads.

    Without `callers` anybody may ask `/explain`: on loopback only.
    """

    mirror: Mirror
    pods: PodInformer
    leader: Leader
    clock: Clock
    host: str
    port: int
    callers: Callers | None
    loop: Loop | None = None
    recorder: Recorder | None = None
    _runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen; returns the port, which the system chose if it was to be 0. Raises `OSError` if it is taken."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/explain", self._explain)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_LAST_ANSWERS_SECONDS)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    def unhealthy(self) -> list[str]:
        """What a restart might mend, in sentences; empty if nothing is wrong."""
        now = self.clock.elapsed()
        wrong: list[str] = []
        last_cycle = self.loop.last_cycle if self.loop is not None else None
        if last_cycle is not None and now - last_cycle > STUCK_SECONDS:
            wrong.append(f"no cycle for {now - last_cycle:.0f} s")
        stuck = self.pods.stuck_seconds
        if stuck > SILENT_SECONDS:
            wrong.append(f"the watch of pods has stood still for {stuck:.0f} s")
        return wrong

    def unready(self) -> list[str]:
        """What keeps the operator from being relied on; PostgreSQL does not: scheduling goes on without it."""
        wrong = self.unhealthy()
        silent = self.pods.silent_seconds
        if silent > SILENT_SECONDS:
            wrong.append(f"the watch of pods has been silent for {silent:.0f} s")
        if not self.mirror.synced:
            wrong.append("the cluster has not been listed yet")
        elif self.leader.may_act() and (self.loop is None or self.loop.last_cycle is None):
            wrong.append("no cycle has run yet")
        return wrong

    @property
    def role(self) -> str:
        """What a ready operator says: `ok` from the leader, else that it stands by, and who leads."""
        return "ok" if self.loop is not None else f"standby: {self.leader.holder}"

    async def _healthz(self, _: web.Request) -> web.Response:
        return _answer(self.unhealthy())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _answer(self.unready(), self.role)

    async def _explain(self, request: web.Request) -> web.Response:
        """`?uid=`, or `?namespace=&name=`: the explanation as JSON. 503 from whoever does not lead: ask another."""
        if self.loop is None or self.loop.last_cycle is None or not self.leader.may_act():
            return _answer([self.role if self.loop is None else "not (any more) the leader"])
        if self.callers is not None:
            try:
                if not await self.callers.accepts(request.headers.get("Authorization")):
                    return _no(401, "send a token of an account that may ask (TASKJOBS_EXPLAIN_TO)")
            except NoAnswerError as error:
                return _answer([str(error)])
        state, query = self.mirror.state, request.query
        uid = state.by_key.get(JobKey(Namespace(query.get("namespace", "")), JobName(query.get("name", ""))))
        tracked = state.jobs.get(Uid(query["uid"]) if "uid" in query else uid or Uid(""))
        if tracked is None:
            return _no(404, "there is no such job in the cluster")
        return web.json_response(explanation(state, tracked, self.clock.now()).told())

    async def _metrics(self, _: web.Request) -> web.Response:
        self._collect()
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    def _collect(self) -> None:
        phases = Tally(tracked.job.status.phase for tracked in self.mirror.state.jobs.values())
        for phase in Phase:
            metrics.jobs.labels(phase.value).set(phases[phase])
        metrics.leader.set(self.loop is not None and self.leader.may_act())
        metrics.epoch.set(self.leader.epoch)
        if self.recorder is not None:
            metrics.history_lag_seconds.set(self.recorder.lag_seconds)
            metrics.history_buffered.set(self.recorder.buffered)
        process = psutil.Process()
        with process.oneshot():
            times = process.cpu_times()
            _process_cpu.set(times.user + times.system)
            _process_memory.set(process.memory_info().rss)
            _process_threads.set(process.num_threads())
            _process_files.set(process.num_fds())
            _process_connections.set(len(process.net_connections(kind="inet")))


def _no(code: int, why: str) -> web.Response:
    return web.Response(status=code, text=why + "\n")


def _answer(wrong: list[str], right: str = "ok") -> web.Response:
    return web.Response(status=503 if wrong else 200, text="\n".join(wrong or [right]) + "\n")
