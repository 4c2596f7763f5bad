"""The load's own client of the API server: creates, lists, watches and removes, on one session."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from taskjob_cluster import Cluster

IN_FLIGHT = 50
_NOT_YET = (404, 429, 503)
_FOREVER = aiohttp.ClientTimeout(total=None)


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """What is read of an object's metadata."""

    name: str = ""
    resource_version: str = ""
    labels: dict[str, str] = {}


class Condition(msgspec.Struct, frozen=True):
    """A condition of a status."""

    type: str = ""
    status: str = ""


class Status(msgspec.Struct, frozen=True):
    """What is read of a status; a null stands for absence."""

    phase: str | None = None
    conditions: tuple[Condition, ...] | None = None


class Object(msgspec.Struct, frozen=True):
    """An object of any kind."""

    metadata: Meta = Meta()
    status: Status | None = None


class Event(msgspec.Struct, frozen=True):
    """An event of a watch; a listed object comes as one that was ADDED."""

    type: str = ""
    object: Object = Object()


class _List(msgspec.Struct, frozen=True):
    metadata: Meta = Meta()
    items: tuple[Object, ...] = ()


_decode = msgspec.json.Decoder(Event).decode
_decode_list = msgspec.json.Decoder(_List).decode


class ApiServer:
    """An asynchronous context. Every method raises aiohttp.ClientError when the server cannot be reached."""

    def __init__(self, cluster: Cluster) -> None:
        self._server = cluster.server
        self._headers = {"Authorization": f"Bearer {cluster.token}"}
        self._tls = ssl.create_default_context(cafile=str(cluster.ca_file))
        self._gate = asyncio.Semaphore(IN_FLIGHT)

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=0)
        self._session = aiohttp.ClientSession(connector=connector, headers=self._headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def create(self, path: str, body: Mapping[str, Any]) -> float:
        """Create the object; returns when the request was sent. Raises RuntimeError with the server's words."""
        async with self._gate:
            sent_at = time.monotonic()
            async with self._session.post(f"{self._server}{path}", json=body) as answer:
                if answer.status >= 300:
                    raise RuntimeError(f"POST {path}: {answer.status} {(await answer.text())[:2000]}")
                await answer.read()
            return sent_at

    async def patch(self, path: str, body: Mapping[str, Any]) -> None:
        """A merge patch."""
        headers = {"Content-Type": "application/merge-patch+json"}
        async with self._session.patch(f"{self._server}{path}", data=json.dumps(body), headers=headers) as answer:
            answer.raise_for_status()

    async def count(self, path: str) -> int:
        """How many objects a collection has."""
        async with self._session.get(f"{self._server}{path}") as answer:
            answer.raise_for_status()
            return len(_decode_list(await answer.read()).items)

    async def metrics(self) -> str:
        """The API server's own metrics."""
        async with self._session.get(f"{self._server}/metrics") as answer:
            return await answer.text()

    async def remove_all(self, path: str) -> None:
        """Delete a whole collection, at once and without grace, and wait until it is empty."""
        options = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        while True:
            with suppress(aiohttp.ServerDisconnectedError):  # a request may take a minute, thousands of objects more
                async with self._session.delete(f"{self._server}{path}", json=options, timeout=_FOREVER) as answer:
                    if answer.status == 404:
                        return
                    await answer.read()
            async with self._session.get(f"{self._server}{path}?limit=1") as answer:
                if not _decode_list(await answer.read()).items:
                    return
            await asyncio.sleep(0.2)

    async def watch(self, path: str, take: Callable[[Event], None], forget: Callable[[], None]) -> None:
        """Follow a collection until cancelled: `take` gets each event, `forget` comes before each list."""
        while True:  # the server may end a watch at any time, with or without an ERROR: list and go on
            async with self._session.get(f"{self._server}{path}", timeout=_FOREVER) as answer:
                if answer.status in _NOT_YET:  # a CRD that has just been installed
                    await asyncio.sleep(0.1)
                    continue
                answer.raise_for_status()
                listed = _decode_list(await answer.read())
            forget()
            for item in listed.items:
                take(Event("ADDED", item))
            query = f"?watch=true&resourceVersion={listed.metadata.resource_version}&timeoutSeconds=3600"
            async with self._session.get(f"{self._server}{path}{query}", timeout=_FOREVER) as answer:
                rest = b""
                async for piece in answer.content.iter_any():
                    *lines, rest = (rest + piece).split(b"\n")
                    for line in lines:
                        if not line.startswith(b'{"type":"ERROR"'):
                            take(_decode(line))
