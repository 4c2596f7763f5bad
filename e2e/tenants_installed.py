"""Two tenants of an installed API with tokens of their service accounts: what the owner has, for the other to try."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx

from api_world import eventually, open_stream
from installation import Installation
from tenants import Tenant
from ways_to_read import SECRET, Scene
from world_of_pods import BUSYBOX

GROUP = {"taskjobs.dev/group": SECRET}


@asynccontextmanager
async def a_scene(installation: Installation, owner: Tenant) -> AsyncIterator[Scene]:
    """A job of the owner's that runs, and one that has left; in the end all of its jobs are deleted."""
    with installation.api() as url:
        async with httpx.AsyncClient(base_url=url, timeout=30, headers=owner.headers) as owners:
            stream = await open_stream(url, owner.headers)
            before = (await stream.next())["cursor"]
            await stream.socket.close()
            live = await created(owners, owner, SECRET, f"echo {SECRET}; sleep 3600 & wait")
            past = await created(owners, owner, f"{SECRET}-past", f"echo {SECRET}")
            await eventually(partial(has_log, owners, live, "pod"), "the job runs, and has said its word")
            await eventually(partial(has_log, owners, past, "history"), "the log of the other is kept")
            kubectl = partial(installation.kubectl, namespace=owner.home)
            kubectl("delete", "taskjob", f"{SECRET}-past")
            numbers = itertools.count()

            async def news() -> None:
                name = f"{SECRET}-{next(numbers)}"
                await created(owners, owner, name, "true", dependsOn=["nobody"])
                await eventually(partial(is_listed, owners, name), "history knows of the new job")

            page = (await owners.get("/jobs/?limit=1")).json()
            async with httpx.AsyncClient(base_url=url, timeout=30) as http:
                stream_of = partial(open_stream, url)
                yield Scene(http, stream_of, news, owner.home, live, past, before, page["next"])
            kubectl("delete", "taskjobs", "-l", f"taskjobs.dev/group={SECRET}")


async def created(http: httpx.AsyncClient, owner: Tenant, name: str, script: str, **said: Any) -> str:
    """Create a job; its id."""
    body = {"name": name, "namespace": owner.home, "image": BUSYBOX, "cpu": "10m", "labels": GROUP}
    answer = await http.post("/jobs/", json={**body, "command": ["sh", "-c", script], **said})
    assert answer.status_code == 201, answer.text
    made: str = answer.json()["id"]
    return made


async def has_log(http: httpx.AsyncClient, job: str, source: str) -> bool:
    """Whether the word is in its log, and that comes from there."""
    answer = await http.get(f"/jobs/{job}/logs")
    return SECRET in answer.text and source in answer.headers.get("Taskjobs-Log-Source", "").split(", ")


async def is_listed(http: httpx.AsyncClient, name: str) -> bool:
    """Whether history knows the job."""
    return bool((await http.get("/jobs/", params={"name": name})).json()["items"])
