"""Who may call at all: tokens that are none, audiences; what the API itself may; and no secret in a log."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.routing import BaseRoute, WebSocketRoute
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from api_processes import said_at_start, started
from api_world import NOBODY, Judged, Refusal, World, a_world, eventually
from builders import a_job, at
from charts import API, apply, kubeconfig_of, of_the_api
from history_stories import FULL, a_story
from relays import Relay
from taskjob.core.model import AttemptId, Uid
from taskjob.history.writer import HistoryWriter
from taskjob.ports import Log
from taskjob_api.bodies import BODY_MAX
from taskjob_api.health import health
from taskjob_api.routes import router
from taskjob_cluster import Cluster
from tenants import Tenant, a_tenant, known, token_of

pytestmark = pytest.mark.cluster
OPEN = {"/healthz", "/readyz", "/metrics", "/docs", "/docs/oauth2-redirect", "/docs/static", "/openapi.json"}
API_SERVER = "https://kubernetes.default.svc"


@pytest.fixture
async def world(cluster: Cluster, database_url: str) -> AsyncIterator[World]:
    async with a_world(cluster.kubeconfig, database_url, judged=Judged()) as world:
        yield world


def requests_of(world: World) -> list[tuple[str, str]]:
    """Every method and path of the application, streams as GET."""
    app = world.server.config.app
    assert isinstance(app, FastAPI)
    routers = [router, health]
    assert len([route for route in app.routes if not getattr(route, "path", "")]) == len(routers), "a router more"
    found = [call for routes in (app.routes, *(each.routes for each in routers)) for call in map(of_route, routes)]
    return [(method, path) for calls in found for method, path in calls if path]


def of_route(route: BaseRoute) -> list[tuple[str, str]]:
    path = getattr(route, "path", "").replace("{job_id}", NOBODY)
    path = path.replace("{group}", "nightly").replace("{wish}", "cancel")
    methods = getattr(route, "methods", None) or {"GET"}
    return [(method, path) for method in sorted(methods - {"HEAD"}) if not isinstance(route, WebSocketRoute)]


# ---------------------------------------------------------------- tokens
def forged(cluster: Cluster, token: str, **claims: Any) -> str:
    """The same token with other claims, signed by the cluster's own key."""
    header, body, _ = token.split(".")
    said = json.loads(base64.urlsafe_b64decode(body + "=="))
    signed = f"{header}.{encoded(json.dumps(said | claims).encode())}"
    key = cluster.directory / "pki" / "service-accounts.key"
    made = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", str(key)], input=signed.encode(), capture_output=True, check=True
    ).stdout
    # openssl writes the two numbers as ASN.1, a token has them one after the other.
    size = made[3]
    first, second = made[4 : 4 + size], made[6 + size :]
    return f"{signed}.{encoded(b''.join(number[-32:].rjust(32, bytes(1)) for number in (first, second)))}"


def encoded(given: bytes) -> str:
    return base64.urlsafe_b64encode(given).decode().rstrip("=")


async def test_without_an_accepted_token_every_route_answers_401_and_only_these_do_not(
    world: World, tenant: Tenant, cluster: Cluster
) -> None:
    now = int(time.time())
    assert await accepts(world, forged(cluster, tenant.token, exp=now + 600)), "forged well enough"
    tokens = {
        "expired": forged(cluster, tenant.token, iat=now - 7200, nbf=now - 7200, exp=now - 3600),
        "not valid yet": forged(cluster, tenant.token, nbf=now + 3600),
        "for somebody else": forged(cluster, tenant.token, aud=["https://elsewhere.example"]),
        "of another issuer": forged(cluster, tenant.token, iss="https://elsewhere.example"),
        "signed by nobody": tenant.token.rpartition(".")[0] + "." + encoded(bytes(64)),
        "unsigned": ".".join((encoded(json.dumps({"alg": "none"}).encode()), tenant.token.split(".")[1], "")),
        "garbage": "garbage",
    }
    assert [name for name, token in tokens.items() if await accepts(world, token)] == []
    headers = [{"Authorization": f"Bearer {token}"} for token in tokens.values()]
    headers += [{}, {"Authorization": "Basic dGFza2pvYnM6YWRtaW4="}, {"Authorization": "Bearer"}]
    headers += [{"Impersonate-User": "taskjobs-admin", "X-Remote-User": "taskjobs-admin"}]
    found: dict[str, set[int]] = {}
    for method, path in requests_of(world):
        for each in headers:
            answer = await world.http.request(
                method, path, headers=each, json=a_body(tenant) if path == "/jobs/" and method == "POST" else None
            )
            found.setdefault(f"{method} {path}", set()).add(answer.status_code)
            if answer.status_code == 401:
                assert Refusal.of(answer) == Refusal(401, "unauthenticated", ())
                assert answer.headers["www-authenticate"] == "Bearer"
    opened = {name for name, codes in found.items() if codes != {401}}
    assert opened == {f"GET {path}" for path in OPEN} | {"GET /jobs/stream"}, found
    assert found["GET /jobs/stream"] == {426}, "it says only that it is a WebSocket"
    for each in headers:
        with pytest.raises(InvalidStatus) as refused:
            await world.stream(each)
        assert refused.value.response.status_code == 401
        assert refused.value.response.headers["www-authenticate"] == "Bearer"


def a_body(tenant: Tenant) -> dict[str, Any]:
    return {"image": "busybox", "namespace": tenant.home}


async def accepts(world: World, token: str) -> bool:
    answer = await world.http.post("/jobs/stream/ticket", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code in (201, 401), answer.text
    return answer.status_code == 201


async def test_who_is_not_accepted_is_told_so_whatever_the_body_is(world: World) -> None:
    bodies = {
        "no JSON": (b"{", "application/json"),
        "no job": (b"{}", "application/json"),
        "YAML": (b"image: busybox", "application/yaml"),
        "too large": (b" " * (BODY_MAX + 1), "application/json"),
    }
    found = {}
    for name, (body, kind) in bodies.items():
        headers = {"Authorization": "Bearer garbage", "Content-Type": kind}
        found[name] = Refusal.of(await world.http.post("/jobs/", content=body, headers=headers))
    assert found == dict.fromkeys(bodies, Refusal(401, "unauthenticated", ()))


async def test_what_is_done_in_the_cluster_is_done_by_the_caller_itself(world: World, tenant: Tenant) -> None:
    await known(world, tenant)
    answer = await world.http.post("/jobs/", json=a_body(tenant) | {"name": "mine"}, headers=tenant.headers)
    assert answer.status_code == 201, answer.text
    path = f"/jobs/{answer.json()['id']}"
    assert (await world.http.get(path, headers=tenant.headers)).json()["name"] == "mine"
    assert (await world.http.patch(f"{path}/cancel", headers=tenant.headers)).status_code == 200
    reader = a_tenant(tenant.cluster, tenant.home)
    reader.may(tenant.home, ("get,list,watch", "taskjobs.taskjobs.dev"))
    await known(world, reader)
    refused = [
        await world.http.patch(f"{path}/cancel", headers=reader.headers),
        await world.http.post("/jobs/", json=a_body(tenant), headers=reader.headers),
    ]
    who = f"system:serviceaccount:{tenant.home}:{reader.name}"
    for answer, verb in zip(refused[1:], ("create",), strict=True):
        assert Refusal.of(answer) == Refusal(403, "forbidden", ())
        assert f'User "{who}" cannot {verb} resource "taskjobs"' in answer.json()["detail"]
    # It is being cancelled already, so there is nothing to write, and nothing to be refused.
    assert refused[0].status_code == 200
    other = await world.http.post("/jobs/", json=a_body(tenant) | {"name": "other"}, headers=tenant.headers)
    answer = await world.http.patch(f"/jobs/{other.json()['id']}/cancel", headers=reader.headers)
    assert Refusal.of(answer) == Refusal(403, "forbidden", ())
    assert f'User "{who}" cannot patch resource "taskjobs"' in answer.json()["detail"]


async def test_tokens_have_to_be_meant_for_the_audience_that_is_asked_for(
    cluster: Cluster, database_url: str, tenant: Tenant
) -> None:
    for_both = replace(tenant, token=token_of(cluster, tenant.home, tenant.name, ["taskjobs", API_SERVER]))
    for_us = replace(tenant, token=token_of(cluster, tenant.home, tenant.name, ["taskjobs"]))
    async with a_world(cluster.kubeconfig, database_url, judged=Judged(audiences=("taskjobs",))) as world:
        await known(world, for_both)
        codes = {}
        for name, one in (("for both", for_both), ("for us", for_us), ("for the API server", tenant)):
            codes[name] = [
                (await world.http.get("/jobs/", headers=one.headers)).status_code,
                (await world.http.post("/jobs/", json=a_body(tenant), headers=one.headers)).status_code,
            ]
        # What is done in the cluster is for the API server to judge too, and that asks for its own audience.
        assert codes == {"for both": [200, 201], "for us": [200, 401], "for the API server": [401, 401]}


async def test_however_many_tokens_are_tried_no_more_is_remembered_than_the_limit(world: World) -> None:
    reviews = world.guard.reviews
    assert reviews is not None
    reviews.identities._limit = 20
    for n in range(100):
        answer = await world.http.get("/jobs/", headers={"Authorization": f"Bearer garbage-{n}"})
        assert answer.status_code == 401
        assert len(reviews.identities) <= 20
    assert len(reviews.decisions) == 0


# ---------------------------------------------------------------- the API server is away, or lets us not ask
async def test_without_the_api_server_nothing_is_shown_and_streams_end(
    cluster: Cluster, database_url: str, tenant: Tenant, tmp_path: Path
) -> None:
    async with Relay(cluster.server) as relay:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(cluster.kubeconfig.read_text().replace(cluster.server, relay.url))
        async with a_world(kubeconfig, database_url, judged=Judged(keep_seconds=0.5)) as world:
            await known(world, tenant)
            live, past = await two_jobs(world, tenant)
            paths = [
                "/jobs/",
                f"/jobs/?namespace={tenant.home}",
                live,
                past,
                f"{past}/logs",
                f"{past}/logs?follow=true",
            ]
            for path in paths:
                assert (await world.http.get(path, headers=tenant.headers)).status_code == 200, path
            stream = await world.listening(tenant.headers)
            await relay.cut()
            code, reason = await stream.closed()
            assert (code, "API server does not answer" in reason) == (1013, True), reason
            answers = [await world.http.get(path, headers=tenant.headers) for path in paths]
            answers += [
                await world.http.post("/jobs/", json=a_body(tenant), headers=tenant.headers),
                await world.http.post("/jobs/stream/ticket", headers=tenant.headers),
                await world.http.patch(f"{live}/cancel", headers=tenant.headers),
                await world.http.get("/jobs/", headers={"Authorization": "Bearer garbage"}),
            ]
            assert [Refusal.of(answer) for answer in answers] == [Refusal(503, "unavailable", ())] * len(answers)
            assert all("retry-after" in answer.headers for answer in answers)
            with pytest.raises(InvalidStatus) as refused:
                await world.stream(tenant.headers)
            assert refused.value.response.status_code == 503
            await relay.mend()
            assert (await world.http.get("/jobs/", headers=tenant.headers)).status_code == 200


async def two_jobs(world: World, tenant: Tenant) -> tuple[str, str]:
    """The paths of a job in the cluster, and of one that has left and whose log was kept."""
    made = await world.http.post("/jobs/", json=a_body(tenant), headers=tenant.headers)
    assert made.status_code == 201, made.text
    past = f"past-{tenant.name}"
    story = a_story(a_job("past").with_uid(past).in_namespace(tenant.home), *FULL)
    log = Log(AttemptId(Uid(past), 0, 0, 1), "main", b"done\n", 5)
    await world.tell(*story[:-1], replace(story[-1], gone_at=at(9)), logs=(log,))
    return f"/jobs/{made.json()['id']}", f"/jobs/{past}"


async def all_of_it(world: World, tenant: Tenant) -> set[int]:
    """The codes of everything that a tenant does."""
    made = await world.http.post("/jobs/", json=a_body(tenant), headers=tenant.headers)
    path = f"/jobs/{made.json().get('id', NOBODY)}"
    answers = [
        made,
        await world.http.get("/jobs/", headers=tenant.headers),
        await world.http.get(f"/jobs/?namespace={tenant.home}", headers=tenant.headers),
        await world.http.get(path, headers=tenant.headers),
        await world.http.get(f"/jobs/past-{tenant.name}", headers=tenant.headers),
        await world.http.get(f"/jobs/past-{tenant.name}/logs", headers=tenant.headers),
        await world.http.patch(f"{path}/cancel", headers=tenant.headers),
        await world.http.post("/jobs/stream/ticket", headers=tenant.headers),
        await world.http.get("/readyz"),
    ]
    ticket = answers[-2].json().get("ticket", "")
    try:
        await (await world.stream(snapshot="true", ticket=ticket)).next_of("SNAPSHOT")
    except InvalidStatus as refused:
        return {answer.status_code for answer in answers} | {refused.response.status_code}
    return {answer.status_code for answer in answers}


async def test_the_charts_role_is_all_that_the_api_needs_and_no_more(
    cluster: Cluster, database_url: str, tenant: Tenant, tmp_path: Path
) -> None:
    home = tenant.home
    objects = of_the_api(home)
    assert [found["kind"] for found in objects].count("ClusterRole") == 1
    apply(cluster, objects)
    kubeconfig = kubeconfig_of(cluster, home, API, tmp_path / "kubeconfig")
    async with a_world(kubeconfig, database_url, judged=Judged(keep_seconds=0)) as world:
        await known(world, tenant)
        await two_jobs(world, tenant)
        assert await all_of_it(world, tenant) == {200, 201}
        for missing in ("tokenreviews", "subjectaccessreviews"):
            less = [deprived(found, missing) for found in objects]
            apply(cluster, less)

            async def is_told(missing: str = missing) -> bool:
                answer = await world.http.get("/jobs/", headers=tenant.headers)
                return answer.status_code == 503 and f"grant its account to create {missing}" in answer.text

            await eventually(is_told, f"it says that it may not create {missing}")


def deprived(found: dict[str, Any], resource: str) -> dict[str, Any]:
    if found["kind"] != "ClusterRole":
        return found
    return found | {"rules": [rule for rule in found["rules"] if resource not in rule["resources"]]}


# ---------------------------------------------------------------- secrets
async def test_no_token_and_no_ticket_gets_into_a_log_or_an_answer(
    cluster: Cluster, database_url: str, tenant: Tenant, tmp_path: Path
) -> None:
    """The process itself, at its most talkative, while everything is refused that can be."""
    writer = HistoryWriter(database_url)
    await writer.open(1)
    await writer.close()
    async with Relay(cluster.server) as relay:
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(cluster.kubeconfig.read_text().replace(cluster.server, relay.url))
        async with started(
            TASKJOBS_DATABASE_URL=database_url,
            TASKJOBS_KUBECONFIG=str(kubeconfig),
            TASKJOBS_API_PORT="0",
            TASKJOBS_LOG_LEVEL="DEBUG",
            TASKJOBS_ACCESS_CACHE_SECONDS="0",
        ) as process:
            line = await said_at_start(process)
            while "the API answers at" not in line:
                line = await said_at_start(process)
            assert "callers send a bearer token" in line
            url = line.split(" answers at ")[1].split()[0]
            secrets = [tenant.token, tenant.token + "x", "garbage-token-7f3a9", "a b garbage-token", "x" * 20_000]
            answers: list[str] = []
            async with httpx.AsyncClient(base_url=url, timeout=20) as http:
                ticket = (await http.post("/jobs/stream/ticket", headers=tenant.headers)).json()["ticket"]
                for _ in range(2):
                    for secret in secrets:
                        headers = {"Authorization": f"Bearer {secret}"}
                        for method, path in (
                            ("GET", "/jobs/"), ("GET", f"/jobs/{NOBODY}"), ("POST", "/jobs/"), ("GET", "/nowhere"),
                            ("PATCH", f"/jobs/{NOBODY}/cancel"), ("GET", f"/jobs/{NOBODY}/logs"), ("PUT", "/jobs/"),
                            ("POST", "/jobs/stream/ticket"),
                        ):  # fmt: skip
                            body = a_body(tenant) if method == "POST" else None
                            answers.append((await http.request(method, path, headers=headers, json=body)).text)
                        if len(secret) < 8192:  # uvicorn lets a longer line of a WebSocket's request hang
                            answers.append(await refused_stream(url, headers))
                    answers.append(await refused_stream(url, {}, ticket=ticket, foo="1"))
                    answers.append(await refused_stream(url, {}, ticket=ticket))
                    await relay.cut()
            process.terminate()
            assert process.stderr is not None
            log = (await process.stderr.read()).decode()
    found = [secret for secret in (*secrets, ticket) if secret[-60:] in log]
    assert found == []
    assert cluster.token.strip() not in log
    assert not [answer for answer in answers for secret in (*secrets, ticket) if secret[-60:] in answer]
    assert "history can be read" in log, "it said something"


async def refused_stream(url: str, headers: dict[str, str], **query: str) -> str:
    address = f"ws{url.removeprefix('http')}/jobs/stream?" + "&".join(f"{k}={v}" for k, v in query.items())
    try:
        async with connect(address, additional_headers=headers) as socket:
            return str(await socket.recv())
    except InvalidStatus as refused:
        return str(refused.response.body)
