"""A server that answers as the API does, for the `taskjob` command."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from taskjob.cli.command import run

Answer = tuple[int, Any]
"""Code and body: a text as it is, `Silence` and then nothing more, or what becomes JSON."""


class Silence(str):
    """A text after which the server says nothing, and does not hang up either."""


def an_event(kind: str, content: Any, identity: str = "") -> str:
    """One server-sent event of a followed log: a `message` of bytes, or something else as JSON."""
    data = base64.b64encode(content).decode() if kind == "message" else json.dumps(content)
    lines = [f"event: {kind}", *([f"id: {identity}"] if identity else []), f"data: {data}"]
    return "\n".join(lines) + "\n\n"


def a_job(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"uid-{name}",
        "namespace": "team-a",
        "name": name,
        "phase": "Pending",
        "reason": "WaitingForQuota",
        "message": "needs cpu 4",
        "queue": "gpu",
        "priority": "Normal",
        "attempt": 0,
        "dependsOn": [],
        "createdAt": "2026-01-01T12:00:00Z",
        "startedAt": None,
        "finishedAt": None,
        **fields,
    }


@dataclass
class Api:
    """What the stand-in answers, by path, and what it was asked."""

    answers: dict[str, Answer]
    then: dict[tuple[str, str], Answer] = field(default_factory=dict)  # by path, and cursor or attempt
    turns: dict[str, list[Answer]] = field(default_factory=dict)  # by path: one after the other, before all else
    asked: list[web.Request] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        found = self.answers.get(request.path, (404, {"detail": "no such route"}))
        place = request.query.get("cursor") or request.query.get("attempt", "")
        code, body = self.then.get((request.path, place), found)
        if self.turns.get(request.path):
            code, body = self.turns[request.path].pop(0)
        if request.query.get("cursor") == "more":
            body = {"items": [a_job("train")], "next": None}
        if isinstance(body, Silence):
            response = web.StreamResponse(status=code)
            await response.prepare(request)
            await response.write(body.encode())
            await asyncio.Event().wait()
        return web.Response(status=code, text=body if isinstance(body, str) else json.dumps(body))

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        runner = web.AppRunner(app, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


async def taskjob(api: Api, *arguments: str) -> int:
    async with api.served() as url:
        return await asyncio.to_thread(run, [*arguments, "--api", url])


def forget_settings(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Nothing of the machine's own says where the API is, or who asks."""
    for name in ("TASKJOBS_API_URL", "TASKJOBS_TOKEN", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
