"""A TCP relay between a client and a real server, which a test can cut and mend: the network's failures."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class Relay:
    """Passes bytes on. Cut, it drops all connections and refuses new ones; muted, it swallows what the server says."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 443
        self._scheme = parts.scheme
        self._server: asyncio.Server | None = None
        self._own_port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.muted = False
        self.connections = 0
        self._dead = 0  # so many of the connections, the oldest

    @property
    def url(self) -> str:
        """The server's address, by way of this relay."""
        return f"{self._scheme}://127.0.0.1:{self._own_port}"

    async def mend(self) -> None:
        """Accept connections."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._own_port)
        self._own_port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Drop every connection, and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def let_die_silently(self) -> None:
        """Of the connections that there are nobody hears anything any more, and nobody is told; new ones work."""
        self._dead = self.connections

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        self._writers.add(writer)
        self._keep(asyncio.current_task())
        try:
            there_reader, there_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(there_writer)
        for source, sink, from_server in ((reader, there_writer, False), (there_reader, writer, True)):
            self._keep(asyncio.create_task(self._pass_on(source, sink, from_server, number)))

    def _keep(self, task: asyncio.Task[None] | None) -> None:
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, from_server: bool, number: int
    ) -> None:
        try:
            with contextlib.suppress(OSError):
                while piece := await source.read(65536):
                    if not (number <= self._dead or (from_server and self.muted)):
                        sink.write(piece)
                        await sink.drain()
        finally:
            self._writers.discard(sink)
            sink.transport.abort()
