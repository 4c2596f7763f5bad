"""Electors in their threads, over the Lease of a real API server; and what is refused to those who do not lead."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from builders import launch_of, starting
from charts import apply, of_kind, rendered
from fakes_leader import FakeLeader
from kube_worlds import RealWorld
from relays import Relay
from taskjob.core.decisions import EndBy, EndPod
from taskjob.core.model import Job
from taskjob.kube.credentials import Credentials
from taskjob.kube.election import Timing
from taskjob.kube.http import MERGE_PATCH, KubeHttp, NoAnswerError
from taskjob.kube.lease import Elector, LeaseRefusedError
from taskjob.kube.pods import EPOCH
from taskjob.ports import Deposed, Launched, Unreachable, Written
from taskjob_cluster import Cluster

pytestmark = pytest.mark.cluster

NAME = "taskjobs-operator"
TIMING = Timing(lease=60, renew_deadline=10, retry=0.2)
"""No test waits this lease out: whoever wins has not waited for it, and a busy machine makes nobody lose it."""
SHORT = Timing(lease=5, renew_deadline=4, retry=0.2)
"""Of those tests that wait it out."""


@pytest.fixture
async def world(cluster: Cluster, namespace: str) -> AsyncIterator[RealWorld]:
    async with await KubeHttp.connect(cluster.kubeconfig) as http:
        yield RealWorld(http, namespace)


class Candidates:
    """Electors of one test; those that are left resign in the end."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self.all: list[Elector] = []

    def stand(
        self,
        identity: str,
        *,
        server: str | None = None,
        floor: int = 0,
        namespace: str = "",
        timing: Timing = TIMING,
    ) -> Elector:
        """One more, by way of another address of the server if one is named."""

        async def connect() -> KubeHttp:
            credentials = await Credentials.load(self._cluster.kubeconfig)
            credentials.server = server or credentials.server
            return KubeHttp(credentials, in_flight=1, timeout_seconds=timing.request)

        elector = Elector(connect, namespace or self._namespace, NAME, identity, timing, floor=lambda: floor)
        self.all.append(elector)
        elector.start()
        return elector


@pytest.fixture
async def candidates(cluster: Cluster, namespace: str) -> AsyncIterator[Candidates]:
    made = Candidates(cluster, namespace)
    yield made
    for elector in made.all:
        await asyncio.to_thread(elector.resign)


async def won(elector: Elector, seconds: float = 10) -> int:
    async with asyncio.timeout(seconds):
        return await asyncio.wrap_future(elector.won)


async def lost(elector: Elector, seconds: float = 10) -> str:
    async with asyncio.timeout(seconds):
        return await asyncio.wrap_future(elector.lost)


def lease_path(world: RealWorld) -> str:
    return f"/apis/coordination.k8s.io/v1/namespaces/{world.namespace}/leases"


async def the_lease(world: RealWorld) -> dict[str, Any]:
    return msgspec.json.decode((await world.send("GET", f"{lease_path(world)}/{NAME}")).body, type=dict[str, Any])


async def until(holds: Callable[[], Any], what: str, seconds: float = 10) -> None:
    give_up_at = time.monotonic() + seconds
    while not await holds():
        assert time.monotonic() < give_up_at, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)


# ------------------------------------------------------------------ one
async def test_a_leader_renews_and_leaves_the_leases_labels_alone_until_it_gives_it_back(
    world: RealWorld, candidates: Candidates
) -> None:
    body = {"metadata": {"name": NAME, "labels": {"made-by": "helm"}}, "spec": {"leaseTransitions": 6}}
    await world.send("POST", lease_path(world), body)
    elector = candidates.stand("first")
    assert not elector.may_act(), "nobody acts before he has won"
    assert await won(elector) == elector.epoch == 7
    assert elector.may_act()
    first = (await the_lease(world))["spec"]
    assert (first["holderIdentity"], first["leaseTransitions"], first["leaseDurationSeconds"]) == ("first", 7, 60)

    async def renewed() -> bool:
        return bool((await the_lease(world))["spec"]["renewTime"] > first["renewTime"])

    await until(renewed, "it is renewed")
    assert (await the_lease(world))["spec"]["acquireTime"] == first["acquireTime"]
    await asyncio.to_thread(elector.resign)
    assert not elector.may_act()
    last = await the_lease(world)
    assert (last["spec"].get("holderIdentity"), last["spec"]["leaseTransitions"]) == ("", 7)
    assert last["metadata"]["labels"] == {"made-by": "helm"}
    assert "resigned" in await lost(elector)


async def test_an_epoch_exceeds_what_the_cluster_shows_though_there_is_no_lease(candidates: Candidates) -> None:
    assert await won(candidates.stand("first", floor=41)) == 42


async def test_a_start_under_the_same_name_takes_over_at_once(world: RealWorld, candidates: Candidates) -> None:
    body = {
        "metadata": {"name": NAME},
        "spec": {"leaseTransitions": 3, "holderIdentity": "pod-a", "leaseDurationSeconds": 60},
    }
    await world.send("POST", lease_path(world), body)
    assert await won(candidates.stand("pod-a")) == 4


async def test_who_may_not_have_the_lease_is_told_why(candidates: Candidates) -> None:
    with pytest.raises(LeaseRefusedError, match="no-such-namespace"):
        await lost(candidates.stand("first", namespace="no-such-namespace", timing=SHORT), 20)


async def test_who_is_refused_for_a_moment_only_stands_on(world: RealWorld, candidates: Candidates) -> None:
    name = f"test-{secrets.token_hex(4)}"
    elector = candidates.stand("first", namespace=name)

    async def refused() -> bool:
        return "not found" in elector.trouble

    await until(refused, "it is refused")
    await world.send("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    assert await won(elector) == 1


async def test_a_leader_whose_lease_is_deleted_stops(world: RealWorld, candidates: Candidates) -> None:
    elector = candidates.stand("first")
    await won(elector)
    await world.send("DELETE", f"{lease_path(world)}/{NAME}")
    assert "deleted" in await lost(elector)
    assert not elector.may_act()


async def test_a_leader_stops_when_another_takes_the_lease_by_force(world: RealWorld, candidates: Candidates) -> None:
    elector = candidates.stand("first")
    await won(elector)
    force = {"spec": {"holderIdentity": "usurper", "leaseTransitions": 2}}
    await world.send("PATCH", f"{lease_path(world)}/{NAME}", force, MERGE_PATCH)
    assert "usurper" in await lost(elector)


# ------------------------------------------------------------------ two
async def test_a_lease_that_is_given_back_passes_to_the_other_at_once(candidates: Candidates) -> None:
    first = candidates.stand("first")
    await won(first)
    second = candidates.stand("second")
    with pytest.raises(TimeoutError):
        await won(second, 2 * TIMING.renew_every)
    await asyncio.to_thread(first.resign)
    assert await won(second) == 2


async def test_a_leader_that_is_cut_off_stops_before_the_other_begins(cluster: Cluster, candidates: Candidates) -> None:
    async with Relay(cluster.server) as relay:
        first = candidates.stand("first", server=relay.url, timing=SHORT)
        await won(first)
        second = candidates.stand("second", timing=SHORT)
        acted: list[tuple[bool, bool]] = []
        watching = threading.Event()

        def watch() -> None:
            while not watching.wait(0.002):
                later = second.may_act()  # asked before: between the two, the first may hand over to the second
                acted.append((first.may_act(), later))

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            relay.muted = True  # what it asks for is done, and it is not told
            why = await lost(first)
            assert "could not be renewed for 4 s" in why
            assert await won(second, 20) > 1

            async def seen() -> bool:
                return acted[-1] == (False, True)

            await until(seen, "the second one acts, and the first one does not")
        finally:
            watching.set()
            thread.join()
        assert (True, True) not in acted, "both acted at once"
        assert acted[0] == (True, False)


# ------------------------------------------------------------------ who does not lead writes nothing
async def test_no_write_is_sent_without_the_lease_and_reads_go_on(world: RealWorld, cluster: Cluster) -> None:
    leader = FakeLeader(epoch=5)
    async with await KubeHttp.connect(cluster.kubeconfig) as http:
        http.may_write = leader.may_act
        kube = RealWorld(http, world.namespace).port
        job, other = await world.make_job("one"), await world.make_job("two")
        launched = await kube.launch(launch_of(job), leader.epoch)
        assert isinstance(launched, Launched)
        leader.depose()
        for answer in (
            await kube.launch(launch_of(other), leader.epoch),
            await kube.set_status(starting(job), leader.epoch),
            await kube.end_pod(EndPod(launched.pod, EndBy.DELETE, "a test")),
        ):
            assert isinstance(answer, Unreachable), answer
            assert "does not lead" in answer.message
        with pytest.raises(NoAnswerError):
            await http.request("POST", "/api/v1/namespaces", verb="create", resource="namespaces", body=b"{}")
        assert await kube.get_job(job) == job, "as it was, and readable"
        assert await world.pod_now(launched.pod) is not None
        leader.elect(6)
        assert isinstance(await kube.set_status(starting(job), leader.epoch), Written)


@contextlib.contextmanager
def the_charts_fence(cluster: Cluster, namespace: str, epoch: int) -> Any:
    """The chart's policies on pods and statuses of an epoch older than this, for whoever writes in this namespace."""
    objects = of_kind(
        rendered(namespace, "--set=postgresql.enabled=true", f"--set=fullnameOverride={namespace}"),
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    )
    objects = [found for found in objects if "epoch" in found["metadata"]["name"]]
    assert objects, "the chart has a policy that fences epochs"
    for found in objects:
        found["spec"].pop("matchConditions", None)
        if found["kind"] == "ValidatingAdmissionPolicyBinding":
            found["spec"]["matchResources"] = {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
            }
            found["spec"]["paramRef"]["name"] = "operator"
    account = {"name": "operator", "namespace": namespace, "annotations": {EPOCH: str(epoch)}}
    apply(cluster, [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account}, *objects])
    try:
        yield
    finally:
        for found in objects:
            cluster.kubectl("delete", found["kind"], found["metadata"]["name"])


async def judge_the_fence(
    cluster: Cluster,
    world: RealWorld,
    candidates: Candidates,
    write: Callable[[Job, int], Awaitable[object]],
    written: type[object],
) -> None:
    """What is written in epoch 6 is refused once there is a leader of epoch 7, and its own is `written`."""
    leader = candidates.stand("leader", floor=6)
    assert await won(leader) == 7
    with the_charts_fence(cluster, world.namespace, leader.epoch):
        count = 0

        async def refused() -> bool:
            nonlocal count
            count += 1
            return isinstance(await write(await world.make_job(f"old-{count}"), 6), Deposed)

        await until(refused, "the policy is in force, and its refusal understood", 30)
        assert isinstance(await write(await world.make_job("new"), leader.epoch), written)


async def test_a_pod_of_an_epoch_that_is_over_tells_its_maker_that_it_is_deposed(
    cluster: Cluster, world: RealWorld, candidates: Candidates
) -> None:
    async def launch(job: Job, epoch: int) -> object:
        return await world.port.launch(launch_of(job), epoch)

    await judge_the_fence(cluster, world, candidates, launch, Launched)


async def test_a_status_of_an_epoch_that_is_over_tells_its_writer_that_it_is_deposed_though_nobody_wrote_a_newer_one(
    cluster: Cluster, world: RealWorld, candidates: Candidates
) -> None:
    async def set_status(job: Job, epoch: int) -> object:
        return await world.port.set_status(starting(job), epoch)

    await judge_the_fence(cluster, world, candidates, set_status, Written)
