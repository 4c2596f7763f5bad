"""Two tenants, one API: each sees and does what the API server allows its token, and nothing else.

Everything of the owner's carries a word that must never reach the other. Each way to it is tried by the owner first:
what the owner does not see proves nothing of the other.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from kubernetes import client
from websockets.exceptions import InvalidStatus

from api_world import NOBODY, Judged, Refusal, Stream, World, a_leader, a_world, an_explanation, eventually, known_as
from builders import a_job, at
from history_stories import FULL, a_story, an_entry
from taskjob.core.model import AttemptId, Uid
from taskjob.history.cursors import read_position
from taskjob.ports import Log
from taskjob_api.jobs import HISTORY_LAG_SECONDS
from taskjob_cluster import Cluster
from tenants import LOGS, TENANT, Tenant, a_tenant
from ways_to_read import OPEN, READS, SECRET, WRITES, Scene

pytestmark = pytest.mark.cluster
PENDING, STARTING, RUNNING, SUCCEEDED = FULL


@pytest.fixture
def owner(cluster: Cluster, namespace: str) -> Tenant:
    tenant = a_tenant(cluster, namespace)
    tenant.may(namespace, LOGS, TENANT)  # `known` waits for the last
    return tenant


@pytest.fixture
def stranger(cluster: Cluster, kubernetes_client: client.ApiClient, namespace: str) -> Tenant:
    """Has all rights, in another namespace."""
    elsewhere = f"{namespace}-b"
    made = client.V1Namespace(metadata=client.V1ObjectMeta(name=elsewhere))
    client.CoreV1Api(kubernetes_client).create_namespace(made)
    tenant = a_tenant(cluster, elsewhere)
    tenant.may(elsewhere, LOGS, TENANT)  # `known` waits for the last
    return tenant


@pytest.fixture
async def world(cluster: Cluster, database_url: str) -> AsyncIterator[World]:
    async with (
        a_leader(lambda uid: an_explanation(uid, name=SECRET)) as operator,
        a_world(cluster.kubeconfig, database_url, judged=Judged(), operator_url=operator) as world,
    ):
        yield world


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
    return Scene(
        world.http, world.stream, partial(tell_news, world, owner.home), owner.home, live, past, before, page["next"]
    )


async def tell_news(world: World, namespace: str) -> None:
    await world.tell(*a_story(a_job(SECRET).with_uid(str(uuid4())).in_namespace(namespace), *FULL))


async def created(world: World, tenant: Tenant, body: dict[str, Any]) -> bool:
    answer = await world.http.post("/jobs/", json=body, headers=tenant.headers)
    assert answer.status_code in (201, 403, 409), answer.text
    return answer.status_code in (201, 409)


async def owners_page_is_whole(world: World, owner: Tenant) -> bool:
    return len((await world.http.get("/jobs/", headers=owner.headers)).json()["items"]) == 2


async def test_no_way_shows_a_tenant_what_is_anothers(
    cluster: Cluster, database_url: str, world: World, owner: Tenant, stranger: Tenant
) -> None:
    scene = await a_scene(world, owner, stranger)
    leaks = [name for name, way in {**READS, **WRITES, **OPEN}.items() if SECRET in await way(scene, stranger)]
    blind = [name for name, way in READS.items() if SECRET not in await way(scene, owner)]
    # An API that has just started has nothing in memory: who catches up there is told from PostgreSQL.
    async with a_world(cluster.kubeconfig, database_url, judged=Judged()) as fresh:
        for name, way in READS.items():
            if "catching up" in name:
                assert not fresh.hub.keeps(*read_position(scene.before))
                elsewhere = replace(scene, http=fresh.http, stream=fresh.stream)
                leaks += [f"{name}, from history"] if SECRET in await way(elsewhere, stranger) else []
                blind += [] if SECRET in await way(elsewhere, owner) else [f"{name}, from history"]
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
