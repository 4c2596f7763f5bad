"""Suspend, resume, rerun and whole groups through the API, on a real API server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from kubernetes import client

from api_server import Server, a_taskjob
from api_world import Judged, Refusal, World, a_world
from taskjob_api.views import JobDetail
from taskjob_api.wishes import GroupAnswer
from taskjob_cluster import Cluster
from tenants import a_tenant, known

pytestmark = pytest.mark.cluster


@pytest.fixture
async def world(cluster: Cluster, database_url: str) -> AsyncIterator[World]:
    async with a_world(cluster.kubeconfig, database_url) as world:
        yield world


def a_member(server: Server, name: str, phase: str = "Pending", group: str = "nightly", **spec: Any) -> str:
    """A TaskJob of a group in that phase; its id."""
    job = a_taskjob(name, **spec)
    job["metadata"]["labels"] = {"taskjobs.dev/group": group}
    made = server.create(job)
    if phase != "Pending":
        server.patch_status(name, {"phase": phase, "reason": "Completed", "attempt": 1, "transition": 3, "epoch": 1})
    uid: str = made["metadata"]["uid"]
    return uid


def spec_of(connected: client.ApiClient, namespace: str, name: str) -> dict[str, Any]:
    stored: Any = client.CustomObjectsApi(connected).get_namespaced_custom_object(
        "taskjobs.dev", "v1beta1", namespace, "taskjobs", name
    )
    return {field: stored["spec"].get(field) for field in ("cancel", "suspend", "rerun")}


async def told(world: World, path: str, **query: Any) -> dict[str, Any]:
    response = await world.http.patch(path, params=query)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def test_a_job_is_suspended_resumed_cancelled_and_run_again(
    world: World, namespace: str, server: Server, kubernetes_client: client.ApiClient
) -> None:
    answer = await world.post({"image": "busybox", "namespace": namespace, "name": "train"})
    path = f"/jobs/{answer.json()['id']}"
    seen = []
    for wish in ("suspend", "resume", "cancel"):
        JobDetail.model_validate(await told(world, f"{path}/{wish}"))
        spec = spec_of(kubernetes_client, namespace, "train")
        seen.append((bool(spec["suspend"]), bool(spec["cancel"])))
    assert seen == [(True, False), (False, False), (False, True)]
    server.patch_status("train", {"phase": "Cancelled", "reason": "CancelledByUser", "transition": 1, "epoch": 1})
    for wish in ("suspend", "cancel"):
        assert Refusal.of(await world.http.patch(f"{path}/{wish}")) == Refusal(409, "finished", ())
    for _ in range(2):  # the second time nothing is asked for: the run has not begun
        await told(world, f"{path}/rerun")
        assert spec_of(kubernetes_client, namespace, "train") == {"cancel": False, "suspend": False, "rerun": 1}


async def test_a_whole_group_is_changed_page_by_page_and_each_job_as_far_as_it_concerns_it(
    world: World, namespace: str, server: Server, kubernetes_client: client.ApiClient
) -> None:
    for n in range(5):
        a_member(server, f"open-{n}")
    a_member(server, "done", "Succeeded")
    a_member(server, "broken", "Failed")
    a_member(server, "foreign", group="weekly")
    path, query = "/jobs/group/nightly", {"namespace": namespace, "limit": 3}
    cancelled, pages, unchanged, cursor = [], 0, 0, None
    while pages == 0 or cursor is not None:
        page = await told(world, f"{path}/cancel", **query, **({"cursor": cursor} if cursor else {}))
        GroupAnswer.model_validate(page)
        assert all(item["problem"] is None for item in page["items"])
        cancelled += [item["name"] for item in page["items"]]
        pages, unchanged, cursor = pages + 1, unchanged + page["unchanged"], page["next"]
    assert (sorted(cancelled), pages, unchanged) == ([f"open-{n}" for n in range(5)], 3, 2)
    assert spec_of(kubernetes_client, namespace, "open-3")["cancel"] is True
    assert not spec_of(kubernetes_client, namespace, "foreign")["cancel"]
    again = await told(world, f"{path}/rerun", namespace=namespace, phase=["Failed", "Skipped"])
    assert ([item["name"] for item in again["items"]], again["unchanged"]) == (["broken"], 6)
    assert spec_of(kubernetes_client, namespace, "broken")["rerun"] == 1
    assert not spec_of(kubernetes_client, namespace, "done")["rerun"]


async def test_what_is_wrong_about_a_request_for_a_group_is_named(world: World, namespace: str, server: Server) -> None:
    a_member(server, "one")
    refused = {
        f"nothing/cancel?namespace={namespace}": Refusal(404, "not-found", ("group",)),
        f"nightly/cancel?namespace={namespace}&cursor=ours": Refusal(400, "bad-cursor", ("cursor",)),
        f"nightly/explode?namespace={namespace}": Refusal(422, "invalid", ("wish",)),
        f"-nightly/cancel?namespace={namespace}": Refusal(422, "invalid", ("group",)),
        f"nightly/cancel?namespace={namespace}&limit=501": Refusal(422, "invalid", ("limit",)),
        f"nightly/cancel?namespace={namespace}&phrase=Failed": Refusal(422, "invalid", ("phrase",)),
    }
    assert {path: Refusal.of(await world.http.patch(f"/jobs/group/{path}")) for path in refused} == refused


async def test_a_group_is_changed_with_the_callers_own_rights(
    cluster: Cluster, database_url: str, namespace: str, server: Server, kubernetes_client: client.ApiClient
) -> None:
    a_member(server, "secret-work")
    nobody, reader, writer = (a_tenant(cluster, namespace) for _ in range(3))
    reader.may(namespace, ("get,list,watch", "taskjobs.taskjobs.dev"))
    writer.may(namespace, ("get,list,watch,patch", "taskjobs.taskjobs.dev"))
    async with a_world(cluster.kubeconfig, database_url, judged=Judged()) as world:
        for tenant in (reader, writer):
            await known(world, tenant)
        path = f"/jobs/group/nightly/suspend?namespace={namespace}"
        assert Refusal.of(await world.http.patch(path)) == Refusal(401, "unauthenticated", ())
        answer = await world.http.patch(path, headers=nobody.headers)
        assert Refusal.of(answer) == Refusal(403, "forbidden", ())
        assert "secret-work" not in answer.text
        [item] = (await world.http.patch(path, headers=reader.headers)).json()["items"]
        assert f'"system:serviceaccount:{namespace}:{reader.name}" cannot patch resource "taskjobs"' in item["problem"]
        assert not spec_of(kubernetes_client, namespace, "secret-work")["suspend"]
        [item] = (await world.http.patch(path, headers=writer.headers)).json()["items"]
        assert item["problem"] is None
        assert spec_of(kubernetes_client, namespace, "secret-work")["suspend"] is True
