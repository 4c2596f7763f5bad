"""Around every request: may it come from there, what no browser should make of the answer, and how long did it take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from taskjob_api import metrics
from taskjob_api.problems import Kind, Problem

_METHODS: Final = frozenset({"GET", "POST", "PATCH", "HEAD", "OPTIONS", "PUT", "DELETE"})
_SEALS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
# Swagger UI begins with a script in the page itself, and draws with inline styles and images.
_DOCS_POLICY: Final = (
    "default-src 'none'; connect-src 'self'; script-src 'self' 'unsafe-inline'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
)
_UNMEASURED: Final = frozenset({"/healthz", "/metrics"})


def is_loopback(host: str) -> bool:
    """Whether a host, by name or by address, is this machine itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False


class LocalOnly:
    """Refuses what a web page of elsewhere could send to a port on loopback, as long as nobody has to log in.

    A page may reach us by a name of its own that points here (DNS rebinding: the Host is not ours), or open a
    WebSocket across origins (the Origin is not ours). Programs such as curl send neither.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        why = _foreign(connection.headers.get("host", ""), connection.headers.get("origin"))
        if why is None:
            await self._app(scope, receive, send)
            return
        answer = Problem(Kind.FORBIDDEN, why).response(connection)
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(answer)
        else:
            await answer(scope, receive, send)


def _foreign(host: str, origin: str | None) -> str | None:
    if not is_loopback(_name(f"//{host}")):
        return f"the Host {host[:200]!r} is not this machine: without authentication the API answers on loopback only"
    if origin is not None and not is_loopback(_name(origin)):
        return f"requests of pages from {origin[:200]!r} are not answered"
    return None


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


class OnlyOrigins:
    """Refuses WebSockets that pages of other origins open: a browser asks nobody before it opens one, and says only
    where the page is from. Other requests across origins are the browser's to refuse, by CORS."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "websocket":
            connection = HTTPConnection(scope)
            strangers = set(connection.headers.getlist("origin")) - self._origins
            if strangers:
                why = f"pages from {min(strangers)[:200]!r} may not open streams, see TASKJOBS_ALLOWED_ORIGINS"
                answer = Problem(Kind.FORBIDDEN, why).response(connection)
                await WebSocket(scope, receive, send).send_denial_response(answer)
                return
        await self._app(scope, receive, send)


class Sealed:
    """Adds the headers by which a browser neither guesses at, keeps, frames nor tells of what we answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""

        async def seal(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                if scope["path"] == "/docs":
                    headers["Content-Security-Policy"] = _DOCS_POLICY
                for name, value in _SEALS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, seal)


class Measured:
    """Counts requests and times them until the answer begins, by the route's template."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["path"] in _UNMEASURED:
            await self._app(scope, receive, send)
            return
        began, code, seconds = time.perf_counter(), 0, 0.0

        async def note(message: Message) -> None:
            nonlocal code, seconds
            if message["type"] == "http.response.start":
                code, seconds = message["status"], time.perf_counter() - began
            await send(message)

        try:
            await self._app(scope, receive, note)
        except Exception:
            code, seconds = 500, time.perf_counter() - began
            raise
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = getattr(scope.get("route"), "path", None) or "none"
            metrics.requests.labels(method, route, str(code or 499)).inc()  # 499: the client left first
            if code:
                metrics.request_seconds.labels(method, route).observe(seconds)
