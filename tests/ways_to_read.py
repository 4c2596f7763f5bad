"""Every way to read through the API what is another tenant's, to be tried on any API by any tenant.

Everything of the owner's carries a word that must never reach the other. Each way is tried by the owner, too: what the
owner does not see proves nothing of the other.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
from websockets.exceptions import InvalidStatus

from api_server import a_taskjob
from api_world import Stream
from taskjob.history.cursors import Position, read_position, write_position
from tenants import Tenant

SECRET = "owners-only"


@dataclass
class Scene:
    """An API, and what the owner has: a job in the cluster, and one that has left and whose log was kept."""

    http: httpx.AsyncClient
    stream: Callable[..., Awaitable[Stream]]
    news: Callable[[], Awaitable[None]]  # one more job of the owner's begins to wait
    home: str
    live: str
    past: str
    before: str  # a cursor of the stream from before all of it
    next_page: str

    def path(self, template: str) -> str:
        """A path with the owner's namespace, jobs and cursor in it."""
        return template.format(home=self.home, live=self.live, past=self.past, page=self.next_page)


Way = Callable[[Scene, Tenant], Awaitable[str]]


def asked(method: str, path: str, body: Callable[[Scene], Any] | None = None) -> Way:
    """A request; all that came back."""

    async def way(scene: Scene, tenant: Tenant) -> str:
        content = None if body is None else body(scene)
        answer = await scene.http.request(method, scene.path(path), json=content, headers=tenant.headers)
        return f"{answer.status_code} {dict(answer.headers)} {answer.text}"

    return way


def followed(path: str) -> Way:
    """A log, until it says the word or ends."""

    async def way(scene: Scene, tenant: Tenant) -> str:
        async with scene.http.stream("GET", scene.path(path), headers=tenant.headers) as answer:
            said = f"{answer.status_code} {dict(answer.headers)} "
            async for part in answer.aiter_text():
                said += part
                if SECRET in said:
                    break
        return said

    return way


def streamed(*, ticket: bool = False, **query: str) -> Way:
    """A stream, until it has told all that there is; then a new job of the owner's."""

    async def way(scene: Scene, tenant: Tenant) -> str:
        said = {name: value.format(home=scene.home, before=scene.before) for name, value in query.items()}
        if said.get("cursor") == "another":
            said["cursor"] = write_position(Position(uuid4(), read_position(scene.before).seq))
        headers: dict[str, str] | None = tenant.headers
        if ticket:
            answer = await scene.http.post("/jobs/stream/ticket", headers=tenant.headers)
            said["ticket"], headers = answer.json()["ticket"], None
        try:
            client = await scene.stream(headers, **said)
        except InvalidStatus as refused:
            return f"{refused.response.status_code} {refused.response.body!r}"
        await heard_all(client)
        before = client.cursor
        await scene.news()
        while client.cursor == before:  # a heartbeat's goes past what is kept away, too
            await client.next()
        await heard_all(client)
        client.kill()
        return json.dumps(client.frames)

    return way


async def heard_all(client: Stream) -> None:
    """Until the second heartbeat from now."""
    for _ in range(2):
        while (await client.next())["type"] != "HEARTBEAT":
            pass


READS: dict[str, Way] = {
    "list": asked("GET", "/jobs/"),
    "list of the namespace": asked("GET", "/jobs/?namespace={home}"),
    "list by name": asked("GET", f"/jobs/?name={SECRET[:3]}"),
    "list by phase": asked("GET", "/jobs/?phase=Succeeded&phase=Pending"),
    "list by queue": asked("GET", "/jobs/?queue=default&priority=Normal"),
    "list, after the owner's cursor": asked("GET", "/jobs/?cursor={page}"),
    "one, live": asked("GET", "/jobs/{live}"),
    "one, past": asked("GET", "/jobs/{past}"),
    "log, past": asked("GET", "/jobs/{past}/logs"),
    "log, past, of an attempt": asked("GET", "/jobs/{past}/logs?attempt=1&container=main&tail=5"),
    "log, past, followed": asked("GET", "/jobs/{past}/logs?follow=true"),
    "explain, live": asked("GET", "/jobs/{live}/explain"),
    "explain, past": asked("GET", "/jobs/{past}/explain"),
    "cancel, live": asked("PATCH", "/jobs/{live}/cancel"),
    "cancel, past": asked("PATCH", "/jobs/{past}/cancel"),
    "stream": streamed(),
    "stream of the namespace": streamed(namespace="{home}"),
    "stream by phase": streamed(phase="Pending"),
    "stream with a snapshot": streamed(snapshot="true"),
    "stream of the namespace with a snapshot": streamed(namespace="{home}", snapshot="true"),
    "stream, catching up": streamed(cursor="{before}"),
    "stream, catching up in the namespace": streamed(cursor="{before}", namespace="{home}"),
    "stream, from a cursor of another history": streamed(cursor="another"),
    "stream by a ticket": streamed(ticket=True, snapshot="true"),
    "stream by a ticket of the namespace": streamed(ticket=True, namespace="{home}"),
}
LIVE_LOGS: dict[str, Way] = {  # where pods run
    "log, live": asked("GET", "/jobs/{live}/logs"),
    "log, live, of an attempt": asked("GET", "/jobs/{live}/logs?attempt=1&container=main&timestamps=true"),
    "log, live, followed": followed("/jobs/{live}/logs?follow=true"),
}
OPEN: dict[str, Way] = {  # shown to everybody, and of nobody
    path: asked("GET", path) for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/jobs/stream")
}
WRITES: dict[str, Way] = {
    "create in the namespace": asked(
        "POST", "/jobs/", lambda scene: {"image": "busybox", "name": "intruder", "namespace": scene.home}
    ),
    "create a manifest in the namespace": asked("POST", "/jobs/", lambda scene: manifest(scene.home)),
}


def manifest(namespace: str) -> dict[str, Any]:
    return a_taskjob("intruder") | {"metadata": {"name": "intruder", "namespace": namespace}}
