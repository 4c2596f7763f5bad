"""Tickets for browsers' streams: one use, at whichever replica, for minutes, and no secret in the table."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
from websockets.exceptions import InvalidStatus

from api_world import Judged, Stream, World, a_world
from taskjob.history.reader import HistoryReader
from taskjob.history.writer import HistoryWriter
from taskjob_api.problems import Kind, Problem
from taskjob_api.reviews import User
from taskjob_api.tickets import STREAM_SECONDS, TICKET_SECONDS, TICKETS_OF_ONE, Tickets
from taskjob_cluster import Cluster
from tenants import Tenant, known

pytestmark = pytest.mark.cluster


@pytest.fixture
async def two_replicas(cluster: Cluster, database_url: str) -> AsyncIterator[list[World]]:
    async with AsyncExitStack() as stack:
        worlds = (a_world(cluster.kubeconfig, database_url, judged=Judged()) for _ in range(2))
        yield [await stack.enter_async_context(world) for world in worlds]


@pytest.fixture
async def readers(database_url: str) -> AsyncIterator[list[HistoryReader]]:
    """Two replicas' connections to a history that is set up."""
    writer = HistoryWriter(database_url)
    await writer.open(1)
    async with HistoryReader(database_url) as one, HistoryReader(database_url) as other:
        yield [one, other]
    await writer.close()


async def connects(world: World, ticket: str) -> int:
    """The HTTP status of opening the stream with a ticket."""
    try:
        await world.stream(ticket=ticket)
    except InvalidStatus as refused:
        return refused.response.status_code
    return 101


async def test_a_ticket_of_one_replica_opens_one_stream_at_another(two_replicas: list[World], tenant: Tenant) -> None:
    for world in two_replicas:
        await known(world, tenant)
    for giver, taker in (two_replicas, two_replicas[::-1]):
        answer = await giver.http.post("/jobs/stream/ticket", headers=tenant.headers)
        ticket = answer.json()["ticket"]
        assert [await connects(taker, ticket), await connects(giver, ticket)] == [101, 401]


async def test_of_many_who_show_one_ticket_at_once_one_is_let_in(two_replicas: list[World], tenant: Tenant) -> None:
    await known(two_replicas[0], tenant)
    ticket = (await two_replicas[0].http.post("/jobs/stream/ticket", headers=tenant.headers)).json()["ticket"]
    codes = await asyncio.gather(*(connects(world, ticket) for world in two_replicas * 4))
    assert sorted(codes) == [101] + [401] * 7


async def test_the_caller_of_a_ticket_is_who_it_was_given_to(readers: list[HistoryReader]) -> None:
    one, other = (Tickets(reader) for reader in readers)
    groups, extra = ("system:authenticated", 'of, "quotes"'), {"b": ("2", "3"), "a": ()}
    users = [User("somebody"), User("x" * 5000, "uid", groups, extra), None]
    tickets = [await one.issue(user) for user in users]
    assert len(set(tickets)) == len(tickets)
    assert all(len(ticket) >= 43 for ticket in tickets), "256 bits"
    callers = [await other.redeem(ticket) for ticket in tickets]
    assert [caller.user for caller in callers] == users
    assert all(caller.token is None for caller in callers), "nobody acts in the cluster by a ticket"
    assert len({caller.key for caller in callers}) == len(callers), "what is remembered of one is not told another"
    for made_up in ("", "made-up", tickets[0]):
        with pytest.raises(Problem, match="not valid") as refused:
            await other.redeem(made_up)
        assert refused.value.kind is Kind.UNAUTHENTICATED


async def test_a_ticket_is_taken_within_its_seconds_only_and_then_leaves_the_table(
    readers: list[HistoryReader], database_url: str
) -> None:
    tickets = Tickets(readers[0])
    late = await tickets.issue(User("a"))
    connection = await asyncpg.connect(database_url)
    left = await connection.fetchval("SELECT extract(epoch FROM expires_at - now()) FROM tickets")
    assert TICKET_SECONDS - 10 < left <= TICKET_SECONDS
    await connection.execute("UPDATE tickets SET expires_at = now()")
    with pytest.raises(Problem, match="not valid"):
        await tickets.redeem(late)
    await tickets.issue(User("a"))
    await connection.execute("UPDATE tickets SET expires_at = now()")
    await tickets.issue(User("a"))
    assert await connection.fetchval("SELECT count(*) FROM tickets") == 1
    await connection.close()


async def test_one_caller_does_not_take_the_tickets_of_all(readers: list[HistoryReader]) -> None:
    tickets, greedy = Tickets(readers[0]), User("greedy", extra={"of": ("one", "token")})
    for _ in range(TICKETS_OF_ONE):
        await tickets.issue(greedy)
    with pytest.raises(Problem, match="tickets of yours") as refused:
        await tickets.issue(greedy)
    assert refused.value.kind is Kind.UNAVAILABLE
    await tickets.redeem(await tickets.issue(User("another")))


async def test_neither_a_token_nor_a_ticket_stands_in_the_table(
    two_replicas: list[World], tenant: Tenant, database_url: str
) -> None:
    await known(two_replicas[0], tenant)
    ticket = (await two_replicas[0].http.post("/jobs/stream/ticket", headers=tenant.headers)).json()["ticket"]
    connection = await asyncpg.connect(database_url)
    ((row,),) = await connection.fetch("SELECT tickets::text FROM tickets")
    await connection.close()
    assert f"system:serviceaccount:{tenant.home}:{tenant.name}" in row
    for secret in (ticket, ticket.encode().hex(), *tenant.token.split(".")):
        assert secret not in row


async def test_a_stream_by_a_ticket_ends_with_the_right_and_after_minutes(
    cluster: Cluster, tenant: Tenant, database_url: str
) -> None:
    ahead = 0.0
    async with a_world(
        cluster.kubeconfig, database_url, judged=Judged(), clock=lambda: time.monotonic() + ahead
    ) as world:
        await known(world, tenant)

        async def a_stream(**query: Any) -> Stream:
            ticket = (await world.http.post("/jobs/stream/ticket", headers=tenant.headers)).json()["ticket"]
            return await world.stream(ticket=ticket, **query)

        lasting, of_the_namespace = await a_stream(), await a_stream(namespace=tenant.home)
        tenant.may_not(tenant.home, "taskjobs")
        code, reason = await of_the_namespace.closed()
        assert (code, "may not watch" in reason) == (1008, True), reason
        ahead = STREAM_SECONDS
        code, reason = await lasting.closed()
        assert (code, "new ticket" in reason) == (1008, True), reason
