"""kopf at the edge: TaskJobs and TaskQueues are parsed and passed on, nothing else.

Event handlers write nothing (no annotation, no finalizer, no progress) and return nothing; kopf's storages are
no-ops, which also spares it half of its work per event. Errors of kopf end `run`: the process then starts anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import Any, Final, Protocol

import kopf

from taskjob import metrics
from taskjob.core.model import Job, Queue, QueueName, Uid
from taskjob.kube.credentials import Credentials
from taskjob.kube.lists import tell_unusable
from taskjob.kube.schema import GROUP, VERSION, UnusableObjectError, parse_job, parse_queue

SILENCE_SECONDS: Final = 70.0
"""Bookmarks come about once a minute; a watch that is silent for longer has died without a word. As kopf's own default:
the API server remembers events for little longer."""
BACKOFFS: Final = (1, 1, 2, 3, 5, 8, 13, 20, 30, 30, 30, 30, 30)
"""Together longer than that silence, after which kopf begins a watch anew: so an API server that answers nothing but
5xx for minutes does not end it."""


class Sink(Protocol):
    """Who is told of TaskJobs and TaskQueues. All are called in kopf's event loop and must not block."""

    def observe_job(self, job: Job) -> object:
        """A TaskJob appeared or changed."""

    def forget_job(self, uid: Uid) -> object:
        """A TaskJob was deleted."""

    def observe_queue(self, queue: Queue) -> object:
        """A TaskQueue appeared or changed."""

    def forget_queue(self, name: QueueName) -> object:
        """A TaskQueue was deleted."""


class _NoDiffBase(kopf.DiffBaseStorage):
    """kopf remembers no last seen state: `on.event` handlers need none, and copying it costs."""

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        pass


class _NoProgress(kopf.ProgressStorage):
    """kopf remembers no progress of handlers: ours either happen or are told in the log."""

    def fetch(self, *, key: Any, body: kopf.Body) -> kopf.ProgressRecord | None:
        return None

    def store(self, *, key: Any, record: kopf.ProgressRecord, body: kopf.Body, patch: kopf.Patch) -> None:
        pass

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        pass

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        pass

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


def settings() -> kopf.OperatorSettings:
    """kopf, told to watch and nothing else."""
    of = kopf.OperatorSettings()
    of.persistence.diffbase_storage = _NoDiffBase()
    of.persistence.progress_storage = _NoProgress()
    of.posting.enabled = False
    of.scanning.disabled = True
    of.peering.standalone = True
    of.networking.request_timeout = 60
    of.networking.error_backoffs = BACKOFFS
    of.watching.server_timeout = 300
    of.watching.client_timeout = 310
    of.watching.connect_timeout = 15
    of.watching.inactivity_timeout = SILENCE_SECONDS
    # A worker_limit without a short idle_timeout stalls: one worker per object at a time is kopf's own order.
    return of


def registry(sink: Sink, credentials: Credentials) -> kopf.OperatorRegistry:
    """The handlers, bound to who is told."""
    of = kopf.OperatorRegistry()

    @kopf.on.login(registry=of)
    async def log_in(**_: Any) -> kopf.ConnectionInfo:
        # Called at the start, and again after a 401: then the token is read anew.
        await credentials.refresh()
        return connection(credentials)

    @kopf.on.event(GROUP, VERSION, "taskjobs", registry=of)
    async def taskjob(event: kopf.RawEvent, **_: Any) -> None:
        pass_job_on(event, sink)

    @kopf.on.event(GROUP, VERSION, "taskqueues", registry=of)
    async def taskqueue(event: kopf.RawEvent, **_: Any) -> None:
        pass_queue_on(event, sink)

    return of


def pass_job_on(event: kopf.RawEvent, sink: Sink) -> None:
    """Parse, and tell the sink."""
    _count("taskjobs", event)
    try:
        job = parse_job(event["object"])
    except UnusableObjectError as error:
        tell_unusable("taskjobs", error)
        return
    if event["type"] == "DELETED":
        sink.forget_job(job.uid)
    else:
        sink.observe_job(job)


def pass_queue_on(event: kopf.RawEvent, sink: Sink) -> None:
    """Parse, and tell the sink."""
    _count("taskqueues", event)
    try:
        queue = parse_queue(event["object"])
    except UnusableObjectError as error:
        tell_unusable("taskqueues", error)
        return
    if event["type"] == "DELETED":
        sink.forget_queue(queue.name)
    else:
        sink.observe_queue(queue)


def _count(resource: str, event: kopf.RawEvent) -> None:
    metrics.labelled(metrics.watch_events, resource, event["type"] or "LISTED").inc()


def connection(credentials: Credentials) -> kopf.ConnectionInfo:
    """Our configuration as kopf wants it."""
    of = credentials.configuration
    return kopf.ConnectionInfo(
        server=credentials.server,
        ca_path=of.ssl_ca_cert,
        ca_data=of.ca_cert_data,
        insecure=not of.verify_ssl,
        scheme="Bearer" if credentials.token else None,
        token=credentials.token,
        certificate_path=of.cert_file,
        private_key_path=of.key_file,
        proxy_url=of.proxy,
        default_namespace="default",
    )


async def run(
    sink: Sink,
    credentials: Credentials,
    stop: asyncio.Event,
    *,
    ready: asyncio.Event | None = None,
    namespaces: Collection[str] = (),
) -> None:
    """Watch until `stop` is set. On leaving, kopf cancels every task of this loop that began after it.

    `ready` is set when kopf has started (not when it has seen everything). It returns or raises when kopf gives up.
    """
    # For peering, which is off. Without one kopf asks for the user's name, and a pod's uid need not have any. Any: a
    # string to type checkers too, but for a name that kopf does not export.
    identity: Any = "taskjobs"
    await kopf.operator(
        registry=registry(sink, credentials),
        settings=settings(),
        identity=identity,
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
        stop_flag=stop,
        ready_flag=ready,
    )
