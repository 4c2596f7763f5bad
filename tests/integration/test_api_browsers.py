"""The API in a browser: tickets for streams, origins, and the headers that keep pages of elsewhere out."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from websockets.exceptions import InvalidStatus

from api_world import Judged, World, a_world
from taskjob_cluster import Cluster
from tenants import Tenant, known

pytestmark = pytest.mark.cluster
OURS = "https://jobs.example.org"


@pytest.fixture
async def world(cluster: Cluster, database_url: str) -> AsyncIterator[World]:
    async with a_world(cluster.kubeconfig, database_url, judged=Judged(origins=(OURS,))) as world:
        yield world


async def test_a_ticket_opens_one_stream_and_only_to_pages_of_a_named_origin(world: World, tenant: Tenant) -> None:
    await known(world, tenant)

    async def a_ticket() -> str:
        answer = await world.http.post("/jobs/stream/ticket", headers=tenant.headers)
        assert (answer.status_code, answer.json()["expiresInSeconds"]) == (201, 30)
        assert answer.headers["cache-control"] == "no-store"
        ticket: str = answer.json()["ticket"]
        return ticket

    async def code(origin: str | None, ticket: str, headers: dict[str, str] | None = None) -> int:
        said = {**(headers or {}), **({"Origin": origin} if origin else {})}
        try:
            await world.stream(said, **({"ticket": ticket} if ticket else {}))
        except InvalidStatus as refused:
            return refused.response.status_code
        return 101

    ticket = await a_ticket()
    assert [await code(OURS, ticket), await code(OURS, ticket)] == [101, 401]
    for origin in ("https://evil.example", f"{OURS}.evil.example", "http://jobs.example.org", "null", world.url):
        ticket = await a_ticket()
        assert await code(origin, ticket) == 403, origin
        assert await code(origin, "", tenant.headers) == 403, "with a header neither"
        assert await code(OURS, ticket) == 101, "a ticket that was not looked at is not used up"
    assert await code(None, await a_ticket()) == 101, "no browser, no origin"
    assert await code(OURS, "made-up") == 401
    assert await code(OURS, "made-up", tenant.headers) == 401, "a wrong ticket is not made good by a token"
    assert (await world.http.post("/jobs/stream/ticket?ticket=x", headers=tenant.headers)).status_code == 422


async def test_pages_of_other_origins_are_not_let_in_by_cors(
    world: World, tenant: Tenant, cluster: Cluster, database_url: str
) -> None:
    await known(world, tenant)
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    allowed = await world.http.options("/jobs/", headers={"Origin": OURS, **ask})
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, OURS)
    assert "access-control-allow-credentials" not in allowed.headers
    answer = await world.http.get("/jobs/", headers={**tenant.headers, "Origin": OURS})
    assert answer.headers["access-control-allow-origin"] == OURS
    for answer in (
        await world.http.options("/jobs/", headers={"Origin": "https://evil.example", **ask}),
        await world.http.get("/jobs/", headers={**tenant.headers, "Origin": "https://evil.example"}),
    ):
        assert "access-control-allow-origin" not in answer.headers
    async with a_world(cluster.kubeconfig, database_url, judged=Judged()) as closed:
        for answer in (
            await closed.http.options("/jobs/", headers={"Origin": OURS, **ask}),
            await closed.http.get("/jobs/", headers={**tenant.headers, "Origin": OURS}),
        ):
            assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_every_answer_is_sealed_against_browsers_guesses(world: World, tenant: Tenant) -> None:
    await known(world, tenant)
    answers = [
        await world.http.get("/jobs/", headers=tenant.headers),
        await world.http.get("/jobs/"),
        await world.http.get("/nowhere"),
        await world.http.get("/healthz"),
        await world.http.post("/jobs/", content=b"{", headers=tenant.headers | {"Content-Type": "application/json"}),
    ]
    with pytest.raises(InvalidStatus) as refused:
        await world.stream()
    for headers in (*(answer.headers for answer in answers), refused.value.response.headers):
        found = {name: headers.get(name) for name in SEALS}
        assert found == SEALS


async def test_the_page_of_the_docs_loads_nothing_from_elsewhere(world: World) -> None:
    page = await world.http.get("/docs")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert {name: page.headers[name] for name in SEALS if name != "content-security-policy"} == {
        name: value for name, value in SEALS.items() if name != "content-security-policy"
    }
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page.text)
    assert len(loaded) >= 3
    for url in loaded:
        assert url.startswith("/docs/static/"), url
        assert (await world.http.get(url)).status_code == 200, url


SEALS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}
