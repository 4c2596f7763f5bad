"""Jobs through the API: created, read at once, listed, cancelled; every refusal by status, kind and field."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from kubernetes import client

from api_server import Server, a_taskjob
from api_world import NOBODY, PATIENCE_SECONDS, Refusal, World, a_world, known_as
from builders import a_job, at
from chaos.api_wire import ApiWire
from history_stories import FULL, a_story, an_entry
from relays import Relay
from taskjob_api.views import JobDetail, JobPage
from taskjob_cluster import Cluster
from taskjob_cluster.postgres import Postgres

pytestmark = pytest.mark.cluster
PENDING, STARTING, RUNNING, SUCCEEDED = FULL


@pytest.fixture
async def world(cluster: Cluster, database_url: str) -> AsyncIterator[World]:
    async with a_world(cluster.kubeconfig, database_url) as world:
        yield world


async def created(world: World, namespace: str, **short: Any) -> dict[str, Any]:
    response = await world.post({"image": "busybox", "namespace": namespace, **short})
    assert response.status_code == 201, response.text
    answer: dict[str, Any] = response.json()
    return answer


# ---------------------------------------------------------------- created
async def test_the_short_form_becomes_the_taskjob_that_it_stands_for(
    world: World, namespace: str, kubernetes_client: client.ApiClient
) -> None:
    response = await world.post(
        {
            "name": "train",
            "namespace": namespace,
            "image": "busybox",
            "command": ["sh", "-c"],
            "args": ["true"],
            "env": {"A": "1"},
            "cpu": "500m",
            "memory": "64Mi",
            "queue": "gpu",
            "priority": "High",
            "dependsOn": ["extract", "clean"],
            "retries": 3,
            "timeoutSeconds": 60,
            "labels": {"taskjobs.dev/group": "g"},
        }
    )
    assert response.status_code == 201, response.text
    answer = response.json()
    JobDetail.model_validate(answer)
    assert response.headers["location"] == f"/jobs/{answer['id']}"
    stored = client.CustomObjectsApi(kubernetes_client).get_namespaced_custom_object(
        "taskjobs.dev", "v1beta1", namespace, "taskjobs", "train"
    )
    assert isinstance(stored, dict)
    assert stored["metadata"]["uid"] == answer["id"]
    assert stored["metadata"]["labels"] == {"taskjobs.dev/group": "g"}
    assert {key: stored["spec"][key] for key in ("image", "command", "args", "env", "queue", "priority")} == {
        "image": "busybox",
        "command": ["sh", "-c"],
        "args": ["true"],
        "env": [{"name": "A", "value": "1"}],
        "queue": "gpu",
        "priority": "High",
    }
    assert stored["spec"]["resources"] == {"requests": {"cpu": "500m", "memory": "64Mi"}}
    assert [dependency["name"] for dependency in stored["spec"]["dependsOn"]] == ["extract", "clean"]
    assert (stored["spec"]["retry"]["limit"], stored["spec"]["timeoutSeconds"]) == (3, 60)
    assert (answer["phase"], answer["reason"], answer["priority"]) == ("Pending", "Queued", "High")
    assert answer["dependsOn"][0] == {"name": "extract", "condition": "Succeeded"}


async def test_a_job_without_a_name_is_given_one(world: World, namespace: str) -> None:
    first, second = [await created(world, namespace) for _ in range(2)]
    assert first["name"].startswith("job-")
    assert first["name"] != second["name"]


async def test_a_manifest_is_created_as_it_is(world: World, namespace: str) -> None:
    manifest = a_taskjob("as-it-is", priority="Low")
    manifest["metadata"] |= {"namespace": namespace, "annotations": {"note": "kept"}}
    response = await world.post(manifest)
    assert response.status_code == 201, response.text
    assert (response.json()["name"], response.json()["priority"]) == ("as-it-is", "Low")


async def test_what_was_created_is_read_back_at_once_though_history_knows_nothing(world: World, namespace: str) -> None:
    answer = await created(world, namespace, name="fresh")
    again = await world.http.get(f"/jobs/{answer['id']}")
    assert (again.status_code, again.json()) == (200, answer)


async def test_a_name_that_is_taken_is_a_conflict(world: World, namespace: str) -> None:
    await created(world, namespace, name="mine")
    again = await world.post({"name": "mine", "namespace": namespace, "image": "busybox"})
    assert Refusal.of(again) == Refusal(409, "already-exists", ("name",))
    named = a_taskjob("mine")
    named["metadata"]["namespace"] = namespace
    assert Refusal.of(await world.post(named)) == Refusal(409, "already-exists", ("metadata.name",))


# ---------------------------------------------------------------- read
async def test_a_live_job_is_read_from_the_cluster_with_its_attempts_from_history(
    world: World, namespace: str, server: Server
) -> None:
    answer = await created(world, namespace, name="live")
    job = known_as(a_job("live").build(), uid=answer["id"], namespace=namespace)
    entry = an_entry(job, STARTING, RUNNING, 2)
    await world.tell(entry)
    server.patch_status("live", {"phase": "Running", "reason": "Started", "attempt": 1, "transition": 2, "epoch": 1})
    found = (await world.http.get(f"/jobs/{answer['id']}")).json()
    JobDetail.model_validate(found)
    assert (found["phase"], found["attempt"], found["goneAt"]) == ("Running", 1, None)
    assert [(a["attempt"], a["phase"]) for a in found["attempts"]] == [(1, "Running")]


async def test_a_job_that_has_left_the_cluster_has_the_same_shape(world: World, namespace: str, server: Server) -> None:
    answer = await created(world, namespace, name="past")
    live = (await world.http.get(f"/jobs/{answer['id']}")).json()
    job = known_as(a_job("past").build(), uid=answer["id"], namespace=namespace)
    story = a_story_of(job)
    await world.tell(*story[:-1], replace(story[-1], gone_at=at(99)))
    client.CustomObjectsApi(server_client(server)).delete_namespaced_custom_object(
        "taskjobs.dev", "v1beta1", namespace, "taskjobs", "past"
    )
    past = (await world.http.get(f"/jobs/{answer['id']}")).json()
    JobDetail.model_validate(past)
    assert past.keys() == live.keys()
    assert (past["phase"], past["exitCode"], past["goneAt"]) == ("Succeeded", 0, "2026-01-01T12:01:39Z")
    assert past["attempts"][0]["exitCode"] == 0


def a_story_of(job: Any) -> list[Any]:
    return [an_entry(job, before, after, n) for n, (before, after) in enumerate(zip((None, *FULL), FULL, strict=False))]


def server_client(server: Server) -> client.ApiClient:
    api: client.ApiClient = server._custom.api_client
    return api


async def test_a_job_made_with_kubectl_is_found_as_soon_as_history_hears_of_it(
    world: World, server: Server, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskjob_api.jobs.HISTORY_LAG_SECONDS", PATIENCE_SECONDS)
    stored = server.create(a_taskjob("elsewhere"))
    asking = asyncio.create_task(world.http.get(f"/jobs/{stored['metadata']['uid']}"))
    job = known_as(a_job("elsewhere").build(), uid=stored["metadata"]["uid"], namespace=namespace)
    await world.tell(an_entry(job, None, PENDING, 0))
    response = await asking
    assert (response.status_code, response.json()["name"]) == (200, "elsewhere")


async def test_another_job_of_the_same_name_is_not_taken_for_the_old_one(
    world: World, server: Server, namespace: str
) -> None:
    old = known_as(a_job("again").build(), uid=NOBODY, namespace=namespace)
    await world.tell(an_entry(old, None, PENDING, 0))
    server.create(a_taskjob("again"))
    found = (await world.http.get(f"/jobs/{NOBODY}")).json()
    assert (found["id"], found["phase"]) == (NOBODY, "Pending")
    refusal = Refusal.of(await world.http.patch(f"/jobs/{NOBODY}/cancel"))
    assert refusal == Refusal(409, "finished", ())


# ---------------------------------------------------------------- listed
async def test_a_list_is_read_in_pages_newest_first(world: World) -> None:
    for n in range(7):
        await world.tell(*a_story(a_job(f"j{n}").created(n), PENDING))
    names, cursor, pages = [], None, 0
    while True:
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = (await world.http.get("/jobs/", params=query)).json()
        JobPage.model_validate(page)
        names += [job["name"] for job in page["items"]]
        pages += 1
        if (cursor := page["next"]) is None:
            break
    assert (names, pages) == ([f"j{n}" for n in reversed(range(7))], 3)


FILTERS = {
    "namespace=a": ["other"],
    "phase=Pending": ["other", "train-2"],
    "phase=Pending&phase=Succeeded": ["other", "train-2", "train-1"],
    "queue=gpu": ["train-1"],
    "priority=High": ["train-2"],
    "priority=100": ["train-2"],
    "priority=7": [],
    "group=g": ["train-1"],
    "label=team=x": ["train-2", "train-1"],
    "label=team=x&label=taskjobs.dev/group=g": ["train-1"],
    "name=train": ["train-2", "train-1"],
    "name=train-1": ["train-1"],
    "createdAfter=2026-01-01T12:00:05Z": ["other", "train-2"],
    "createdAfter=2026-01-01T14:00:05+02:00": ["other", "train-2"],
    "createdBefore=2026-01-01T12:00:05Z": ["train-1"],
    "phase=Pending&name=train": ["train-2"],
    "queue=nowhere": [],
}


async def three_jobs(world: World) -> None:
    labels = (("taskjobs.dev/group", "g"), ("team", "x"))
    first = replace(a_job("train-1").created(1).in_queue("gpu").build(), labels=labels)
    second = replace(a_job("train-2").created(5).of_priority("High").build(), labels=labels[1:])
    await world.tell(*a_story_of(first))
    await world.tell(an_entry(second, None, PENDING, 0))
    await world.tell(*a_story(a_job("other").created(9).in_namespace("a"), PENDING))


async def test_every_filter_of_the_list_filters(world: World) -> None:
    await three_jobs(world)
    found = {query: await names_of(world, query) for query in FILTERS}
    assert found == FILTERS


async def names_of(world: World, query: str) -> list[str]:
    response = await world.http.get(f"/jobs/?{query}")
    assert response.status_code == 200, (query, response.text)
    return [job["name"] for job in response.json()["items"]]


# ---------------------------------------------------------------- cancelled
async def test_cancelling_sets_spec_cancel_once_and_may_be_said_again(
    world: World, namespace: str, kubernetes_client: client.ApiClient
) -> None:
    answer = await created(world, namespace, name="stop")
    versions = []
    for _ in range(2):
        response = await world.http.patch(f"/jobs/{answer['id']}/cancel")
        assert (response.status_code, response.json()["id"]) == (200, answer["id"])
        stored = client.CustomObjectsApi(kubernetes_client).get_namespaced_custom_object(
            "taskjobs.dev", "v1beta1", namespace, "taskjobs", "stop"
        )
        assert isinstance(stored, dict)
        assert stored["spec"]["cancel"] is True
        versions.append(stored["metadata"]["resourceVersion"])
    assert versions[0] == versions[1], "the second time nothing is written"


async def test_a_finished_job_cannot_be_cancelled(world: World, namespace: str, server: Server) -> None:
    answer = await created(world, namespace, name="done")
    server.patch_status(
        "done", {"phase": "Succeeded", "reason": "Completed", "attempt": 1, "transition": 3, "epoch": 1}
    )
    refusal = await world.http.patch(f"/jobs/{answer['id']}/cancel")
    assert Refusal.of(refusal) == Refusal(409, "finished", ())
    assert "Succeeded" in refusal.json()["detail"]


async def test_cancelling_holds_its_own_against_a_writer_who_is_always_there(
    world: World, namespace: str, server: Server
) -> None:
    """The operator writes status while we cancel: the patch carries the version, and is decided again."""
    answer = await created(world, namespace, name="busy")
    writing = asyncio.create_task(asyncio.to_thread(write_status_often, server, 30))
    response = await world.http.patch(f"/jobs/{answer['id']}/cancel")
    await writing
    assert response.status_code in (200, 409), response.text
    if response.status_code == 409:
        assert Refusal.of(response).kind == "conflict"


def write_status_often(server: Server, times: int) -> None:
    for n in range(times):
        server.patch_status("busy", {"phase": "Pending", "reason": "Queued", "message": str(n), "epoch": 1})


# ---------------------------------------------------------------- when something is away
async def test_without_postgresql_jobs_are_still_created_read_and_cancelled(
    cluster: Cluster, own_postgres: Postgres, namespace: str
) -> None:
    async with a_world(cluster.kubeconfig, own_postgres.url) as world:
        own_postgres.stop()
        answer = await created(world, namespace, name="alone")
        found = await world.http.get(f"/jobs/{answer['id']}")
        assert (found.status_code, found.json()["attempts"]) == (200, None)
        assert (await world.http.patch(f"/jobs/{answer['id']}/cancel")).status_code == 200
        away = [await world.http.get(path) for path in ("/jobs/", f"/jobs/{NOBODY}")]
        assert [Refusal.of(response) for response in away] == [Refusal(503, "unavailable", ())] * 2
        assert all(int(response.headers["retry-after"]) >= 1 for response in away)
        ready = await world.http.get("/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (200, True), "or nobody could do the above in a cluster"
        assert (ready.json()["apiServer"]["ready"], ready.json()["postgresql"]["ready"]) == (True, False)
        own_postgres.restart()
        assert (await world.http.get("/jobs/")).status_code == 200
        assert (await world.http.get("/readyz")).json()["postgresql"] == {"ready": True, "message": None}


async def test_a_database_that_was_never_reached_makes_the_api_unready(cluster: Cluster) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    async with a_world(cluster.kubeconfig, nowhere, migrated=False) as world:
        ready = await world.http.get("/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        assert (ready.json()["apiServer"]["ready"], ready.json()["postgresql"]["ready"]) == (True, False)


async def test_without_the_api_server_history_is_still_read(
    cluster: Cluster, database_url: str, namespace: str, tmp_path: Any
) -> None:
    async with Relay(cluster.server) as relay:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(cluster.kubeconfig.read_text().replace(cluster.server, relay.url))
        async with a_world(kubeconfig, database_url) as world:
            answer = await created(world, namespace, name="seen")
            story = a_story("past", *FULL)
            await world.tell(*story[:-1], replace(story[-1], gone_at=at(9)))
            await relay.cut()
            refused = [
                await world.post({"image": "busybox", "namespace": namespace}),
                await world.http.get(f"/jobs/{answer['id']}"),
                await world.http.patch(f"/jobs/{answer['id']}/cancel"),
            ]
            assert [Refusal.of(response) for response in refused] == [Refusal(503, "unavailable", ())] * 3
            assert all("retry-after" in response.headers for response in refused)
            assert (await world.http.get("/jobs/uid-past")).json()["phase"] == "Succeeded"
            assert (await world.http.get("/jobs/")).status_code == 200
            ready = (await world.http.get("/readyz")).json()
            assert (ready["apiServer"]["ready"], ready["postgresql"]["ready"]) == (False, True)
            await relay.mend()
            assert (await world.http.get(f"/jobs/{answer['id']}")).status_code == 200


@pytest.mark.parametrize("trouble", ["lose", "lie"])
async def test_of_a_job_without_a_name_whose_answer_was_lost_it_is_said_that_it_may_be_there(
    cluster: Cluster, database_url: str, namespace: str, tmp_path: Any, trouble: str
) -> None:
    wire = ApiWire(cluster.server, cluster.ca_file)
    await wire.open()
    try:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(cluster.kubeconfig.read_text().replace(cluster.server, wire.url))
        async with a_world(kubeconfig, database_url) as world:
            wire.trouble, wire.share = trouble, 1.0
            unnamed = await world.post({"image": "busybox", "namespace": namespace, "labels": {"mine": "1"}})
            assert Refusal.of(unnamed) == Refusal(503, "unavailable", ())
            assert "it may have been created all the same: look for it" in unnamed.json()["detail"]
            assert "retry-after" not in unnamed.headers, "whoever heeds it has two jobs"
            named = await world.post({"image": "busybox", "namespace": namespace, "name": "train"})
            assert Refusal.of(named) == Refusal(503, "unavailable", ())
            assert "retry-after" in named.headers
            wire.trouble = ""
            again = await world.post({"image": "busybox", "namespace": namespace, "name": "train"})
            assert Refusal.of(again) == Refusal(409, "already-exists", ("name",))
    finally:
        await wire.close()


async def test_before_the_operator_has_made_the_history_readyz_says_so(cluster: Cluster, database_url: str) -> None:
    async with a_world(cluster.kubeconfig, database_url, migrated=False) as world:
        ready = await world.http.get("/readyz")
        assert ready.status_code == 503
        assert "the operator sets it up" in ready.json()["postgresql"]["message"]
        assert (await world.http.get("/healthz")).status_code == 200


async def test_requests_are_counted_by_route_and_code(world: World) -> None:
    await world.http.get(f"/jobs/{NOBODY}")
    text = (await world.http.get("/metrics")).text
    assert 'taskjobs_http_requests_total{code="404",method="GET",route="/jobs/{job_id}"}' in text
    assert 'taskjobs_http_request_seconds_count{method="GET",route="/jobs/{job_id}"}' in text
