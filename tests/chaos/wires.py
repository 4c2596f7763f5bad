"""What stands between the operator and what it speaks to: a proxy before the API server, a relay before PostgreSQL.

Both run in one thread with a loop of its own. They pass everything on, until a fault says otherwise.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import threading
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import parse_qs, quote, urlsplit

from taskjob_cluster import Cluster

from .api_wire import ApiWire

T = TypeVar("T")
_SOCKET: Final = ".s.PGSQL.5432"


class Wires:
    """The thread. As a context manager."""

    def __init__(self, cluster: Cluster, database_url: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="wires", daemon=True)
        self.api = ApiWire(cluster.server, cluster.ca_file)
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


class DatabaseWire:
    """A relay before PostgreSQL's socket: late by `late` seconds, and cut as often as one likes."""

    def __init__(self, database_url: str) -> None:
        self._there = Path(parse_qs(urlsplit(database_url).query)["host"][0]) / _SOCKET
        self._folder = Path(tempfile.mkdtemp(prefix="wire-"))
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._half_closed: set[asyncio.StreamWriter] = set()
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

    async def half_close(self, draw: random.Random) -> None:
        """End each connection in one direction, there or back."""
        for writer in list(self._writers):
            if draw.random() < 0.5 and writer not in self._half_closed and not writer.transport.is_closing():
                self._half_closed.add(writer)
                writer.write_eof()

    async def cut_half_closed(self) -> None:
        """Drop what is left of those: nobody noticed."""
        for writer in self._half_closed:
            writer.transport.abort()
        self._half_closed.clear()

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
                    if sink not in self._half_closed:  # what comes later for a closed direction is lost
                        sink.write(piece)
                        await sink.drain()
        finally:
            self._writers.discard(sink)
            sink.transport.abort()
