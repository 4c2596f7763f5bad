"""kopf at the edge: everything is told, nothing is written."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import pwd
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from chaos.api_wire import ApiWire, a_status
from kube_worlds import RealWorld, eventually
from relays import Relay
from taskjob.core.model import Job, Queue, QueueName, Uid
from taskjob.kube import handlers
from taskjob.kube.client import job_path
from taskjob.kube.credentials import Credentials
from taskjob.kube.http import MERGE_PATCH, KubeHttp
from taskjob_cluster import Cluster


@dataclass
class Seen:
    """What stands, by what was told."""

    jobs: dict[Uid, Job] = field(default_factory=dict)
    queues: dict[QueueName, Queue] = field(default_factory=dict)
    forgotten: list[Uid] = field(default_factory=list)

    def observe_job(self, job: Job) -> None:
        self.jobs[job.uid] = job

    def forget_job(self, uid: Uid) -> None:
        self.jobs.pop(uid, None)
        self.forgotten.append(uid)

    def observe_queue(self, queue: Queue) -> None:
        self.queues[queue.name] = queue

    def forget_queue(self, name: QueueName) -> None:
        self.queues.pop(name, None)


@pytest.fixture
async def world(cluster: Cluster, namespace: str) -> AsyncIterator[RealWorld]:
    async with await KubeHttp.connect(cluster.kubeconfig) as http:
        yield RealWorld(http, namespace)


@contextlib.contextmanager
def kopf_telling(told: Seen, kubeconfig: Path, namespace: str, server: str | None = None) -> Iterator[None]:
    """kopf, in a thread and a loop of its own: on leaving it cancels whatever else its loop does."""
    handle: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        credentials = await Credentials.load(kubeconfig)
        credentials.server = server or credentials.server
        handle.set_result((asyncio.get_running_loop(), stop))
        await handlers.run(told, credentials, stop, namespaces=[namespace])

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(asyncio.run, serve())
        loop, stop = handle.result(timeout=20)
        try:
            yield
        finally:
            loop.call_soon_threadsafe(stop.set)
            running.result(timeout=30)


@pytest.fixture
def seen(world: RealWorld, cluster: Cluster) -> Iterator[Seen]:
    """What kopf tells of the test's namespace, and of queues."""
    told = Seen()
    with kopf_telling(told, cluster.kubeconfig, world.namespace):
        yield told


async def raw(world: RealWorld, job: Job) -> dict[str, Any]:
    reply = await world.send("GET", job_path(job.namespace, job.name))
    return msgspec.json.decode(reply.body, type=dict[str, Any])


async def test_a_jobs_life_is_told_and_nothing_is_written_to_it(world: RealWorld, seen: Seen) -> None:
    job = await world.make_job("train")
    await eventually("the new job is told", lambda: seen.jobs == {job.uid: job})
    changed = await world.touch_job(job)
    await eventually("its change is told", lambda: seen.jobs == {job.uid: changed})
    meta = (await raw(world, job))["metadata"]
    assert int(meta["resourceVersion"]) == changed.version, "nobody else wrote"
    assert "annotations" not in meta
    assert "finalizers" not in meta
    await world.delete_job(job)
    await eventually("its deletion is told", lambda: seen.forgotten == [job.uid])
    assert seen.jobs == {}


async def test_what_was_there_before_is_told(world: RealWorld, cluster: Cluster) -> None:
    job, told = await world.make_job("before"), Seen()
    with kopf_telling(told, cluster.kubeconfig, world.namespace):
        await eventually("the job is told", lambda: told.jobs == {job.uid: job})


async def test_a_connection_that_has_died_without_a_word_is_noticed_and_nothing_is_missed(
    world: RealWorld, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "SILENCE_SECONDS", 2.0)
    job, seen = await world.make_job("before"), Seen()
    async with Relay(cluster.server) as relay:
        with kopf_telling(seen, cluster.kubeconfig, world.namespace, relay.url):
            await eventually("the job is told", lambda: seen.jobs == {job.uid: job})
            relay.let_die_silently()
            changed = await world.touch_job(job)
            await eventually("its change is told, by a new connection", lambda: seen.jobs == {job.uid: changed})


class Gateway(ApiWire):
    """Answers watches with 503 while it is `unwell`."""

    unwell = False
    refused = 0

    async def _stream(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if not self.unwell:
            return await super()._stream(request, body)
        self.refused += 1
        return web.json_response(a_status(500) | {"code": 503}, status=503)


async def test_an_api_server_that_answers_5xx_for_long_does_not_end_it(
    world: RealWorld, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As the real ones stand to each other, but a hundred times as quick.
    monkeypatch.setattr(handlers, "SILENCE_SECONDS", handlers.SILENCE_SECONDS / 100)
    monkeypatch.setattr(handlers, "BACKOFFS", [seconds / 100 for seconds in handlers.BACKOFFS])
    job, seen, gateway = await world.make_job("before"), Seen(), Gateway(cluster.server, cluster.ca_file)
    await gateway.open()
    try:
        with kopf_telling(seen, cluster.kubeconfig, world.namespace, gateway.url):
            await eventually("the job is told", lambda: seen.jobs == {job.uid: job})
            gateway.unwell = True
            await gateway.end_watches(0)
            changed = await world.touch_job(job)
            tries = 3 * len(handlers.BACKOFFS)  # of either kind more than one ladder of them
            await eventually("it is refused again and again", lambda: gateway.refused > tries)
            gateway.unwell = False
            await eventually("the change is told", lambda: seen.jobs == {job.uid: changed})
    finally:
        await gateway.close()


async def test_it_starts_for_a_user_without_a_name(
    world: RealWorld, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME", "POD_ID"):
        monkeypatch.delenv(variable, raising=False)

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(KeyError, match="uid not found"):
        getpass.getuser()

    job, told = await world.make_job("anyone"), Seen()
    with kopf_telling(told, cluster.kubeconfig, world.namespace):
        await eventually("the job is told", lambda: told.jobs == {job.uid: job})


async def test_queues_are_told_though_namespaces_are_named(world: RealWorld, seen: Seen) -> None:
    queue = await world.make_queue("research")
    await eventually("the queue is told", lambda: seen.queues.get(queue.name) == queue)
    path = f"/apis/taskjobs.dev/v1beta1/taskqueues/{queue.name}"
    await world.send("PATCH", path, {"spec": {"quota": {"cpu": "8"}}}, MERGE_PATCH)
    await eventually("its change is told", lambda: seen.queues[queue.name].quota == (("cpu", 8000),))
    await world.send("DELETE", path)
    await eventually("its deletion is told", lambda: queue.name not in seen.queues)


async def test_a_job_of_another_namespace_is_none_of_our_business(world: RealWorld, seen: Seen) -> None:
    await world.send("POST", "/api/v1/namespaces", {"metadata": {"name": f"{world.namespace}-b"}})
    await RealWorld(world.http, f"{world.namespace}-b").make_job("elsewhere")
    ours = await world.make_job("ours")
    await eventually("our job is told", lambda: seen.jobs == {ours.uid: ours})


def test_an_object_that_cannot_be_used_is_left_out_and_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    seen = Seen()
    handlers.pass_job_on({"type": "ADDED", "object": {"metadata": {"name": "odd"}}}, seen)
    handlers.pass_queue_on({"type": "ADDED", "object": {}}, seen)
    assert seen == Seen()
    assert "One of the taskjobs was left out" in caplog.text
    assert "One of the taskqueues was left out" in caplog.text
