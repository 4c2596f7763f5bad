"""The log of a running pod: for those who may read pods' logs, and for as long as they may."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from kubernetes import client

from api_server import Server, a_taskjob
from api_world import PATIENCE_SECONDS, Judged, Refusal, World, a_world, eventually, known_as
from builders import a_job
from history_stories import FULL, an_entry
from kubelets import Kubelet
from taskjob_cluster import Cluster
from tenants import LOGS, TENANT, Tenant, a_tenant, known

pytestmark = pytest.mark.cluster
_, STARTING, RUNNING, _ = FULL
POD = "train-1"


@pytest.fixture
async def world(cluster: Cluster, database_url: str) -> AsyncIterator[World]:
    async with a_world(cluster.kubeconfig, database_url, judged=Judged()) as world:
        yield world


@pytest.fixture
async def path(world: World, kubelet: Kubelet, kubernetes_client: client.ApiClient, namespace: str) -> str:
    """Of the log of a job whose attempt runs in a pod on the kubelet; the operator's part is played here."""
    server = Server(kubernetes_client, namespace)
    uid = server.create(a_taskjob("train"))["metadata"]["uid"]
    spec = client.V1PodSpec(
        containers=[client.V1Container(name="main", image="busybox")], node_name=kubelet.node, restart_policy="Never"
    )
    pod = client.V1Pod(metadata=client.V1ObjectMeta(name=POD), spec=spec)
    client.CoreV1Api(kubernetes_client).create_namespaced_pod(namespace, pod)
    status = {"phase": "Running", "reason": "Started", "attempt": 1, "podName": POD, "transition": 2, "epoch": 1}
    server.patch_status("train", status)
    await world.tell(an_entry(known_as(a_job("train").build(), uid=uid, namespace=namespace), STARTING, RUNNING, 2))
    kubelet.write(POD, "the first line", at=1)
    return f"/jobs/{uid}/logs"


async def test_a_pods_log_is_read_with_the_callers_own_right(
    world: World, path: str, tenant: Tenant, cluster: Cluster
) -> None:
    await known(world, tenant)
    answer = await world.http.get(path, headers=tenant.headers)
    assert (answer.text, answer.headers["taskjobs-log-source"]) == ("the first line\n", "pod")
    reader = a_tenant(cluster, tenant.home)
    reader.may(tenant.home, TENANT)
    await known(world, reader)
    for query in ("", "?follow=true"):
        refused = await world.http.get(path + query, headers=reader.headers)
        assert Refusal.of(refused) == Refusal(403, "forbidden", ())
        assert 'cannot get resource "pods/log"' in refused.json()["detail"], "the API server's own sentence"


@pytest.mark.parametrize("withdrawn", ["pods/log", "taskjobs", "the token"])
async def test_a_followed_log_ends_when_the_right_is_withdrawn(
    world: World, path: str, tenant: Tenant, kubelet: Kubelet, withdrawn: str
) -> None:
    reader = a_tenant(tenant.cluster, tenant.home)
    for right in (TENANT, LOGS):
        reader.may(tenant.home, right)
    await eventually(lambda: may_read(world, reader, path), "the rights are known")
    async with world.http.stream("GET", f"{path}?follow=true", headers=reader.headers) as response:
        assert response.status_code == 200
        lines = response.aiter_lines()
        await until_line(lines, "data: the first line")
        if withdrawn == "the token":
            tenant.cluster.kubectl("-n", tenant.home, "delete", "serviceaccount", reader.name)
        else:
            reader.may_not(tenant.home, withdrawn)
        problem = json.loads((await until_line(lines, "data: {")).removeprefix("data: "))
        assert problem["status"] == (401 if withdrawn == "the token" else 403)
    kubelet.write(POD, "a later line", at=2)
    refused = await world.http.get(path, headers=reader.headers)
    assert refused.status_code in (401, 403, 404)
    assert "a later line" not in refused.text


async def may_read(world: World, reader: Tenant, path: str) -> bool:
    return (await world.http.get(path, headers=reader.headers)).status_code == 200


async def until_line(lines: AsyncIterator[str], beginning: str) -> str:
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for line in lines:
            if line.startswith(beginning):
                return line
    raise AssertionError(f"the events ended without {beginning!r}")
