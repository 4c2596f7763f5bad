"""`WS /jobs/stream` at the instants that no test on a real PostgreSQL meets by itself."""

from __future__ import annotations

import asyncio

import pytest

from stream_world import PATIENCE_SECONDS, History, a_stream_world

JOBS = 1100  # three pages


# ---------------------------------------------------------------- a snapshot that breaks off
@pytest.mark.parametrize("pages", [1, 2])
async def test_who_leaves_within_a_snapshot_is_shown_all_jobs_on_coming_back(pages: int) -> None:
    async with a_stream_world(History(JOBS)) as world:
        first = world.visit(most=pages, snapshot="true")
        await first.read(pages)
        await first.leave()
        again = world.visit(cursor=first.cursor)
        await again.read(5)
        assert again.types == ["RESET", "SNAPSHOT", "SNAPSHOT", "SNAPSHOT", "HEARTBEAT"]
        assert "snapshot" in again.frames[0]["reason"]
        assert len(again.jobs) == JOBS
        await again.leave()
        last = world.visit(cursor=again.frames[3]["cursor"])
        await last.read(1)
        assert last.types == ["HEARTBEAT"], "it has all: the last page's cursor is one to go on from"


async def test_a_reset_after_which_history_fails_is_told_anew_to_who_comes_back_with_its_cursor() -> None:
    async with a_stream_world(History(3)) as world:
        world.history.away = {"jobs"}
        first = world.visit(cursor="unknown")
        await first.until(lambda: first.closed is not None)
        assert first.types == ["RESET"]
        assert first.closed is not None
        assert first.closed[0] == 1013
        world.history.away = set()
        again = world.visit(cursor=first.cursor)
        await again.read(3)
        assert again.types == ["RESET", "SNAPSHOT", "HEARTBEAT"]
        assert len(again.jobs) == 3


async def test_who_may_watch_and_not_list_is_reset_once_and_hears_what_comes() -> None:
    async with a_stream_world(History(3), "watch") as world:
        first = world.visit(cursor="unknown", namespace="n")
        await first.read(2)
        assert (first.types, first.closed) == (["RESET", "HEARTBEAT"], None)
        for frame in first.frames:
            again = world.visit(cursor=frame["cursor"], namespace="n")
            await again.read(1)
            assert again.types == ["HEARTBEAT"], f"the cursor of a {frame['type']} is one to go on from"


# ---------------------------------------------------------------- many at once
async def test_of_many_who_come_at_once_no_more_are_let_in_than_are_allowed() -> None:
    async with a_stream_world(clients=2) as world:
        world.reviews.gate.clear()
        visits = [world.visit() for _ in range(5)]
        await asyncio.sleep(0)
        world.reviews.gate.set()
        assert sorted([await visit.let_in_or_not() for visit in visits]) == [101, 101, 503, 503, 503]
        assert await world.visit().let_in_or_not() == 503
        for visit in visits:
            await visit.leave()
        visits = [world.visit() for _ in range(3)]
        assert sorted([await visit.let_in_or_not() for visit in visits]) == [101, 101, 503], "the seats are free again"


async def test_whoever_is_refused_takes_nobodys_seat() -> None:
    async with a_stream_world(History(), "list", clients=1) as world:
        assert [await world.visit(namespace="n").let_in_or_not() for _ in range(3)] == [403] * 3
        world.reviews.verbs = ("watch",)
        assert await world.visit(namespace="n").let_in_or_not() == 101


async def test_whoever_is_still_being_asked_about_takes_nobodys_seat() -> None:
    async with a_stream_world(clients=1) as world:
        world.reviews.strangers.clear()
        made_up = [world.visit() for _ in range(3)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            for _ in made_up:
                await world.reviews.asked.acquire()
        assert await world.visit(ticket="t").let_in_or_not() == 101
        world.reviews.strangers.set()
        assert [await visit.let_in_or_not() for visit in made_up] == [503] * 3


async def test_a_ticket_is_not_spent_on_a_refusal_that_has_nothing_to_do_with_it() -> None:
    async with a_stream_world(clients=1) as world:
        assert await world.visit(ticket="t", phase="Done").let_in_or_not() == 422
        first = world.visit()
        assert await first.let_in_or_not() == 101
        assert await world.visit(ticket="t").let_in_or_not() == 503
        assert world.history.redeemed == []
        await first.leave()
        assert await world.visit(ticket="t").let_in_or_not() == 101
        assert len(world.history.redeemed) == 1


async def test_a_client_whose_place_is_not_known_yet_does_not_lag() -> None:
    async with a_stream_world() as world:
        world.history.gate.clear()
        waiting = world.visit()
        assert await waiting.let_in_or_not() == 101
        assert world.hub.lag() == 0
        world.history.gate.set()
        await waiting.read(1)
        assert (len(world.hub.followers), world.hub.lag()) == (1, 0)
