"""`WS /jobs/stream`: nothing missed, nothing twice, whatever becomes of the client, the API or history."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from websockets.exceptions import InvalidStatus

from api_world import Frame, Stream, World, a_world, eventually, steps, until
from builders import a_job
from history_stories import FULL, a_story, an_entry
from taskjob.core.model import Entry
from taskjob_api.service import StreamLimits
from taskjob_api.views import JobBrief, JobView
from taskjob_cluster import Cluster
from taskjob_cluster.postgres import Postgres

pytestmark = pytest.mark.cluster
PENDING, STARTING, RUNNING, SUCCEEDED = FULL


@pytest.fixture
async def world(cluster: Cluster, database_url: str) -> AsyncIterator[World]:
    async with a_world(cluster.kubeconfig, database_url) as world:
        yield world


def key(frame: Frame) -> tuple[str, str | None, str]:
    return (frame["job"]["id"], frame["from"], frame["to"])


async def collect(client: Stream, count: int) -> list[Frame]:
    return await client.transitions(count)


# ---------------------------------------------------------------- frames
async def test_a_client_hears_each_transition_with_the_job_as_it_was_after_it(world: World) -> None:
    client = await world.listening()
    await world.tell(*a_story("train", *FULL))
    frames = await client.transitions(4)
    assert steps(frames) == [
        ("train", None, "Pending"),
        ("train", "Pending", "Starting"),
        ("train", "Starting", "Running"),
        ("train", "Running", "Succeeded"),
    ]
    assert [frame["job"]["phase"] for frame in frames] == ["Pending", "Starting", "Running", "Succeeded"]
    assert all(set(frame) == {"type", "cursor", "at", "from", "to", "job"} for frame in frames)
    for frame in frames:
        JobBrief.model_validate(frame["job"])
    assert frames[0]["at"] == "2026-01-01T12:00:01Z"


async def test_a_client_hears_only_what_comes_after_it_without_cursor_and_snapshot(world: World) -> None:
    await world.tell(*a_story("before", *FULL))
    client = await world.listening()
    await world.tell(*a_story("after", PENDING))
    assert steps(await client.transitions(1)) == [("after", None, "Pending")]


async def test_a_heartbeat_carries_the_cursor_past_what_the_filter_keeps_away(world: World) -> None:
    client = await world.listening(queue="gpu")
    before = client.cursor
    await world.tell(*a_story("elsewhere", *FULL))
    while client.cursor == before:
        assert (await client.next())["type"] == "HEARTBEAT"
    other = await world.stream(cursor=client.cursor)
    await other.nothing()


async def test_a_snapshot_has_the_matching_jobs_and_then_what_comes(world: World) -> None:
    await world.tell(*a_story("done", *FULL), *a_story("waiting", PENDING))
    client = await world.stream(snapshot="true", phase="Pending")
    frame = await client.next_of("SNAPSHOT")
    assert ([job["name"] for job in frame["items"]], frame["last"]) == (["waiting"], True)
    JobView.model_validate(frame["items"][0])
    await world.tell(*a_story("another", PENDING))
    assert steps(await client.transitions(1)) == [("another", None, "Pending")]


async def test_a_large_snapshot_comes_in_pages(world: World) -> None:
    await world.tell(*(entry for n in range(1100) for entry in a_story(f"j{n:04}", PENDING)))
    client = await world.stream(snapshot="true")
    pages = [await client.next_of("SNAPSHOT") for _ in range(3)]
    assert [(len(page["items"]), page["last"]) for page in pages] == [(500, False), (500, False), (100, True)]
    assert len({job["id"] for page in pages for job in page["items"]}) == 1100
    within = await world.stream(cursor=pages[0]["cursor"])
    await within.next_of("RESET")
    again = [await within.next_of("SNAPSHOT") for _ in range(3)]
    assert [page["items"] for page in again] == [page["items"] for page in pages], "who left within it gets all of it"
    await (await world.stream(cursor=pages[-1]["cursor"])).nothing()


STREAM_FILTERS: dict[str, Any] = {
    "namespace": "a",
    "phase": ["Succeeded", "Running"],
    "queue": "gpu",
    "priority": "High",
    "group": "g",
    "label": ["team=x", "taskjobs.dev/group=g"],
    "name": "trai",
    "createdAfter": "2026-01-01T12:00:05Z",
    "createdBefore": "2026-01-01T12:00:05Z",
}


async def test_every_filter_lets_the_same_pass_live_and_on_coming_back(world: World) -> None:
    """Live, a transition is judged in memory; for a client that comes back from far away, by PostgreSQL."""
    clients = {name: await world.listening(**{name: value}) for name, value in STREAM_FILTERS.items()}
    begins = {name: client.cursor for name, client in clients.items()}
    grouped = a_job("train").created(1).in_queue("gpu").build()
    stories = [
        replace(grouped, labels=(("taskjobs.dev/group", "g"), ("team", "x"))),
        a_job("trains").created(6).of_priority("High").build(),
        a_job("other").created(9).in_namespace("a").build(),
    ]
    for job in stories:
        for n, (before, after) in enumerate(zip((None, *FULL), FULL, strict=False)):
            await world.tell(an_entry(job, before, after, n))
    await until(lambda: world.hub.seq >= 12, "the hub has read all")
    seq = world.hub.seq
    live = {name: await heard(client, seq) for name, client in clients.items()}
    world.hub._recent.clear()
    world.hub._floor = world.hub.seq  # as if it had been started only now
    back = {
        name: await heard(await world.stream(**{name: value}, cursor=begins[name]), seq)
        for name, value in STREAM_FILTERS.items()
    }
    assert back == live
    assert {name: len(found) for name, found in live.items()} == {
        "namespace": 4,
        "phase": 6,
        "queue": 4,
        "priority": 4,
        "group": 4,
        "label": 4,
        "name": 8,
        "createdAfter": 8,
        "createdBefore": 4,
    }


async def heard(client: Stream, seq: int) -> list[tuple[str, str | None, str]]:
    return [key(frame) for frame in await client.up_to(seq)]


# ---------------------------------------------------------------- coming back
async def test_a_client_that_is_killed_and_comes_back_hears_everything_once_while_history_grows(world: World) -> None:
    """Thirty times killed in the middle of flushes that go on all the time."""
    jobs, kills = 150, 30
    client = await world.listening()
    expected = {(f"uid-j{n:03}", before, after) for n in range(jobs) for before, after in zip_steps()}
    telling = asyncio.create_task(tell_all(world, jobs))
    found: list[tuple[str, str | None, str]] = []
    killed = 0
    while len(found) < len(expected):
        frame = await client.next_of("TRANSITION")
        found.append(key(frame))
        if killed < kills and len(found) % 17 == 0:
            client.kill()
            killed += 1
            client = await world.stream(cursor=client.cursor)
    await telling
    await client.nothing()
    assert len(found) == len(set(found)), "nothing twice"
    assert set(found) == expected, "nothing missed"
    assert killed == kills


def zip_steps() -> list[tuple[str | None, str]]:
    return [(None, "Pending"), ("Pending", "Starting"), ("Starting", "Running"), ("Running", "Succeeded")]


async def tell_all(world: World, jobs: int) -> None:
    """Each job's story in its order, the jobs' stories mixed, in flushes of ten entries."""
    stories = [a_story(f"j{n:03}", *FULL) for n in range(jobs)]
    pending: list[Entry] = []
    for step in range(len(FULL)):
        for story in stories:
            pending.append(story[step])
            if len(pending) == 10:
                await world.tell(*pending)
                pending.clear()
    await world.tell(*pending)


async def test_a_client_comes_back_to_another_process_with_its_cursor(cluster: Cluster, database_url: str) -> None:
    async with a_world(cluster.kubeconfig, database_url) as world:
        client = await world.listening()
        await world.tell(*a_story("one", *FULL))
        await client.transitions(2)
        cursor = client.cursor
        stopping = asyncio.create_task(world.stop())
        code, _ = await client.closed()
        assert code == 1012, "the service restarts: come back"
        await stopping
    async with a_world(cluster.kubeconfig, database_url) as world:
        await world.tell(*a_story("two", PENDING))
        again = await world.stream(cursor=cursor)
        assert steps(await again.transitions(3)) == [
            ("one", "Starting", "Running"),
            ("one", "Running", "Succeeded"),
            ("two", None, "Pending"),
        ]
        await again.nothing()


async def test_a_client_that_was_away_for_longer_than_is_kept_in_memory_misses_nothing(
    cluster: Cluster, database_url: str
) -> None:
    async with a_world(cluster.kubeconfig, database_url, kept=16) as world:
        client = await world.listening()
        cursor = client.cursor
        client.kill()
        await world.tell(*(entry for n in range(200) for entry in a_story(f"j{n:03}", *FULL)))
        again = await world.stream(cursor=cursor)
        frames = await again.transitions(800)
        assert len({key(frame) for frame in frames}) == 800


@pytest.mark.parametrize("cursor", ["nonsense", "AAAA", "%00", "a" * 500])
async def test_a_cursor_that_cannot_be_read_starts_anew(world: World, cursor: str) -> None:
    await world.tell(*a_story("here", PENDING))
    client = await world.stream(cursor=cursor)
    reset = await client.next_of("RESET")
    assert "cursor" in reset["reason"]
    snapshot = await client.next_of("SNAPSHOT")
    assert [job["name"] for job in snapshot["items"]] == ["here"]
    await world.tell(*a_story("next", PENDING))
    assert steps(await client.transitions(1)) == [("next", None, "Pending")]


async def test_a_new_incarnation_of_history_resets_a_connected_client_and_one_that_comes_back(
    world: World, database_url: str
) -> None:
    client = await world.listening()
    await world.tell(*a_story("lost", *FULL))
    await client.transitions(4)
    cursor = client.cursor
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "UPDATE meta SET incarnation = gen_random_uuid(); TRUNCATE transitions, jobs, attempts, logs"
        )
    finally:
        await connection.close()
    await world.tell(*a_story("found", PENDING))
    await client.next_of("RESET")
    snapshot = await client.next_of("SNAPSHOT")
    assert [job["name"] for job in snapshot["items"]] == ["found"]
    again = await world.stream(cursor=cursor)
    await again.next_of("RESET")
    assert [job["name"] for job in (await again.next_of("SNAPSHOT"))["items"]] == ["found"]
    await world.tell(*a_story("later", PENDING))
    for listener in (client, again):
        assert steps(await listener.transitions(1)) == [("later", None, "Pending")]


# ---------------------------------------------------------------- many and slow
async def test_a_client_that_does_not_read_is_told_where_to_come_back_and_then_misses_nothing(
    cluster: Cluster, database_url: str
) -> None:
    async with a_world(cluster.kubeconfig, database_url, kept=256) as world:
        slow = await world.listening()
        quick = await world.listening()
        read: list[Frame] = []
        message = "x" * 2000  # so that what nobody reads does not fit into the buffers between
        for n in range(100):
            stories = (entry for m in range(20) for entry in a_story(f"j{n:04}-{m}", *FULL))
            await world.tell(*(saying(message, entry) for entry in stories))
            read += await collect(quick, 80)  # the quick one is not held up
        assert len({key(frame) for frame in read}) == 8000
        code, _ = await slow.closed()
        assert (code, slow.frames[-1]["type"]) == (1013, "LAGGED")
        assert slow.frames[-1]["behind"] > 256
        told = [key(frame) for frame in slow.frames if frame["type"] == "TRANSITION"]
        again = await world.stream(cursor=slow.cursor)
        told += [key(frame) for frame in await again.transitions(8000 - len(told))]
        assert len(told) == len(set(told)) == 8000


def saying(message: str, entry: Entry) -> Entry:
    return replace(entry, transitions=tuple(replace(told, message=message) for told in entry.transitions))


async def test_a_client_that_reads_nothing_at_all_is_let_go(cluster: Cluster, database_url: str) -> None:
    limits = StreamLimits(heartbeat_seconds=0.2, send_seconds=0.5)
    async with a_world(cluster.kubeconfig, database_url, limits=limits) as world:
        dead = await world.listening()
        dead.socket.transport.pause_reading()
        message = "x" * 30_000
        for n in range(100):
            await world.tell(*(saying(message, entry) for entry in a_story(f"j{n:04}", *FULL)))
        await until(lambda: not world.hub.followers, "the dead client is let go")
        dead.kill()


async def test_fifty_clients_hear_the_same(world: World) -> None:
    clients = [await world.listening() for _ in range(50)]
    reading = [asyncio.create_task(collect(client, 400)) for client in clients]
    await tell_all(world, 100)
    heard = [[key(frame) for frame in await frames] for frames in reading]
    assert all(one == heard[0] for one in heard)
    assert len(set(heard[0])) == 400
    metrics = (await world.http.get("/metrics")).text
    assert "taskjobs_stream_clients 50.0" in metrics
    assert "taskjobs_stream_lag_transitions 0.0" in metrics


async def test_more_clients_than_are_allowed_are_refused(cluster: Cluster, database_url: str) -> None:
    limits = StreamLimits(heartbeat_seconds=0.2, clients=2)
    async with a_world(cluster.kubeconfig, database_url, limits=limits) as world:
        first, _ = await world.listening(), await world.listening()
        with pytest.raises(InvalidStatus) as refused:
            await world.stream()
        assert refused.value.response.status_code == 503
        first.kill()
        await until(lambda: len(world.hub.followers) == 1, "the killed client is forgotten")
        await world.listening()


# ---------------------------------------------------------------- refused
BAD: dict[str, tuple[int, str]] = {
    "foo=1": (422, "foo"),
    "phase=Done": (422, "phase[0]"),
    "snapshot=perhaps": (422, "snapshot"),
    "limit=5": (422, "limit"),
    "cursor=" + "a" * 513: (422, "cursor"),
}


@pytest.mark.parametrize("query", BAD)
async def test_a_bad_query_is_refused_before_the_upgrade_with_a_problem(world: World, query: str) -> None:
    name, _, value = query.partition("=")
    with pytest.raises(InvalidStatus) as refused:
        await world.stream(None, **{name: value})
    answer = refused.value.response
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.body is not None
    found = json.loads(answer.body)
    assert (answer.status_code, found["errors"][0]["field"]) == BAD[query]


async def test_a_web_page_of_elsewhere_gets_no_stream(world: World) -> None:
    from websockets.asyncio.client import connect

    address = f"ws{world.url.removeprefix('http')}/jobs/stream"
    with pytest.raises(InvalidStatus) as refused:
        await connect(address, origin="https://attacker.example")  # type: ignore[arg-type]  # a NewType of str
    assert refused.value.response.status_code == 403


# ---------------------------------------------------------------- history away
async def test_a_connected_client_lives_through_a_restart_of_postgresql(
    cluster: Cluster, own_postgres: Postgres
) -> None:
    async with a_world(cluster.kubeconfig, own_postgres.url) as world:
        client = await world.listening()
        await world.tell(*a_story("before", *FULL))
        await client.transitions(4)
        own_postgres.restart()
        await eventually(lambda: told(world, "after"), "PostgreSQL is back")
        assert steps(await client.transitions(1)) == [("after", None, "Pending")]


async def told(world: World, name: str) -> bool:
    from taskjob.ports import HistoryUnavailableError

    try:
        await world.tell(*a_story(name, PENDING))
    except HistoryUnavailableError:
        return False
    return True
