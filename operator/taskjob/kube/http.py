"""HTTP to the API server: one session, every request bounded in time and number, none retried.

JSON bytes over aiohttp, since the typed calls of the official client cost five times the CPU. What an answer
means is not known here (see `client`, `informer`): only that there was one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import msgspec

from taskjob import metrics
from taskjob.kube.clock import ClusterClock
from taskjob.kube.credentials import Credentials
from taskjob.kube.fields import UNREADABLE

log = logging.getLogger(__name__)

MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
JSON: Final = "application/json"

LIST_FLOOR_SECONDS: Final = 60.0
_TOO_LARGE: Final = re.compile(rb"etcdserver: request is too large|trying to send message larger than max")
_CLIENT_SLACK: Final = 2.0  # seconds by which we wait longer than we tell the server to
_TOLD_WARNINGS_KEPT: Final = 256


class NoAnswerError(Exception):
    """No definite answer came: the request may or may not have been carried out."""


class NotSentError(NoAnswerError):
    """Nobody was there to take the request: it was not carried out."""


class _Cause(msgspec.Struct, frozen=True):
    reason: str = ""
    message: str = ""
    field: str = ""


class _Details(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    causes: tuple[_Cause, ...] | None = None
    retry_after_seconds: int | None = None


class ServerStatus(msgspec.Struct, frozen=True):
    """A Kubernetes `Status`: how the API server says no."""

    message: str = ""
    reason: str = ""
    code: int = 0
    details: _Details | None = None

    @property
    def about(self) -> str:
        """The name of the object that it speaks of; empty if it does not say."""
        return self.details.name if self.details is not None else ""

    @property
    def causes(self) -> tuple[_Cause, ...]:
        """What exactly was wrong, field by field."""
        return (self.details.causes if self.details is not None else None) or ()


_decode_status = msgspec.json.Decoder(ServerStatus).decode


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the API server, read whole."""

    code: int
    body: bytes
    retry_after_seconds: float | None = None

    @property
    def ok(self) -> bool:
        """It was carried out."""
        return 200 <= self.code < 300

    @property
    def unsettled(self) -> bool:
        """Not a definite answer: too busy, timed out, or broken; credentials that expire count as that."""
        return (self.code >= 500 and not self._too_large) or self.code in (401, 408, 429)

    @property
    def _too_large(self) -> bool:
        """What etcd does not take the API server answers with a 500; it will not take it the next time either."""
        return self.code == 500 and _TOO_LARGE.search(self.body[:2000]) is not None

    def status(self) -> ServerStatus:
        """The `Status` in the body; one made of the text if there is none."""
        try:
            return _decode_status(self.body)
        except UNREADABLE:
            text = self.body[:300].decode(errors="replace").strip()
            return ServerStatus(message=text or f"HTTP {self.code}", code=self.code)

    @property
    def message(self) -> str:
        """The server's sentence."""
        return self.status().message or f"HTTP {self.code}"


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    path: str
    verb: str
    resource: str
    params: Mapping[str, str]
    body: bytes | None
    content_type: str
    seconds: float
    token: str | None = field(default=None, repr=False)


class ListFloor:
    """The version that the API server told us when we announced ourselves: a list from before it is not to be decided
    on. A server behind a lagging cache gives such ones, and what the leader before us did would be missing."""

    def __init__(self, clock: ClusterClock) -> None:
        self._clock = clock
        self._version = 0
        self._until = 0.0

    def raise_to(self, version: int) -> None:
        """We saw that version now. It holds for some time only: versions of two stores cannot be compared, should pods
        be kept in another one than service accounts."""
        self._version, self._until = version, self._clock.elapsed() + LIST_FLOOR_SECONDS

    def refuses(self, version: int) -> bool:
        """Whether a list of that version is too old."""
        return version < self._version and self._clock.elapsed() < self._until


class KubeHttp:
    """The session. Close it with `close`, or use it as an async context manager."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        in_flight: int = 48,
        timeout_seconds: float = 15,
        clock: ClusterClock | None = None,
    ) -> None:
        self.credentials = credentials
        self.clock = clock or ClusterClock()
        self.timeout_seconds = timeout_seconds
        self.may_write: Callable[[], bool] = lambda: True
        """Asked just before each request that could change something is sent; if not, `request` raises."""
        self.list_floor = ListFloor(self.clock)
        self._slots = asyncio.Semaphore(in_flight)
        self._closed_until = 0.0
        self._told_warnings: set[str] = set()
        configuration = credentials.configuration
        self._request: dict[str, Any] = {}
        if configuration.proxy:
            self._request["proxy"] = configuration.proxy
        if configuration.tls_server_name:
            self._request["server_hostname"] = configuration.tls_server_name
        self._session = aiohttp.ClientSession(
            base_url=credentials.server.rstrip("/") + "/",
            connector=aiohttp.TCPConnector(limit=0, socket_factory=self._socket, keepalive_timeout=60),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeout_seconds),
            auto_decompress=True,
            headers={"User-Agent": "taskjobs", "Accept": JSON},
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    @classmethod
    async def connect(
        cls,
        kubeconfig: Path | None,
        *,
        in_flight: int = 48,
        timeout_seconds: float = 15,
        clock: ClusterClock | None = None,
    ) -> Self:
        """A session for the cluster that a kubeconfig names; without one, for the cluster we run in.

        Sends nothing yet. Raises `ConfigurationError`.
        """
        credentials = await Credentials.load(kubeconfig)
        return cls(credentials, in_flight=in_flight, timeout_seconds=timeout_seconds, clock=clock)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        verb: str,
        resource: str,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = JSON,
        timeout_seconds: float | None = None,
        token: str | None = None,
    ) -> Reply:
        """Send a request and read the whole answer. `verb` and `resource` name it in the metrics. With a `token` it is
        its bearer's request and not ours: nothing of our own credentials goes along.

        Raises `NoAnswerError`. Never sent twice, but after a 401 to us: nothing was done, and our token is renewed.
        """
        seconds = timeout_seconds or self.timeout_seconds
        params = {"timeout": f"{max(1, int(seconds))}s", **(query or {})}
        call = _Call(method, path.lstrip("/"), verb, resource, params, body, content_type, seconds, token)
        if (wait_seconds := self._closed_until - self.clock.elapsed()) > 0:
            await asyncio.sleep(wait_seconds)
        async with self._slots:
            reply = await self._send(call)
            if reply.code == 401 and token is None:
                await self.credentials.refresh()
                reply = await self._send(call)
        if reply.code == 429 and reply.retry_after_seconds and token is None:
            # One answer of "too many" holds back all that have not been sent yet; one to somebody else only its own.
            self._closed_until = self.clock.elapsed() + min(reply.retry_after_seconds, 30)
        return reply

    async def _send(self, call: _Call) -> Reply:
        headers = {**await self._identity(call.token), "Content-Type": call.content_type}
        if call.method != "GET" and not self.may_write():
            raise NoAnswerError("not sent: this process does not lead (any more)")
        sent_at, code = self.clock.elapsed(), "none"
        metrics.api_requests_in_flight.inc()
        try:
            async with self._session.request(
                call.method,
                call.path,
                params=call.params,
                data=call.body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=call.seconds + _CLIENT_SLACK, sock_connect=call.seconds),
                ssl=self._ssl(call.token),
                **self._request,
            ) as response:
                reply = await read_reply(response)
                code = str(response.status)
                self.clock.observe(response.headers.get("Date"), sent_at)
                self._tell_warnings(response.headers.getall("Warning", ()))
                return reply
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotSentError(_why(error, call.seconds)) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoAnswerError(_why(error, call.seconds)) from error
        finally:
            metrics.api_requests_in_flight.dec()
            metrics.labelled(metrics.api_requests, call.verb, call.resource, code).inc()
            seconds = metrics.labelled(metrics.api_request_seconds, call.verb, call.resource)
            seconds.observe(self.clock.elapsed() - sent_at)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        verb: str,
        resource: str,
        query: Mapping[str, str],
        silence_seconds: float,
        buffer_bytes: int = 2**20,
        token: str | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A request whose answer is read piece by piece: watches and logs. Takes no slot of `in_flight`. With a
        `token` it is its bearer's.

        Silence longer than `silence_seconds` ends it. Raises `NoAnswerError`, also while the body is being read.
        """
        headers = await self._identity(token)
        sent_at, code = self.clock.elapsed(), "none"
        try:
            async with self._session.get(
                path.lstrip("/"),
                params=query,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.timeout_seconds, sock_read=silence_seconds),
                read_bufsize=buffer_bytes,
                ssl=self._ssl(token),
                **self._request,
            ) as response:
                code = str(response.status)
                self.clock.observe(response.headers.get("Date"), sent_at)
                if response.status == 401 and token is None:
                    await self.credentials.refresh()
                try:
                    yield response
                finally:
                    _drop(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoAnswerError(_why(error, silence_seconds)) from error
        finally:
            metrics.api_requests.labels(verb, resource, code).inc()

    async def _identity(self, token: str | None) -> Mapping[str, str]:
        return await self.credentials.headers() if token is None else {"Authorization": f"Bearer {token}"}

    def _ssl(self, token: str | None) -> ssl.SSLContext | bool:
        return self.credentials.ssl if token is None else self.credentials.ssl_for_tokens

    def _socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        # A peer that vanished without a word is noticed within the request's time, not after 15 minutes.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self.timeout_seconds * 1000))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        return made

    def _tell_warnings(self, warnings: object) -> None:
        for warning in warnings if isinstance(warnings, list | tuple) else ():
            if warning not in self._told_warnings and len(self._told_warnings) < _TOLD_WARNINGS_KEPT:
                self._told_warnings.add(warning)
                log.warning("The API server warns: %s", warning)


def encode(body: object) -> bytes:
    """JSON for small request bodies."""
    return json.dumps(body, separators=(",", ":")).encode()


async def read_reply(response: aiohttp.ClientResponse) -> Reply:
    """The whole answer."""
    return Reply(response.status, await response.read(), _retry_after(response.headers.get("Retry-After")))


async def read_at_most(content: aiohttp.StreamReader, limit: int) -> bytes:
    """The whole body, or so much of it: `StreamReader.read(limit)` alone gives what has arrived by now."""
    body = bytearray()
    while piece := await content.read(limit - len(body)):
        body += piece
    return bytes(body)


def _retry_after(header: str | None) -> float | None:
    try:
        return max(0.0, float(header)) if header is not None else None
    except ValueError:
        return None  # an HTTP date: the API server never sends one


def _drop(response: aiohttp.ClientResponse) -> None:
    """Cut a connection whose answer is left before its end: TLS would wait up to 30 s for the server's goodbye."""
    connection = response.connection  # None once all was read
    if connection is not None and connection.transport is not None:
        connection.transport.abort()


def _why(error: BaseException, seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
