"""Every refusal of the API by its status, its kind and the field that it names."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api_server import a_taskjob
from api_world import NOBODY, Refusal, World, a_world
from taskjob.history.cursors import _write
from taskjob_api.bodies import BODY_MAX
from taskjob_cluster import Cluster

pytestmark = pytest.mark.cluster


@pytest.fixture
async def world(cluster: Cluster, database_url: str) -> AsyncIterator[World]:
    async with a_world(cluster.kubeconfig, database_url) as world:
        yield world


def short(**fields: Any) -> bytes:
    return json.dumps({"image": "busybox", **fields}).encode()


def manifest(name: str = "m", metadata: dict[str, Any] | None = None, **spec: Any) -> bytes:
    body = a_taskjob(name, **spec)
    body["metadata"] |= metadata or {}
    return json.dumps(body).encode()


JSON = "application/json"
REFUSED: dict[str, tuple[bytes, str, Refusal]] = {
    "not JSON": (b"{", JSON, Refusal(400, "malformed", ())),
    "not UTF-8": (b'{"image": "\xff"}', JSON, Refusal(400, "malformed", ())),
    "not an object": (b"[]", JSON, Refusal(400, "malformed", ())),
    "nothing": (b"", JSON, Refusal(400, "malformed", ())),
    "NaN": (b'{"image": NaN}', JSON, Refusal(400, "malformed", ())),
    "a field twice": (b'{"image": "a", "image": "b"}', JSON, Refusal(400, "malformed", ())),
    "nested without end": (b"[" * 100_000, JSON, Refusal(400, "malformed", ())),
    "YAML": (b"image: busybox", "application/yaml", Refusal(415, "not-json", ())),
    "no type": (short(), "", Refusal(415, "not-json", ())),
    "too large": (short(args=["x" * BODY_MAX]), JSON, Refusal(413, "too-large", ())),
    "short: no image": (b"{}", JSON, Refusal(422, "invalid", ("image",))),
    "short: unknown field": (short(foo=1), JSON, Refusal(422, "invalid", ("foo",))),
    "short: name": (short(name="Not A Name"), JSON, Refusal(422, "invalid", ("name",))),
    "short: namespace": (short(namespace="a/b"), JSON, Refusal(422, "invalid", ("namespace",))),
    "short: cpu": (short(cpu="much"), JSON, Refusal(422, "invalid", ("cpu",))),
    "short: memory": (short(memory=-1), JSON, Refusal(422, "invalid", ("memory",))),
    "short: priority": (short(priority="Urgent"), JSON, Refusal(422, "invalid", ("priority",))),
    "short: retries": (short(retries=1001), JSON, Refusal(422, "invalid", ("retries",))),
    "short: retries as text": (short(retries="3"), JSON, Refusal(422, "invalid", ("retries",))),
    "short: timeout": (short(timeoutSeconds=0), JSON, Refusal(422, "invalid", ("timeoutSeconds",))),
    "short: dependency": (short(dependsOn=["A"]), JSON, Refusal(422, "invalid", ("dependsOn[0]",))),
    "short: itself": (short(name="a", dependsOn=["a"]), JSON, Refusal(422, "invalid", ("dependsOn[0]",))),
    "short: twice": (short(dependsOn=["a", "a"]), JSON, Refusal(422, "invalid", ("dependsOn[1]",))),
    "short: env": (short(env={"A": 1}), JSON, Refusal(422, "invalid", ("env.A",))),
    "short: label": (short(labels={"a": "not a value!"}), JSON, Refusal(422, "invalid", ("labels",))),
    "short: no such namespace": (short(namespace="nowhere"), JSON, Refusal(404, "not-found", ("namespace",))),
    "several fields": (short(retries=-1, foo=1), JSON, Refusal(422, "invalid", ("retries", "foo"))),
    "manifest: another kind": (
        b'{"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"image": "a"}}',
        JSON,
        Refusal(422, "invalid", ("apiVersion", "kind")),
    ),
    "manifest: retry.limit": (
        manifest(retry={"limit": -1}),
        JSON,
        Refusal(422, "invalid", ("spec.retry.limit",)),
    ),
    "manifest: unknown field": (manifest(foo=1), JSON, Refusal(422, "invalid", ("spec.foo",))),
    "manifest: nothing to run": (manifest(image=None), JSON, Refusal(422, "invalid", ("spec",))),
    "manifest: an unknown field of the pod": (
        manifest(image=None, template={"spec": {"containers": [{"name": "a", "image": "b", "imige": "c"}]}}),
        JSON,
        Refusal(422, "invalid", ("spec.template.spec.containers[0].imige",)),
    ),
    "manifest: a wrong type in the pod": (
        manifest(image=None, template={"spec": {"containers": [{"name": "a", "image": 7}]}}),
        JSON,
        Refusal(422, "invalid", ("spec.template.spec.containers[0].image",)),
    ),
    "manifest: namespace": (
        manifest(metadata={"namespace": "../x"}),
        JSON,
        Refusal(422, "invalid", ("metadata.namespace",)),
    ),
    "manifest: no such namespace": (
        manifest(metadata={"namespace": "nowhere"}),
        JSON,
        Refusal(404, "not-found", ("metadata.namespace",)),
    ),
    "manifest: a label": (
        manifest(metadata={"labels": {"a": "b c"}}),
        JSON,
        Refusal(422, "invalid", ("metadata.labels",)),
    ),
}


async def test_every_bad_body_is_refused_by_its_status_and_its_field(world: World) -> None:
    found = {}
    for name, (body, kind, _) in REFUSED.items():
        headers = {"Content-Type": kind} if kind else {}
        found[name] = Refusal.of(await world.http.post("/jobs/", content=body, headers=headers))
    assert found == {name: expected for name, (_, _, expected) in REFUSED.items()}


async def test_a_body_without_a_declared_length_is_bounded_too(world: World) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(2 * BODY_MAX // 65_536):
            yield b" " * 65_536

    response = await world.http.post("/jobs/", content=endless(), headers={"Content-Type": JSON})
    assert Refusal.of(response) == Refusal(413, "too-large", ())


GETS: dict[str, Refusal] = {
    f"/jobs/{NOBODY}": Refusal(404, "not-found", ("job_id",)),
    f"/jobs/{'a' * 65}": Refusal(422, "invalid", ("job_id",)),
    "/jobs/a%20b": Refusal(422, "invalid", ("job_id",)),
    f"/jobs/{NOBODY}?verbose=1": Refusal(422, "invalid", ("verbose",)),
    f"/jobs/{NOBODY}/logs": Refusal(404, "not-found", ("job_id",)),
    f"/jobs/{NOBODY}/logs?tail=-1": Refusal(422, "invalid", ("tail",)),
    f"/jobs/{NOBODY}/logs?attempt=0": Refusal(422, "invalid", ("attempt",)),
    f"/jobs/{NOBODY}/logs?since=yesterday": Refusal(422, "invalid", ("since",)),
    f"/jobs/{NOBODY}/logs?since=2026-01-01T00:00:00": Refusal(422, "invalid", ("since",)),
    f"/jobs/{NOBODY}/logs?container=A": Refusal(422, "invalid", ("container",)),
    f"/jobs/{NOBODY}/logs?follow=perhaps": Refusal(422, "invalid", ("follow",)),
    "/jobs/?limit=0": Refusal(422, "invalid", ("limit",)),
    "/jobs/?limit=501": Refusal(422, "invalid", ("limit",)),
    "/jobs/?limit=all": Refusal(422, "invalid", ("limit",)),
    "/jobs/?limit=1&limit=2": Refusal(422, "invalid", ("limit",)),
    "/jobs/?cursor=zzz": Refusal(400, "bad-cursor", ("cursor",)),
    f"/jobs/?cursor={'a' * 513}": Refusal(422, "invalid", ("cursor",)),
    "/jobs/?foo=1&bar=2": Refusal(422, "invalid", ("foo", "bar")),
    "/jobs/?phase=Done": Refusal(422, "invalid", ("phase[0]",)),
    "/jobs/?priority=1.5": Refusal(422, "invalid", ("priority",)),
    "/jobs/?label=team": Refusal(422, "invalid", ("label[0]",)),
    "/jobs/?label=a=1&label=a=2": Refusal(422, "invalid", ("label",)),
    "/jobs/?createdAfter=now": Refusal(422, "invalid", ("createdAfter",)),
    "/jobs/?createdAfter=1767225600": Refusal(422, "invalid", ("createdAfter",)),
    "/jobs/?createdAfter=2026-01-01T00:00:00": Refusal(422, "invalid", ("createdAfter",)),
    "/jobs/?created_after=2026-01-01T00:00:00Z": Refusal(422, "invalid", ("created_after",)),
    "/jobs/?createdAfter=0001-01-01T00:00:00%2B14:00": Refusal(422, "invalid", ("createdAfter",)),
    "/jobs/?createdBefore=9999-12-31T23:59:59-14:00": Refusal(422, "invalid", ("createdBefore",)),
    f"/jobs/?cursor={_write([0, chr(0)])}": Refusal(400, "bad-cursor", ("cursor",)),
    f"/jobs/{NOBODY}/logs?since=0001-01-01T00:00:00%2B14:00": Refusal(422, "invalid", ("since",)),
    "/jobs/stream": Refusal(426, "upgrade-required", ()),
    "/jobs": Refusal(404, "not-found", ()),
    "/nowhere": Refusal(404, "not-found", ()),
}


async def test_odd_texts_are_looked_for_and_not_found(world: World) -> None:
    for query in ("name=%00", "label=a%00=b", "namespace=%ED%A0%80", "queue=%FF", "group=%00"):
        response = await world.http.get(f"/jobs/?{query}")
        assert (response.status_code, response.json()) == (200, {"items": [], "next": None}), query


async def test_every_bad_query_is_refused_by_its_status_and_its_parameter(world: World) -> None:
    found = {path: Refusal.of(await world.http.get(path)) for path in GETS}
    assert found == GETS


async def test_other_refusals(world: World) -> None:
    found = [
        Refusal.of(await world.http.delete("/jobs/")),
        Refusal.of(await world.http.patch(f"/jobs/{NOBODY}/cancel")),
        Refusal.of(await world.http.get("/jobs/", headers={"Host": "attacker.example"})),
        Refusal.of(await world.http.get("/jobs/", headers={"Origin": "https://attacker.example"})),
    ]
    assert (await world.http.delete("/jobs/")).headers["allow"] == "GET, POST"
    assert (await world.http.post(f"/jobs/{NOBODY}")).headers["allow"] == "GET"
    assert found == [
        Refusal(405, "method-not-allowed", ()),
        Refusal(404, "not-found", ("job_id",)),
        Refusal(403, "forbidden", ()),
        Refusal(403, "forbidden", ()),
    ]
