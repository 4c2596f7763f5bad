"""The wires of the chaos suite do what the table of faults says of them: a fault that does nothing proves nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from aiohttp import web

from chaos.api_wire import ApiWire
from chaos.wires import DatabaseWire


class Upstream:
    """An API server: each list is another one; a watch brings a line for each that is put into `events`."""

    def __init__(self) -> None:
        self.lists = 0
        self.events: asyncio.Queue[bytes] = asyncio.Queue()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(await self.events.get())
        self.lists += 1
        meta, items = {"resourceVersion": str(self.lists)}, ["filled up"] * 100
        if request.path == "/pods":
            return web.json_response({"kind": "PodList", "metadata": meta, "items": items})
        return web.json_response({"items": items, "kind": "TaskJobList", "metadata": meta})


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
async def wire(upstream: Upstream) -> AsyncIterator[ApiWire]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", upstream.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    wire = ApiWire(f"http://127.0.0.1:{runner.addresses[0][1]}")
    await wire.open()
    yield wire
    await wire.close()
    await runner.cleanup()


@pytest.fixture
async def client(wire: ApiWire) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(wire.url, timeout=aiohttp.ClientTimeout(total=5)) as session:
        yield session


async def listed(client: aiohttp.ClientSession, path: str = "/pods") -> str:
    async with client.get(path) as answer:
        return str((await answer.json())["metadata"]["resourceVersion"])


@pytest.mark.parametrize("path", ["/pods", "/taskjobs"])
async def test_a_stale_list_is_an_earlier_one(wire: ApiWire, client: aiohttp.ClientSession, path: str) -> None:
    assert [await listed(client, path) for _ in range(3)] == ["1", "2", "3"]
    wire.trouble, wire.share = "stale", 1.0
    assert [await listed(client, path), await listed(client, path)] == ["2", "3"]
    wire.share = 0.0
    assert await listed(client, path) == "6"


async def test_the_clock_of_the_api_server_is_wrong_by_so_much(wire: ApiWire, client: aiohttp.ClientSession) -> None:
    dates = []
    for ahead in (0.0, 3600.0, -3600.0):
        wire.clock_ahead = ahead
        async with client.get("/pods") as answer:
            dates.append(parsedate_to_datetime(answer.headers["Date"]))
    assert [round((date - dates[0]).total_seconds() / 3600) for date in dates] == [0, 1, -1]


async def test_an_answer_that_is_half_closed_was_carried_out(
    wire: ApiWire, client: aiohttp.ClientSession, upstream: Upstream
) -> None:
    wire.trouble, wire.share = "half-closed", 1.0
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.post("/pods")  # a GET would be sent again by the library
    assert upstream.lists == 1


async def test_a_watch_that_is_late_brings_all_of_it_later(
    wire: ApiWire, client: aiohttp.ClientSession, upstream: Upstream
) -> None:
    upstream.events.put_nowait(b"first\n")
    async with client.get("/pods?watch=true") as watch:
        assert await watch.content.readline() == b"first\n"
        wire.flowing.clear()
        upstream.events.put_nowait(b"second\n")
        late = asyncio.create_task(watch.content.readline())
        await asyncio.wait([late], timeout=0.2)
        assert not late.done()
        wire.flowing.set()
        assert await late == b"second\n"


async def test_a_watch_that_is_half_closed_ends(
    wire: ApiWire, client: aiohttp.ClientSession, upstream: Upstream
) -> None:
    upstream.events.put_nowait(b"first\n")
    async with client.get("/pods?watch=true") as watch:
        await watch.content.readline()
        await wire.half_close_watches()
        with pytest.raises(aiohttp.ClientPayloadError):
            await watch.content.readline()


async def test_a_connection_to_the_database_ends_in_one_direction_and_is_dropped_in_the_end(tmp_path: Path) -> None:
    heard = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await reader.read()
        heard.set()  # the client, or the wire, has ended its direction
        writer.close()

    server = await asyncio.start_unix_server(serve, tmp_path / ".s.PGSQL.5432")
    wire = DatabaseWire(f"postgresql://x@/y?host={quote(str(tmp_path), safe='')}")
    await wire.open()
    folder = wire.url("postgresql://x@/y").partition("host=")[2].replace("%2F", "/")
    reader, writer = await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.5432")
    assert await reader.readexactly(5) == b"hello"
    await wire.half_close(_Always())
    async with asyncio.timeout(5):
        assert await reader.read() == b""
        await heard.wait()
    await wire.cut_half_closed()
    writer.close()
    await wire.close()
    server.close()


class _Always(random.Random):
    def random(self) -> float:
        return 0.0
