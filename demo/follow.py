"""Follows the graph through the API's stream until every job has come to its end, and asks the API for results."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from demo.stack import DemoError

TERMINAL: Final = frozenset({"Succeeded", "Failed", "Cancelled", "Skipped"})
RECONNECT_SECONDS: Final = 0.5
QUIET_SECONDS: Final = 60.0
"""A stream without even a heartbeat for so long is broken."""


@dataclass(slots=True)
class Seen:
    """What is known of one job."""

    phase: str = "-"
    reason: str = ""
    message: str = ""
    attempt: int = 0


@dataclass(slots=True)
class Board:
    """What is known of all jobs; `on_change` is called with the name of the job that changed."""

    expected: dict[str, str]
    on_change: Callable[[str], object]
    jobs: dict[str, Seen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Every job is on the board from the start."""
        self.jobs = {name: Seen() for name in self.expected}

    def take(self, job: dict[str, Any]) -> None:
        """What the API says of a job."""
        seen = self.jobs.get(job["name"])
        if seen is None:
            return
        now = Seen(job["phase"], job["reason"], job["message"], job["attempt"])
        if now != seen:
            self.jobs[job["name"]] = now
            self.on_change(job["name"])

    @property
    def done(self) -> int:
        """How many have come to their end."""
        return sum(seen.phase in TERMINAL for seen in self.jobs.values())

    @property
    def wrong(self) -> str | None:
        """The first job that ended otherwise than it had to."""
        ended = (name for name, seen in self.jobs.items() if seen.phase in TERMINAL)
        return next((name for name in ended if self.jobs[name].phase != self.expected[name]), None)

    @property
    def over(self) -> bool:
        """There is nothing more to wait for."""
        return self.done == len(self.jobs) or self.wrong is not None

    def open(self) -> Iterable[str]:
        """The jobs that have not, each as a line."""
        for name, seen in self.jobs.items():
            if seen.phase not in TERMINAL:
                yield f"{name}: {seen.phase} {seen.reason} {seen.message}".rstrip()


class Api:
    """The few calls of the API that the demo makes. A context manager, holding one session."""

    def __init__(self, url: str, namespace: str, group: str, token: str | None = None) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._filter = {"namespace": namespace, "group": group}

    async def __aenter__(self) -> Api:
        self._session = aiohttp.ClientSession(self._url, headers=self._headers, timeout=aiohttp.ClientTimeout(total=30))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def follow(self, board: Board, started: asyncio.Event) -> None:
        """Read the stream until every job has ended, or one ended wrong.

        Comes back with its cursor when the connection breaks.
        """
        cursor = ""
        while not board.over:
            query = self._filter | ({"cursor": cursor} if cursor else {"snapshot": "true"})
            try:
                async with self._session.ws_connect("/jobs/stream", params=query) as stream:
                    started.set()
                    while not board.over:
                        frame = await stream.receive_json(timeout=QUIET_SECONDS)
                        cursor = frame.get("cursor") or cursor
                        for job in frame.get("items", ()):
                            board.take(job)
                        if frame["type"] == "TRANSITION":
                            board.take(frame["job"])
            except (TypeError, TimeoutError, aiohttp.ClientError):  # TypeError: closed, and so not JSON
                await asyncio.sleep(RECONNECT_SECONDS)

    async def refresh(self, board: Board, every_seconds: float) -> None:
        """Ask again and again for the jobs that wait: the stream tells phases, this also tells what they wait for."""
        while True:
            await asyncio.sleep(every_seconds)
            for listed in await self.jobs():
                if listed["phase"] == "Pending":
                    job = await self.job(listed["id"])
                    # The stream may have told more while this answer was under way.
                    if job["phase"] == "Pending" and board.jobs[job["name"]].phase in ("-", "Pending"):
                        board.take(job)

    async def jobs(self) -> list[dict[str, Any]]:
        """The jobs of the graph."""
        page = await self._get("/jobs/", self._filter | {"limit": "500"})
        return list(page["items"])

    async def job(self, job_id: str) -> dict[str, Any]:
        """One job with its attempts."""
        found: dict[str, Any] = await self._get(f"/jobs/{job_id}")
        return found

    async def log(self, job_id: str) -> str:
        """The log of a job's last attempt; where there is none, the API's sentence about it."""
        path = f"/jobs/{job_id}/logs"
        async with self._session.get(path) as answer:
            text = await answer.text()
            if answer.status == 404:
                return f"({json.loads(text)['detail']})"
            if answer.status != 200:
                raise DemoError("API", f"GET {path}: {answer.status} {text}")
            return text

    async def _get(self, path: str, query: dict[str, str] | None = None) -> Any:
        async with self._session.get(path, params=query) as answer:
            if answer.status != 200:
                raise DemoError("API", f"GET {path}: {answer.status} {await answer.text()}")
            return await answer.json()
