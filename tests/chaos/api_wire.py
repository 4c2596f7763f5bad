"""An HTTP proxy before the API server. It passes everything on, until a fault says otherwise."""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections import deque
from contextlib import suppress
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

_HOP: Final = {"connection", "transfer-encoding", "content-length", "host", "keep-alive"}
_ANSWERS: Final = 3
_HALF_CLOSED_SECONDS: Final = 1.0


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
    """The proxy, reached by `url`."""

    def __init__(self, server: str, ca_file: Path | None = None) -> None:
        self._server = server
        self._ca_file = ca_file
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._watches: dict[asyncio.Task[Any], tuple[web.Request, web.StreamResponse]] = {}
        self.url = ""
        self.trouble = ""
        """`refuse`: not carried out, answered 429, 500 or 409. `lie`: carried out, answered 500. `lose`: carried out,
        never answered. `half`: half of the answer. `half-closed`: carried out, and instead of an answer the connection
        ends in one direction. `slow`: late, there or back. `stale`: a list is what it was. Empty: none."""
        self.share = 0.0
        self.draw = random.Random(0)
        self.clock_ahead = 0.0
        """By how many seconds the `Date` of answers is wrong."""
        self.flowing = asyncio.Event()
        """Cleared: watches are held up, as behind a cache that lags; what came meanwhile follows when it is set."""
        self.flowing.set()
        self._lists: dict[str, deque[bytes]] = {}  # the last answers to each, the oldest first

    async def open(self) -> None:
        """Listen."""
        context = ssl.create_default_context(cafile=self._ca_file)
        self._session = aiohttp.ClientSession(
            self._server,
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
        for task, (_, response) in watches.items():
            if code:
                with suppress(ConnectionError, RuntimeError):
                    await response.write(json.dumps({"type": "ERROR", "object": a_status(code)}).encode() + b"\n")
                    await response.write_eof()
            task.cancel()
        return len(watches)

    async def half_close_watches(self) -> None:
        """Each watch ends for its client, which could still send; the API server's end stays open for a moment."""
        for task, (request, _) in dict(self._watches).items():
            self._close_half(request)
            asyncio.get_running_loop().call_later(_HALF_CLOSED_SECONDS, task.cancel)

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        query = parse_qs(request.query_string)
        body = await request.read()
        if "true" in query.get("watch", ()) or "true" in query.get("follow", ()):
            return await self._stream(request, body)
        trouble = self.trouble if self.draw.random() < self.share else ""
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
        if trouble == "half-closed":
            self._close_half(request)
            await asyncio.sleep(_HALF_CLOSED_SECONDS)
            return self._drop(request)
        # The kind stands at the beginning of built-in lists and at the end of those of custom resources.
        if request.method == "GET" and answer.status == 200 and b'List"' in content[:200] + content[-200:]:
            content = self._as_it_was(str(request.rel_url), content, stale=trouble == "stale")
        if trouble == "half":
            response = web.StreamResponse(status=answer.status, headers=self._told(answer.headers))
            response.content_length = len(content)
            await response.prepare(request)
            await response.write(content[: len(content) // 2])
            self._drop(request)
            return response
        return web.Response(status=answer.status, headers=self._told(answer.headers), body=content)

    def _told(self, headers: Any) -> CIMultiDict[str]:
        """The headers of an answer, by the clock that is to be believed."""
        kept = _kept(headers)
        if self.clock_ahead and "Date" in kept:
            kept["Date"] = format_datetime(
                parsedate_to_datetime(kept["Date"]) + timedelta(seconds=self.clock_ahead), usegmt=True
            )
        return kept

    def _as_it_was(self, path: str, content: bytes, *, stale: bool) -> bytes:
        """A list as it is; stale: the oldest of the last few answers."""
        answers = self._lists.setdefault(path, deque(maxlen=_ANSWERS))
        answers.append(content)
        return answers[0] if stale else content

    def _asked(self, request: web.Request, body: bytes) -> Any:
        assert self._session is not None
        return self._session.request(
            request.method,
            request.rel_url,
            data=body or None,
            headers=_kept(request.headers),
            skip_auto_headers=("Content-Type", "Accept", "Accept-Encoding", "User-Agent"),
        )

    def _close_half(self, request: web.Request) -> None:
        if request.transport is not None and request.transport.can_write_eof():
            request.transport.write_eof()

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
                response = web.StreamResponse(status=answer.status, headers=self._told(answer.headers))
                await response.prepare(request)
                if request.query.get("watch") == "true" and not answer.headers.get("Content-Encoding"):
                    self._watches[task] = request, response
                rest = b""
                async for piece in answer.content.iter_any():
                    await self.flowing.wait()
                    whole, cut, rest = (rest + piece).rpartition(b"\n")
                    if cut:
                        await response.write(whole + cut)
                if rest:
                    await response.write(rest)
                await response.write_eof()
                return response
        except (aiohttp.ClientError, OSError, RuntimeError, asyncio.CancelledError):  # RuntimeError: half closed
            return self._drop(request)
        finally:
            self._watches.pop(task, None)


def _kept(headers: Any) -> CIMultiDict[str]:
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _HOP)
