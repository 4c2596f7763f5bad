"""`GET /jobs/{job_id}/logs`: from the pod or from history, the caller need not know; followed without a gap."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import pytest
from kubernetes import client

from api_server import Server, a_taskjob
from api_world import Refusal, World, a_world, eventually, known_as, until
from builders import a_job
from history_stories import FULL, an_entry
from kubelets import Kubelet, stamp
from live_logs import Running, Start, a_log, a_part, a_v1pod, following, nobody_follows, running
from taskjob.core.model import AttemptId, Uid
from taskjob.core.phases import Phase
from taskjob.ports import Log, LogChunk, LogGap
from taskjob_cluster import Cluster

pytestmark = pytest.mark.cluster
PENDING, STARTING, RUNNING, SUCCEEDED = FULL
SECOND = 10**9


@pytest.fixture
async def world(cluster: Cluster, database_url: str) -> AsyncIterator[World]:
    async with a_world(cluster.kubeconfig, database_url) as world:
        yield world


@pytest.fixture
async def job(world: World, server: Server, kubelet: Kubelet, kubernetes_client: client.ApiClient) -> Running:
    return await running(world, server, kubelet, kubernetes_client)


@pytest.fixture
def start(world: World, server: Server, kubelet: Kubelet, kubernetes_client: client.ApiClient) -> Start:
    """`running`, in this world."""
    return partial(running, world, server, kubelet, kubernetes_client)


# ---------------------------------------------------------------- followed
async def test_a_followed_log_comes_line_by_line_and_ends_with_the_attempt(job: Running, world: World) -> None:
    job.kubelet.write(job.pod, "one", at=1 * SECOND)
    async with following(world, job.path) as events:
        await events.read(1)
        job.kubelet.write(job.pod, "two", "", "a\rb", at=2 * SECOND)
        await events.read(4)
        job.kubelet.end(job.pod)
        await job.finish(b"one\ntwo\n\na\rb\n")
        await events.read()
    assert events.lines == ["one", "two", "", "a\nb"]
    assert events.end == {"event": "end", "attempt": 1, "jobPhase": "Succeeded", "exitCode": 0, "failure": None}
    async with following(world, job.path, last_id=events.last_id) as again:
        assert again.response.status_code == 204, "a browser stops to reconnect"


async def test_a_connection_that_breaks_on_the_way_loses_and_doubles_nothing(job: Running, world: World) -> None:
    """Ten cuts between the API server and the kubelet; many lines share a time."""
    written = ["the first"]
    job.kubelet.write(job.pod, *written, at=0)
    async with following(world, job.path) as events:
        for n in range(10):
            lines = [f"{n}.{m}" for m in range(5)]
            written += lines
            job.kubelet.write(job.pod, *lines[:3], at=n * SECOND // 3)
            job.kubelet.write(job.pod, *lines[3:], at=n * SECOND // 3 + 7)
            await until(lambda: job.kubelet.following > 0, "it is followed (again)")
            job.kubelet.cut()
            await until(lambda: job.kubelet.following == 0, "the cut is felt")
        job.kubelet.end(job.pod)
        await until(lambda: job.kubelet.following == 0, "the log ends")
        await job.finish(remove_pod=False)
        await events.read()
    assert events.lines == written
    assert events.end is not None


async def test_a_client_that_comes_back_with_its_last_event_goes_on_after_it(job: Running, world: World) -> None:
    job.kubelet.write(job.pod, "a", "b", "c", at=1 * SECOND)
    async with following(world, job.path) as events:
        await events.read(2)
    job.kubelet.write(job.pod, "d", at=1 * SECOND)
    job.kubelet.write(job.pod, "e", at=2 * SECOND)
    async with following(world, job.path, last_id=events.last_id) as again:
        await again.read(3)
    assert events.lines[:2] + again.lines == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("run", [0, 1])
async def test_a_client_that_comes_back_after_a_retry_or_a_rerun_gets_the_rest_of_the_attempt_that_it_followed(
    job: Running, world: World, run: int
) -> None:
    job.kubelet.write(job.pod, "a", "b", at=1 * SECOND)
    async with following(world, job.path) as events:
        await events.read(2)
    job.kubelet.end(job.pod)
    failed = an_entry(
        known_as(a_job(job.name).build(), uid=job.uid, namespace=job.server.namespace), RUNNING, Phase.FAILED, 3
    )
    other = Log(AttemptId(Uid(job.uid), run, 0, 2 - run), "main", b"x\ny\nz\n", 6)
    await world.tell(failed, logs=(a_log(job.uid, b"a\nb\nc\nd\n"), other))
    again = {"run": run, "attempt": 2 - run, "transition": 5}
    job.server.patch_status(job.name, {"phase": "Running", "reason": "Started", "epoch": 1, **again})
    job.pods.delete_namespaced_pod(job.pod, job.server.namespace, grace_period_seconds=0)
    async with following(world, job.path, last_id=events.last_id) as rest:
        await rest.read()
    assert (rest.lines, rest.marks) == (["c", "d"], [])
    assert rest.end is not None
    assert (rest.end["event"], rest.end["attempt"], rest.end["exitCode"]) == ("end", 1, 1)
    assert (await world.http.get(job.path)).text == "x\ny\nz\n", "who comes without an id is shown the current one"


async def test_what_was_written_while_the_client_was_away_comes_from_history_if_the_pod_is_gone(
    job: Running, world: World
) -> None:
    job.kubelet.write(job.pod, "a", "b", at=1 * SECOND)
    async with following(world, job.path) as events:
        await events.read(2)
    job.kubelet.end(job.pod)
    await job.finish(b"a\nb\nc\nd\n")
    async with following(world, job.path, last_id=events.last_id) as again:
        await again.read()
    assert again.lines == ["c", "d"]
    assert again.end is not None


async def test_following_an_ended_attempt_gives_all_of_it_and_the_end(job: Running, world: World) -> None:
    job.kubelet.end(job.pod)
    await job.finish(b"all\nof it")
    async with following(world, job.path) as events:
        await events.read()
    assert events.lines == ["all", "of it"]
    assert events.end is not None
    async with following(world, job.path, tail=1) as events:
        await events.read()
    assert events.lines == ["of it"]


async def test_a_process_that_stops_ends_a_followed_log_without_an_end(job: Running, world: World) -> None:
    job.kubelet.write(job.pod, "one", at=1 * SECOND)
    async with following(world, job.path) as events:
        await events.read(1)
        stopping = asyncio.create_task(world.stop())
        await events.read()
        await stopping
    assert (events.lines, events.end) == (["one"], None), "without an end the client comes back"
    job.kubelet.end(job.pod)


async def test_a_client_that_leaves_is_not_followed_on(job: Running, world: World) -> None:
    job.kubelet.write(job.pod, "one", at=1 * SECOND)
    async with following(world, job.path) as events:
        await events.read(1)
        assert job.kubelet.following == 1
    job.kubelet.write(job.pod, "two", at=2 * SECOND)
    await eventually(lambda: nobody_follows(world), "the API noticed")
    job.kubelet.end(job.pod)


# ---------------------------------------------------------------- read
async def test_a_log_is_read_from_the_pod_while_it_exists_and_from_history_afterwards(
    job: Running, world: World
) -> None:
    job.kubelet.write(job.pod, "one", "two", at=1 * SECOND)
    live = await world.http.get(job.path)
    assert (live.status_code, live.text, live.headers["taskjobs-log-source"]) == (200, "one\ntwo\n", "pod")
    assert live.headers["content-type"].startswith("text/plain")
    job.kubelet.end(job.pod)
    await job.finish(b"one\ntwo\n")
    kept = await world.http.get(job.path)
    assert (kept.status_code, kept.text, kept.headers["taskjobs-log-source"]) == (200, "one\ntwo\n", "history")


async def test_tail_and_since_choose_a_part_of_a_live_log(job: Running, world: World) -> None:
    for n in range(4):
        job.kubelet.write(job.pod, f"line {n}", at=n * SECOND)
    assert (await world.http.get(job.path, params={"tail": 2})).text == "line 2\nline 3\n"
    since = stamp(3 * SECOND)
    assert (await world.http.get(job.path, params={"since": since})).text == "line 3\n"
    assert "sinceTime" in job.kubelet.asked[-1]
    assert (await world.http.get(job.path, params={"since": "100000d"})).text.count("\n") == 4


async def test_tail_and_since_choose_a_part_of_a_kept_log(job: Running, world: World) -> None:
    await job.finish(b"1\n2\n3")
    texts = {
        query: (await world.http.get(f"{job.path}?{query}")).text
        for query in ("tail=1", "tail=0", "tail=9", "since=2026-01-01T12:00:00Z", "since=2026-02-01T00:00:00Z")
    }
    assert texts == {
        "tail=1": "3",
        "tail=0": "",
        "tail=9": "1\n2\n3",
        "since=2026-01-01T12:00:00Z": "1\n2\n3",
        "since=2026-02-01T00:00:00Z": "",
    }


@pytest.mark.parametrize(("containers", "meant"), [(("worker", "agent"), "worker"), (("agent", "main"), "agent")])
async def test_of_several_containers_the_first_is_meant_live_and_from_history(
    world: World, kubelet: Kubelet, start: Start, containers: tuple[str, str], meant: str
) -> None:
    job = await start(name="two", containers=containers)
    for container in containers:
        kubelet.write(job.pod, f"from {container}", at=0, container=container)

    async def shown(source: str) -> None:
        for query, container in [({}, meant), *(({"container": name}, name) for name in containers)]:
            answer = await world.http.get(job.path, params=query)
            assert (answer.text, answer.headers["taskjobs-log-source"]) == (f"from {container}\n", source), query

    await shown("pod")
    kept = (*containers, "a-init")  # its init container's is kept too, and is not the one meant
    await world.tell(logs=tuple(a_log(job.uid, f"from {name}\n".encode(), name) for name in kept))
    kubelet.end(job.pod)
    await job.finish()
    await shown("history")


async def test_a_container_that_there_is_not_is_named(
    world: World, server: Server, kubelet: Kubelet, kubernetes_client: client.ApiClient
) -> None:
    job = await running(world, server, kubelet, kubernetes_client, name="two", containers=("work", "side"))
    unknown = await world.http.get(job.path, params={"container": "other"})
    assert Refusal.of(unknown) == Refusal(404, "no-log", ("container",))
    await job.finish()
    await world.tell(logs=(a_log(job.uid, b"kept", "work"),))
    unknown = await world.http.get(job.path, params={"container": "other"})
    assert Refusal.of(unknown) == Refusal(404, "no-log", ("container",))
    assert "'work'" in unknown.json()["detail"]


async def test_an_earlier_attempt_has_a_log_of_its_own(job: Running, world: World) -> None:
    job.kubelet.write(job.pod, "second", at=1 * SECOND)
    job.server.patch_status(job.name, {"phase": "Running", "reason": "Started", "attempt": 2, "epoch": 1})
    await world.tell(logs=(a_log(job.uid, b"first"), a_log(job.uid, b"other", attempt=2)))
    job.pods.delete_namespaced_pod(job.pod, job.server.namespace, grace_period_seconds=0)
    assert (await world.http.get(job.path, params={"attempt": 1})).text == "first"
    assert (await world.http.get(job.path)).text == "other"


async def test_an_earlier_run_has_logs_of_its_own(job: Running, world: World) -> None:
    again = Log(AttemptId(Uid(job.uid), 1, 0, 1), "main", b"again", 5)
    await world.tell(logs=(a_log(job.uid, b"first"), again))
    job.server.patch_status(job.name, {"phase": "Running", "reason": "Started", "run": 1, "attempt": 1, "epoch": 1})
    job.pods.delete_namespaced_pod(job.pod, job.server.namespace, grace_period_seconds=0)
    assert (await world.http.get(job.path, params={"run": 0})).text == "first"
    assert (await world.http.get(job.path)).text == "again"
    answer = await world.http.get(job.path, params={"run": 2})
    assert Refusal.of(answer) == Refusal(404, "no-log", ("run",))


async def test_a_log_with_a_piece_cut_out_says_so(world: World) -> None:
    story = [an_entry(a_job("big").build(), RUNNING, SUCCEEDED, 3)]
    await world.tell(replace(story[0], gone_at=story[0].job.created_at))
    await world.tell(logs=(a_log("uid-big", b"head...tail", cut_bytes=17),))
    found = await world.http.get("/jobs/uid-big/logs")
    assert (found.text, found.headers["taskjobs-log-cut-bytes"]) == ("head...tail", "17")


# ---------------------------------------------------------------- history and pod, one log
async def test_what_the_kubelet_has_begun_anew_comes_from_history_and_the_rest_from_the_pod(
    job: Running, world: World
) -> None:
    await world.tell(logs=(a_part(job.uid, b"a\nb\nc\nhalf of", [0, SECOND, SECOND, 2 * SECOND]),))
    job.kubelet.write(job.pod, "c", at=1 * SECOND)  # its second; the kubelet has only the newest file
    job.kubelet.logs[job.pod, "main"].lines = [(1 * SECOND, "b"), (1 * SECOND, "c"), (2 * SECOND, "half of it")]
    answer = await world.http.get(job.path)
    assert (answer.text, answer.headers["taskjobs-log-source"]) == ("a\nb\nc\nhalf of it\n", "history, pod")
    since = await world.http.get(job.path, params={"since": stamp(1 * SECOND)})
    assert since.text == "b\nc\nhalf of it\n"
    timed = await world.http.get(job.path, params={"timestamps": "true"})
    assert timed.text.startswith(f"{stamp(0)} a\n{stamp(SECOND)} b\n")
    async with following(world, job.path) as events:
        await events.read(4)
        job.kubelet.write(job.pod, "the last", at=3 * SECOND)
        job.kubelet.end(job.pod)
        times = [0, SECOND, SECOND, 2 * SECOND, 3 * SECOND]
        await world.tell(logs=(a_part(job.uid, b"a\nb\nc\nhalf of it\nthe last\n", times, complete=True),))
        await job.finish()
        await events.read()
    assert events.lines == ["a", "b", "c", "half of it", "the last"]


async def test_what_the_kubelet_has_begun_anew_and_history_lacks_is_marked(job: Running, world: World) -> None:
    job.kubelet.write(job.pod, "a", "b", at=1 * SECOND)
    async with following(world, job.path) as events:
        await events.read(2)
        job.kubelet.logs[job.pod, "main"].lines = [(9 * SECOND, "y")]  # its newest file
        job.kubelet.cut()
        await events.read(3)
        assert (events.lines, events.marks) == (["a", "b", "y"], ["gap"])
        job.kubelet.write(job.pod, "z", at=9 * SECOND)
        await events.read(4)
        assert (events.lines[3:], events.marks) == (["z"], ["gap"])
    await world.tell(logs=(a_part(job.uid, b"a\nb\nc\n", [SECOND, SECOND, 2 * SECOND]),))
    answer = await world.http.get(job.path)
    assert re.fullmatch(r"a\nb\nc\n\[taskjobs: something is missing here: the kubelet .+\]\ny\nz\n", answer.text)


async def test_of_a_pod_that_ended_history_shows_what_the_kubelet_has_begun_anew(job: Running, world: World) -> None:
    job.kubelet.write(job.pod, "y", "z", at=9 * SECOND)
    job.kubelet.end(job.pod)
    times = [0, SECOND, 9 * SECOND, 9 * SECOND]
    large = replace(a_part(job.uid, b"a\nb\ny\nz\n", times, complete=True), size=20 * 2**20)
    await world.tell(logs=(large,))
    await job.finish(remove_pod=False)
    assert (await world.http.get(job.path)).text == "a\nb\ny\nz\n"
    async with following(world, job.path) as events:
        await events.read()
    assert (events.lines, events.marks) == (["a", "b", "y", "z"], [])


async def test_a_follower_that_comes_back_to_a_kept_log_finds_its_line_by_its_time(job: Running, world: World) -> None:
    """The middle is left out, so lines cannot be counted."""
    job.kubelet.write(job.pod, "a", "b", at=0)
    job.kubelet.write(job.pod, "m", at=1 * SECOND)
    job.kubelet.write(job.pod, "y", at=2 * SECOND)
    async with following(world, job.path) as events:
        await events.read(4)
    chunk = LogChunk(0, b"a\nb\n", f"{stamp(0)}\n".encode() * 2)
    shape = {
        "chunks": (chunk,),
        "number": 5,
        "head": 1,
        "tail": 5,
        "cut_bytes": 2,
        "gaps": (LogGap(6, "the node went"),),
    }
    await world.tell(logs=(a_part(job.uid, b"y\nz\n", [2 * SECOND, 3 * SECOND], complete=True, **shape),))
    job.kubelet.end(job.pod)
    await job.finish()
    async with following(world, job.path, last_id=events.last_id) as again:
        await again.read()
    assert events.lines + again.lines == ["a", "b", "m", "y", "z"]
    text = (await world.http.get(job.path)).text
    assert text == (
        "a\nb\n[taskjobs: 2 bytes are left out here: the log was longer than is kept]\ny\nz\n"
        "[taskjobs: something is missing here: the node went]\n"
    )
    assert (await world.http.get(job.path, params={"since": stamp(3 * SECOND)})).text.startswith("z\n")


# ---------------------------------------------------------------- nothing there
async def test_a_job_that_waits_has_no_log_and_the_answer_says_what_it_waits_for(world: World, server: Server) -> None:
    stored = server.create(a_taskjob("waits"))
    server.patch_status(
        "waits",
        {"phase": "Pending", "reason": "WaitingForDependencies", "message": "extract is Running", "epoch": 1},
    )
    job = known_as(a_job("waits").build(), uid=stored["metadata"]["uid"], namespace=server.namespace)
    await world.tell(an_entry(job, None, PENDING, 0))
    for query in ({}, {"follow": "true"}):
        answer = await world.http.get(f"/jobs/{stored['metadata']['uid']}/logs", params=query)
        assert Refusal.of(answer) == Refusal(404, "no-log", ())
        assert "WaitingForDependencies" in answer.json()["detail"]
        assert "extract is Running" in answer.json()["detail"]


async def test_an_attempt_that_has_not_been_is_named(job: Running, world: World) -> None:
    job.kubelet.write(job.pod, "one", at=1)
    answer = await world.http.get(job.path, params={"attempt": 2})
    assert Refusal.of(answer) == Refusal(404, "no-log", ("attempt",))


async def test_a_pod_that_was_removed_before_its_log_was_kept_is_told(job: Running, world: World) -> None:
    await job.finish()
    answer = await world.http.get(job.path)
    assert Refusal.of(answer) == Refusal(404, "no-log", ())
    assert "no log of it was kept" in answer.json()["detail"]


async def test_a_pod_that_was_not_placed_yet_has_no_log_yet(
    world: World, server: Server, kubernetes_client: client.ApiClient
) -> None:
    stored = server.create(a_taskjob("unplaced"))
    client.CoreV1Api(kubernetes_client).create_namespaced_pod(server.namespace, a_v1pod("unplaced-1", "main"))
    server.patch_status(
        "unplaced",
        {"phase": "Starting", "reason": "Launched", "attempt": 1, "podName": "unplaced-1", "epoch": 1},
    )
    uid = stored["metadata"]["uid"]
    await world.tell(
        an_entry(known_as(a_job("unplaced").build(), uid=uid, namespace=server.namespace), None, PENDING, 0)
    )
    answer = await world.http.get(f"/jobs/{uid}/logs")
    assert Refusal.of(answer) == Refusal(404, "no-log", ()), answer.text
    assert "has not started yet" in answer.json()["detail"]
