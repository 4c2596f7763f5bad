"""Two tenants, one API: each sees and does what the API server allows its token, and nothing else.

Everything of the owner's carries a word that must never reach the other. Each way to it is tried by the owner first:
what the owner does not see proves nothing of the other.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from kubernetes import client
from websockets.exceptions import InvalidStatus

from api_server import a_taskjob
from api_world import NOBODY, Judged, Refusal, Stream, World, a_leader, a_world, eventually, known_as
from builders import a_job, at
from history_stories import FULL, a_story, an_entry
from taskjob.core.model import AttemptId, Uid
from taskjob.history.cursors import Position, read_position, write_position
from taskjob.ports import Log
from taskjob_api.jobs import HISTORY_LAG_SECONDS
from taskjob_cluster import Cluster
from tenants import LOGS, TENANT, Tenant, a_tenant

pytestmark = pytest.mark.cluster
SECRET = "owners-only"
PENDING, STARTING, RUNNING, SUCCEEDED = FULL


@pytest.fixture
def owner(cluster: Cluster, namespace: str) -> Tenant:
    tenant = a_tenant(cluster, namespace)
    tenant.may(namespace, TENANT, LOGS)
    return tenant


@pytest.fixture
def stranger(cluster: Cluster, kubernetes_client: client.ApiClient, namespace: str) -> Tenant:
    """Has all rights, in another namespace."""
    elsewhere = f"{namespace}-b"
    made = client.V1Namespace(metadata=client.V1ObjectMeta(name=elsewhere))
    client.CoreV1Api(kubernetes_client).create_namespace(made)
    tenant = a_tenant(cluster, elsewhere)
    tenant.may(elsewhere, TENANT, LOGS)
    return tenant


@pytest.fixture
async def world(cluster: Cluster, database_url: str) -> AsyncIterator[World]:
    async with (
        a_leader(lambda uid: {"id": uid, "name": SECRET, "holders": [], "behind": None}) as operator,
        a_world(cluster.kubeconfig, database_url, judged=Judged(), operator_url=operator) as world,
    ):
        yield world


@dataclass
class Scene:
    """What the owner has: a job in the cluster, and one that has left and whose log was kept."""

    world: World
    home: str
    live: str
    past: str
    before: str  # a cursor of the stream from before all of it
    next_page: str


async def a_scene(world: World, owner: Tenant, stranger: Tenant) -> Scene:
    before = await world.hub._reader.head()
    for tenant, word in ((stranger, "mine"), (owner, SECRET)):
        body = {"image": word, "name": word, "namespace": tenant.home, "labels": {"taskjobs.dev/group": word}}
        await eventually(partial(created, world, tenant, body), "the rights are known to the API server")
        found = json.loads(tenant.cluster.kubectl("-n", tenant.home, "get", "taskjob", word, "-o", "json"))
        live, past = found["metadata"]["uid"], f"past-of-{tenant.name}"
        await world.tell(an_entry(known_as(a_job(word).build(), uid=live, namespace=tenant.home), None, PENDING, 1))
        story = a_story(a_job(word).with_uid(past).in_namespace(tenant.home), *FULL)
        log = Log(AttemptId(Uid(past), 0, 0, 1), "main", word.encode(), len(word))
        await world.tell(*story[:-1], replace(story[-1], gone_at=at(9)), logs=(log,))
    await eventually(lambda: owners_page_is_whole(world, owner), "the owner's rights are known")
    page = (await world.http.get("/jobs/?limit=1", headers=owner.headers)).json()
    return Scene(world, owner.home, live, past, before, page["next"])


async def created(world: World, tenant: Tenant, body: dict[str, Any]) -> bool:
    answer = await world.http.post("/jobs/", json=body, headers=tenant.headers)
    assert answer.status_code in (201, 403, 409), answer.text
    return answer.status_code in (201, 409)


async def owners_page_is_whole(world: World, owner: Tenant) -> bool:
    return len((await world.http.get("/jobs/", headers=owner.headers)).json()["items"]) == 2


# ---------------------------------------------------------------- every way
Way = Callable[[Scene, Tenant], Awaitable[str]]


def asked(method: str, path: str, body: Callable[[Scene], Any] | None = None) -> Way:
    """A request; all that came back."""

    async def way(scene: Scene, tenant: Tenant) -> str:
        where = path.format(home=scene.home, live=scene.live, past=scene.past, page=scene.next_page)
        content = None if body is None else body(scene)
        answer = await scene.world.http.request(method, where, json=content, headers=tenant.headers)
        return f"{answer.status_code} {dict(answer.headers)} {answer.text}"

    return way


def streamed(*, ticket: bool = False, **query: str) -> Way:
    """A stream, until it has told all that there is; then a new job of the owner's."""

    async def way(scene: Scene, tenant: Tenant) -> str:
        said = {name: value.format(home=scene.home, before=scene.before) for name, value in query.items()}
        if said.get("cursor") == "another":
            said["cursor"] = write_position(Position(uuid4(), read_position(scene.before).seq))
        headers: dict[str, str] | None = tenant.headers
        if ticket:
            answer = await scene.world.http.post("/jobs/stream/ticket", headers=tenant.headers)
            said["ticket"], headers = answer.json()["ticket"], None
        try:
            client = await scene.world.stream(headers, **said)
        except InvalidStatus as refused:
            return f"{refused.response.status_code} {refused.response.body!r}"
        await heard_all(client)
        await scene.world.tell(*a_story(a_job(SECRET).with_uid(str(uuid4())).in_namespace(scene.home), *FULL))
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
WRITES: dict[str, Way] = {
    "create in the namespace": asked(
        "POST", "/jobs/", lambda scene: {"image": "busybox", "name": "intruder", "namespace": scene.home}
    ),
    "create a manifest in the namespace": asked("POST", "/jobs/", lambda scene: manifest(scene.home)),
}


def manifest(namespace: str) -> dict[str, Any]:
    return a_taskjob("intruder") | {"metadata": {"name": "intruder", "namespace": namespace}}


async def test_no_way_shows_a_tenant_what_is_anothers(
    cluster: Cluster, database_url: str, world: World, owner: Tenant, stranger: Tenant
) -> None:
    scene = await a_scene(world, owner, stranger)
    leaks = [name for name, way in {**READS, **WRITES}.items() if SECRET in await way(scene, stranger)]
    blind = [name for name, way in READS.items() if SECRET not in await way(scene, owner)]
    # An API that has just started has nothing in memory: who catches up there is told from PostgreSQL.
    async with a_world(cluster.kubeconfig, database_url, judged=Judged()) as fresh:
        for name, way in READS.items():
            if "catching up" in name:
                assert not fresh.hub.keeps(*read_position(scene.before))
                leaks += [f"{name}, from history"] if SECRET in await way(replace(scene, world=fresh), stranger) else []
                blind += [] if SECRET in await way(replace(scene, world=fresh), owner) else [f"{name}, from history"]
    print(json.dumps({"figure": "foreign_reads", "value": len(leaks), "unit": "", "target": 0, "met": not leaks}))
    assert leaks == []
    assert blind == [], "the owner sees nothing on these ways: they prove nothing"
    names = owner.cluster.kubectl("-n", owner.home, "get", "taskjobs", "-o", "name")
    assert "intruder" not in names


async def test_a_foreign_job_is_answered_as_one_that_does_not_exist(
    world: World, owner: Tenant, stranger: Tenant
) -> None:
    scene = await a_scene(world, owner, stranger)
    for path in ("/jobs/{}", "/jobs/{}/explain", "/jobs/{}/logs", "/jobs/{}/logs?follow=true"):
        nobody = await world.http.get(path.format(NOBODY), headers=stranger.headers)
        assert Refusal.of(nobody) == Refusal(404, "not-found", ("job_id",))
        for uid in (scene.live, scene.past):
            began = time.monotonic()
            answer = await world.http.get(path.format(uid), headers=stranger.headers)
            assert Refusal.of(answer) == Refusal(404, "not-found", ("job_id",))
            assert answer.text.replace(uid, NOBODY) == nobody.text
            assert time.monotonic() - began >= HISTORY_LAG_SECONDS, "sooner than for a job that does not exist"
    for uid in (scene.live, scene.past):
        answer = await world.http.patch(f"/jobs/{uid}/cancel", headers=stranger.headers)
        assert Refusal.of(answer) == Refusal(404, "not-found", ("job_id",))
    spec = json.loads(owner.cluster.kubectl("-n", owner.home, "get", "taskjob", SECRET, "-o", "json"))["spec"]
    assert spec["cancel"] is False
    refused = [
        await world.http.get(f"/jobs/?namespace={scene.home}", headers=stranger.headers),
        await world.post({"image": "busybox", "namespace": scene.home}, **stranger.headers),
    ]
    assert [Refusal.of(answer).status for answer in refused] == [403, 403]
    assert "cannot create resource" in refused[1].text, "the API server's own sentence"


# ---------------------------------------------------------------- without a right, and with a right withdrawn
async def test_rights_are_asked_verb_by_verb(cluster: Cluster, world: World, owner: Tenant, stranger: Tenant) -> None:
    scene = await a_scene(world, owner, stranger)
    for verbs, log, listed, one, watched in (
        ("get", 403, 403, 200, 403),
        ("list", 404, 200, 404, 403),
        ("watch", 404, 403, 404, 101),
    ):
        tenant = a_tenant(cluster, owner.home)
        tenant.may(owner.home, (verbs, "taskjobs.taskjobs.dev"))
        await eventually(partial(allowed, world, scene, tenant, verbs), "the right is known")
        found = [
            (await world.http.get(path, headers=tenant.headers)).status_code
            for path in (f"/jobs/{scene.past}/logs", f"/jobs/?namespace={scene.home}", f"/jobs/{scene.past}")
        ]
        assert found == [log, listed, one], verbs
        assert await upgraded(world, tenant, namespace=scene.home) == watched, verbs
        assert await upgraded(world, tenant, namespace=scene.home, snapshot="true") == 403, verbs


async def upgraded(world: World, tenant: Tenant, **query: str) -> int:
    try:
        await world.stream(tenant.headers, **query)
    except InvalidStatus as refused:
        return refused.response.status_code
    return 101


async def allowed(world: World, scene: Scene, tenant: Tenant, verb: str) -> bool:
    if verb == "watch":
        return await upgraded(world, tenant, namespace=scene.home) == 101
    path = f"/jobs/{scene.past}" if verb == "get" else f"/jobs/?namespace={scene.home}"
    return (await world.http.get(path, headers=tenant.headers)).status_code == 200


async def test_a_stream_loses_the_frames_of_a_namespace_whose_right_is_withdrawn_and_keeps_the_others(
    cluster: Cluster, world: World, owner: Tenant, stranger: Tenant
) -> None:
    auditor = a_tenant(cluster, owner.home)
    for namespace in (owner.home, stranger.home):
        auditor.may(namespace, TENANT)
    everything = a_tenant(cluster, owner.home)
    everything.may_everywhere("watch", "taskjobs.taskjobs.dev")
    await eventually(lambda: both_are_heard(world, auditor, owner, stranger), "the rights are known")
    of_both = await world.listening(auditor.headers)
    of_one = await world.listening(auditor.headers, namespace=owner.home)
    of_all = await world.listening(everything.headers)

    auditor.may_not(owner.home)
    began = time.monotonic()
    code, reason = await of_one.closed()
    took = time.monotonic() - began
    assert (code, "may not watch" in reason) == (1008, True), reason
    assert took < 5, "these tests look again every half second; by default it is 40 s"
    await world.tell(*a_story(a_job("late").with_uid(NOBODY).in_namespace(owner.home), PENDING, STARTING))
    await world.tell(*a_story(a_job("other").with_uid("uid-other").in_namespace(stranger.home), PENDING))
    assert (await of_both.next_of("TRANSITION"))["job"]["name"] == "other", "what was told before is left out"
    assert [frame["job"]["name"] for frame in await of_all.transitions(3)] == ["late", "late", "other"]
    # And a right that is given back is seen without connecting anew.
    auditor.may(owner.home, TENANT)
    await eventually(lambda: hears(world, of_both, owner.home), "the right is seen again")


async def both_are_heard(world: World, auditor: Tenant, *tenants: Tenant) -> bool:
    return [await upgraded(world, auditor, namespace=tenant.home) for tenant in tenants] == [101] * len(tenants)


async def hears(world: World, stream: Stream, namespace: str) -> bool:
    name = f"again-{len(stream.frames)}"
    await world.tell(*a_story(a_job(name).with_uid(name).in_namespace(namespace), PENDING))
    return any(frame["job"]["name"] == name for frame in await stream.rest())


async def test_a_stream_ends_when_its_token_is_not_accepted_any_more(
    cluster: Cluster, world: World, owner: Tenant, stranger: Tenant
) -> None:
    await a_scene(world, owner, stranger)
    stream = await world.listening(owner.headers)
    cluster.kubectl("-n", owner.home, "delete", "serviceaccount", owner.name)
    code, reason = await stream.closed()
    assert (code, "does not accept this token" in reason) == (1008, True), reason
    answer = await world.http.get("/jobs/", headers=owner.headers)
    assert Refusal.of(answer) == Refusal(401, "unauthenticated", ())


async def test_who_may_see_everything_sees_everything_with_one_question(
    cluster: Cluster, world: World, owner: Tenant, stranger: Tenant
) -> None:
    await a_scene(world, owner, stranger)
    auditor = a_tenant(cluster, owner.home)
    auditor.may_everywhere("get,list,watch", "taskjobs.taskjobs.dev")

    async def sees_all() -> bool:
        page = (await world.http.get("/jobs/", headers=auditor.headers)).json()
        return {job["namespace"] for job in page["items"]} == {owner.home, stranger.home}

    await eventually(sees_all, "the auditor's right is known")
