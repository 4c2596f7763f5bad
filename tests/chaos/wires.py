"""What stands between the operator and what it speaks to: a proxy before the API server, a relay before PostgreSQL.

Both run in one thread with a loop of its own. They pass everything on, until a fault says otherwise: see `ApiWire.at`.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import ssl
import tempfile
import threading
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import parse_qs, quote, urlsplit

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from taskjob_cluster import Cluster

T = TypeVar("T")
_HOP: Final = {"connection", "transfer-encoding", "content-length", "host", "keep-alive"}
_SOCKET: Final = ".s.PGSQL.5432"


class Wires:
    """The thread. As a context manager."""

    def __init__(self, cluster: Cluster, database_url: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="wires", daemon=True)
        self.api = ApiWire(cluster)
        self.database = DatabaseWire(database_url)

    def __enter__(self) -> Self:
        self._thread.start()
        self.run(self.api.open())
        self.run(self.database.open())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self.api.close())
        self.run(self.database.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        """Run it in the thread, and wait for it."""
        return asyncio.run_coroutine_threadsafe(what, self.loop).result(30)


# ------------------------------------------------------------------ the API server
def a_status(code: int) -> dict[str, Any]:
    """How the API server says no."""
    reasons = {409: "Conflict", 410: "Expired", 429: "TooManyRequests", 500: "InternalError"}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f"chaos says {code}",
        "reason": reasons[code],
        "code": code,
    }


class ApiWire:
    """An HTTP proxy before the API server, which it is given by `url`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._watches: dict[asyncio.Task[Any], web.StreamResponse] = {}
        self.url = ""
        self.trouble = ""
        """`refuse`: not carried out, answered 429, 500 or 409. `lie`: carried out, answered 500. `lose`: carried out,
        never answered. `half`: half of the answer. `slow`: late, there or back. Empty: none."""
        self.share = 0.0
        self.draw = random.Random(0)
        self.troubled = 0

    async def open(self) -> None:
        """Listen."""
        context = ssl.create_default_context(cafile=str(self._cluster.ca_file))
        self._session = aiohttp.ClientSession(
            self._cluster.server,
            connector=aiohttp.TCPConnector(limit=0, ssl=context),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
        )
        application = web.Application(client_max_size=2**26)
        application.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        """Drop everything."""
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def end_watches(self, code: int) -> int:
        """End every watch: without a word (0), or with an ERROR event of that code. How many there were."""
        watches = dict(self._watches)
        for task, response in watches.items():
            if code:
                with suppress(ConnectionError, RuntimeError):
                    await response.write(json.dumps({"type": "ERROR", "object": a_status(code)}).encode() + b"\n")
                    await response.write_eof()
            task.cancel()
        return len(watches)

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        query = parse_qs(request.query_string)
        body = await request.read()
        if "true" in query.get("watch", ()) or "true" in query.get("follow", ()):
            return await self._stream(request, body)
        trouble = self.trouble if self.draw.random() < self.share else ""
        self.troubled += bool(trouble)
        if trouble == "refuse":
            code = self.draw.choice((429, 500, 409))
            return web.json_response(a_status(code), status=code, headers={"Retry-After": "1"} if code == 429 else None)
        if trouble == "slow":
            await asyncio.sleep(self.draw.uniform(0, 1.5))
        try:
            async with self._asked(request, body) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, OSError):
            return self._drop(request)
        if trouble == "slow":
            await asyncio.sleep(self.draw.uniform(0, 1.5))
        if trouble == "lie":
            return web.json_response(a_status(500), status=500)
        if trouble == "lose":
            return self._drop(request)
        if trouble == "half":
            response = web.StreamResponse(status=answer.status, headers=_kept(answer.headers))
            response.content_length = len(content)
            await response.prepare(request)
            await response.write(content[: len(content) // 2])
            self._drop(request)
            return response
        return web.Response(status=answer.status, headers=_kept(answer.headers), body=content)

    def _asked(self, request: web.Request, body: bytes) -> Any:
        assert self._session is not None
        return self._session.request(
            request.method,
            request.rel_url,
            data=body or None,
            headers=_kept(request.headers),
            skip_auto_headers=("Content-Type", "Accept", "Accept-Encoding", "User-Agent"),
        )

    def _drop(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=502)

    async def _stream(self, request: web.Request, body: bytes) -> web.StreamResponse:
        """A watch, passed on line by line, so that it can be ended between two."""
        task = asyncio.current_task()
        assert task is not None
        try:
            async with self._asked(request, body) as answer:
                response = web.StreamResponse(status=answer.status, headers=_kept(answer.headers))
                await response.prepare(request)
                if request.query.get("watch") == "true" and not answer.headers.get("Content-Encoding"):
                    self._watches[task] = response
                rest = b""
                async for piece in answer.content.iter_any():
                    whole, cut, rest = (rest + piece).rpartition(b"\n")
                    if cut:
                        await response.write(whole + cut)
                if rest:
                    await response.write(rest)
                await response.write_eof()
                return response
        except (aiohttp.ClientError, OSError, asyncio.CancelledError):
            return self._drop(request)
        finally:
            self._watches.pop(task, None)


def _kept(headers: Any) -> CIMultiDict[str]:
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _HOP)


# ------------------------------------------------------------------ PostgreSQL
class DatabaseWire:
    """A relay before PostgreSQL's socket: late by `late` seconds, and cut as often as one likes."""

    def __init__(self, database_url: str) -> None:
        self._there = Path(parse_qs(urlsplit(database_url).query)["host"][0]) / _SOCKET
        self._folder = Path(tempfile.mkdtemp(prefix="wire-"))
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.late = 0.0

    def url(self, database_url: str) -> str:
        """The database of that URL, by way of this relay."""
        return urlsplit(database_url)._replace(query=f"host={quote(str(self._folder), safe='')}").geturl()

    async def open(self) -> None:
        """Listen."""
        self._server = await asyncio.start_unix_server(self._accept, self._folder / _SOCKET)

    async def close(self) -> None:
        """Drop everything."""
        if self._server is not None:
            self._server.close()
        await self.cut()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def cut(self) -> None:
        """Drop every connection."""
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await asyncio.open_unix_connection(self._there)
        except OSError:
            writer.transport.abort()
            return
        for source, sink in ((reader, there_writer), (there_reader, writer)):
            self._writers.add(sink)
            task = asyncio.create_task(self._pass_on(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError):
                while piece := await source.read(65536):
                    if self.late:
                        await asyncio.sleep(self.late)
                    sink.write(piece)
                    await sink.drain()
        finally:
            self._writers.discard(sink)
            sink.transport.abort()
