"""What everybody depends on is answered however many requests of some wait: who calls, readiness, lists."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from aiohttp import web

from api_processes import said_at_start, started
from api_world import NOBODY, eventually, until
from taskjob.history.writer import HistoryWriter
from taskjob_api.reviews import STRANGERS

AT_ONCE_SECONDS = 10.0
"""Less than the API waits for anything that hangs here, so that no answer waited for that."""

WELL = {"ready": True, "message": None}


@dataclass
class Server:
    """Stands in for an API server whose webhooks take for ever. It knows all tokens but those that are made up. What
    hangs does so until `gate` is opened."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    creates: int = 0
    reviews_hang: bool = False
    hanging: int = 0
    reviewed: list[str] = field(default_factory=list)
    too_many_for: str = ""

    async def create(self, _: web.Request) -> web.Response:
        self.creates += 1
        await self.gate.wait()
        return web.json_response({"message": "too late"}, status=504)

    async def review(self, request: web.Request) -> web.Response:
        token = (await request.json())["spec"]["token"]
        self.reviewed.append(token)
        if token == self.too_many_for:
            return web.json_response({"message": "too many"}, status=429, headers={"Retry-After": "30"})
        made_up = token.startswith("made-up")
        if made_up and self.reviews_hang:
            self.hanging += 1
            await self.gate.wait()
        return web.json_response({"status": {"authenticated": not made_up, "user": {"username": token}}}, status=201)

    async def allow(self, _: web.Request) -> web.Response:
        return web.json_response({"status": {"allowed": True}}, status=201)

    async def rest(self, _: web.Request) -> web.Response:
        return web.json_response({})

    def application(self) -> web.Application:
        made = web.Application()
        made.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", self.review)
        made.router.add_post("/apis/authorization.k8s.io/v1/subjectaccessreviews", self.allow)
        made.router.add_post("/apis/taskjobs.dev/v1beta1/namespaces/{namespace}/taskjobs", self.create)
        made.router.add_get("/apis/taskjobs.dev/v1beta1", self.rest)
        return made


@contextlib.asynccontextmanager
async def serving(server: Server, folder: Path) -> AsyncIterator[Path]:
    """It serves; the kubeconfig."""
    runner = web.AppRunner(server.application(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    kubeconfig = folder / "kubeconfig"
    body = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}}],
        "users": [{"name": "u", "user": {"token": "ours"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    kubeconfig.write_text(json.dumps(body))
    try:
        yield kubeconfig
    finally:
        server.gate.set()
        await runner.cleanup()


@pytest.fixture
async def server() -> Server:
    return Server()


@pytest.fixture
def kept_seconds() -> float:
    """For how long the API remembers what it was told of a token."""
    return 60


@pytest.fixture
async def api(
    server: Server, writer: HistoryWriter, database_url: str, kept_seconds: float, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    """The process itself, ready."""
    async with (
        serving(server, tmp_path) as kubeconfig,
        started(
            TASKJOBS_DATABASE_URL=database_url,
            TASKJOBS_KUBECONFIG=str(kubeconfig),
            TASKJOBS_API_PORT="0",
            TASKJOBS_REQUEST_TIMEOUT_SECONDS="60",
            TASKJOBS_ACCESS_CACHE_SECONDS=str(kept_seconds),
        ) as process,
    ):
        line = await said_at_start(process)
        url = line.split(" answers at ")[1].split()[0]
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as http:
            await eventually(lambda: ready(http), "the API is ready")
            yield http


async def ready(http: httpx.AsyncClient) -> bool:
    return (await http.get("/readyz")).status_code == 200


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def at_once(http: httpx.AsyncClient, path: str, token: str = "") -> tuple[int, Any]:
    """The answer, which does not wait for anything that hangs."""
    async with asyncio.timeout(AT_ONCE_SECONDS):
        answer = await http.get(path, headers=bearing(token) if token else {})
    return answer.status_code, answer.json()


@contextlib.contextmanager
def meanwhile(*calls: Any) -> Iterator[list[asyncio.Task[httpx.Response]]]:
    """These requests are under way."""
    tasks = [asyncio.create_task(call) for call in calls]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()


async def test_requests_of_one_tenant_that_hang_keep_nobody_from_being_known_nor_the_api_from_being_ready(
    server: Server, api: httpx.AsyncClient
) -> None:
    body = {"image": "busybox", "namespace": "slow"}
    with meanwhile(*(api.post("/jobs/", json=body, headers=bearing("one")) for _ in range(100))):
        await until(lambda: server.creates == 48, "as many hang as are let through at once")
        await eventually(lambda: ready(api), "the API is ready all the same")
        assert server.creates < 100, "others wait still"
        assert await at_once(api, "/jobs/", "another") == (200, {"items": [], "next": None})


@pytest.mark.parametrize("kept_seconds", [0.2])
async def test_tokens_that_are_made_up_keep_nobody_who_is_known_from_being_known(
    server: Server, api: httpx.AsyncClient
) -> None:
    assert (await at_once(api, "/jobs/", "known"))[0] == 200
    server.reviews_hang = True
    with meanwhile(*(api.get("/jobs/", headers=bearing(f"made-up-{n}")) for n in range(100))):
        await until(lambda: server.hanging == STRANGERS, "some are asked about")
        asked = server.reviewed.count("known")

        async def known() -> bool:
            assert (await at_once(api, "/jobs/", "known"))[0] == 200
            return server.reviewed.count("known") > asked

        await eventually(known, "what is remembered of it is renewed")
        await eventually(lambda: ready(api), "the API is ready all the same")
        assert server.hanging == STRANGERS, "the others wait for their turn"


async def test_when_the_api_server_has_no_time_for_a_question_of_ours_callers_requests_are_sent_all_the_same(
    server: Server, api: httpx.AsyncClient
) -> None:
    server.gate.set()
    body = {"image": "busybox", "namespace": "slow"}
    server.too_many_for = "unlucky"
    assert (await at_once(api, "/jobs/", "known"))[0] == 200
    assert (await at_once(api, f"/jobs/{NOBODY}", "unlucky"))[0] == 503
    async with asyncio.timeout(AT_ONCE_SECONDS):
        await api.post("/jobs/", json=body, headers=bearing("known"))
    assert server.creates == 1


async def test_lists_that_are_slow_do_not_make_the_api_unready(api: httpx.AsyncClient, database_url: str) -> None:
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
            with meanwhile(*(api.get("/jobs/", headers=bearing("one")) for _ in range(40))):
                waiting = (
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                    "AND datname = current_database() AND query LIKE '-- jobs_page%'"
                )

                async def all_wait() -> bool:
                    await connection.execute("SELECT pg_stat_clear_snapshot()")  # else a transaction sees the first
                    return bool(await connection.fetchval(waiting) == 8)

                async def ready_with_history() -> bool:
                    answer = await at_once(api, "/readyz")
                    return answer == (200, {"ready": True, "apiServer": WELL, "postgresql": WELL})

                await eventually(all_wait, "as many wait as are let through at once")
                await eventually(ready_with_history, "the API is ready, and says that history answers")
                await eventually(all_wait, "they wait still, round after round")
    finally:
        await connection.close()
