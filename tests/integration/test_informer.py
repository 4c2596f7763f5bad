"""The watch of pods, on a real API server and a network that breaks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from kube_worlds import RealWorld, eventually
from relays import Relay
from taskjob.core.decisions import Launch
from taskjob.core.model import AttemptId, Job, Pod
from taskjob.core.phases import PodPhase
from taskjob.kube.client import pod_path
from taskjob.kube.credentials import Credentials
from taskjob.kube.http import KubeHttp
from taskjob.kube.informer import PodInformer
from taskjob.kube.pods import JOB_UID
from taskjob.ports import Launched
from taskjob_cluster import Cluster, up


@dataclass
class Seen:
    """What an informer told: the pods as they stand by it, and how often it replaced them."""

    pods: dict[str, Pod] = field(default_factory=dict)
    versions: list[int] = field(default_factory=list)
    forgotten: list[Pod] = field(default_factory=list)

    def replace_pods(self, version: int, pods: Sequence[Pod]) -> None:
        self.versions.append(version)
        self.pods = {pod.name: pod for pod in pods}

    def observe_pod(self, pod: Pod) -> None:
        self.pods[pod.name] = pod

    def forget_pod(self, pod: Pod) -> None:
        self.forgotten.append(pod)
        self.pods.pop(pod.name, None)


@pytest.fixture
async def world(cluster: Cluster, namespace: str) -> AsyncIterator[RealWorld]:
    async with await KubeHttp.connect(cluster.kubeconfig) as http:
        yield RealWorld(http, namespace)


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    """An API server that a test may kill: others keep connections to the shared one.

    Its components die with the thread that starts them, so they are restarted from this one, not from a pool's.
    """
    with up(f"informer-{os.getpid()}", provider="apiserver", die_with_parent=True) as started:
        yield started


@pytest.fixture
async def own_world(own_cluster: Cluster) -> AsyncIterator[RealWorld]:
    async with await KubeHttp.connect(own_cluster.kubeconfig) as http:
        name = f"test-{secrets.token_hex(4)}"
        world = RealWorld(http, name)
        await world.send("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        yield world


@contextlib.asynccontextmanager
async def following(http: KubeHttp, seen: Seen, *namespaces: str) -> AsyncIterator[PodInformer]:
    informer = PodInformer(http, seen, namespaces)
    task = asyncio.create_task(informer.run())
    try:
        async with asyncio.timeout(20):
            await informer.wait_synced()
        yield informer
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def through_a_relay(cluster: Cluster) -> AsyncIterator[tuple[KubeHttp, Relay]]:
    async with Relay(cluster.server) as relay:
        credentials = await Credentials.load(cluster.kubeconfig)
        credentials.server = relay.url
        async with KubeHttp(credentials, timeout_seconds=5) as http:
            yield http, relay


async def launch(world: RealWorld, name: str, attempt: int = 1, job: Job | None = None) -> Pod:
    job = job or await world.make_job(name)
    answer = await world.port.launch(Launch(job, AttemptId(job.uid, 0, 0, attempt), None), 1)
    assert isinstance(answer, Launched), answer
    return answer.pod


def sees(seen: Seen, *pods: Pod) -> Callable[[], bool]:
    """Whether exactly these pods stand, as they are here."""
    return lambda: seen.pods == {pod.name: pod for pod in pods}


async def test_it_lists_and_then_follows_a_pods_whole_life(world: RealWorld) -> None:
    before = await launch(world, "before")
    seen = Seen()
    async with following(world.http, seen, world.namespace):
        assert seen.pods == {before.name: before}
        after = await launch(world, "after")
        await eventually("the new pod is seen", sees(seen, before, after))
        placed = await world.place(after)
        await eventually("its node is seen", sees(seen, before, placed))
        failed = await world.fail(after, 3)
        assert (failed.phase, failed.exit_code) == (PodPhase.FAILED, 3)
        await eventually("its end is seen", sees(seen, before, failed))
        await world.remove_pod(after)
        await eventually("its deletion is seen", sees(seen, before))
        assert [pod.uid for pod in seen.forgotten] == [after.uid]
        assert seen.forgotten[0].version > failed.version
    assert len(seen.versions) == 1
    assert seen.versions[0] >= before.version


async def test_pods_without_our_label_are_none_of_its_business(world: RealWorld) -> None:
    seen = Seen()
    await world.occupy("somebody-elses")
    async with following(world.http, seen, world.namespace):
        await world.occupy("another")
        ours = await launch(world, "ours")
        await eventually("our pod is seen", sees(seen, ours))


async def test_a_pod_whose_labels_make_no_sense_is_left_out_and_the_others_go_on(
    world: RealWorld, caplog: pytest.LogCaptureFixture
) -> None:
    async def make_odd(name: str) -> None:
        body = {
            "metadata": {"name": name, "labels": {JOB_UID: "x", "taskjobs.dev/run": "none"}},
            "spec": {"containers": [{"name": "main", "image": "busybox"}]},
        }
        await world.send("POST", pod_path(world.namespace), body)

    seen = Seen()
    await make_odd("odd-in-the-list")
    first = await launch(world, "first")
    async with following(world.http, seen, world.namespace):
        await make_odd("odd-in-the-watch")
        second = await launch(world, "second")
        await eventually("the good pods are seen", sees(seen, first, second))
    assert "odd-in-the-list: its labels do not say which attempt it is" in caplog.text
    assert "odd-in-the-watch: its labels do not say which attempt it is" in caplog.text


async def test_several_namespaces_come_as_one_list(world: RealWorld) -> None:
    name = f"{world.namespace}-b"
    await world.send("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    other = RealWorld(world.http, name)
    here, there = await launch(world, "here"), await launch(other, "there")
    seen = Seen()
    async with following(world.http, seen, world.namespace, other.namespace):
        assert seen.pods == {here.name: here, there.name: there}
        more = await launch(other, "more")
        await eventually("a pod of the second namespace is seen", sees(seen, here, there, more))
    assert len(seen.versions) == 1


async def test_after_a_broken_connection_it_goes_on_where_it_was(world: RealWorld, cluster: Cluster) -> None:
    stays, goes = await launch(world, "stays"), await launch(world, "goes")
    seen = Seen()
    async with through_a_relay(cluster) as (http, relay), following(http, seen, world.namespace):
        await relay.cut()
        changed = await world.place(stays)
        await world.remove_pod(goes)
        assert sees(seen, stays, goes)()
        await relay.mend()
        await eventually("what happened meanwhile is seen", sees(seen, changed))
        assert [pod.uid for pod in seen.forgotten] == [goes.uid]
    assert len(seen.versions) == 1, "it was not necessary to list anew"


async def test_it_lists_anew_when_the_server_no_longer_knows_where_it_was(
    own_world: RealWorld, own_cluster: Cluster
) -> None:
    stays, goes = await launch(own_world, "stays"), await launch(own_world, "goes")
    seen = Seen()
    async with through_a_relay(own_cluster) as (http, relay), following(http, seen, own_world.namespace):
        await relay.cut()
        await own_world.remove_pod(goes)
        changed = await own_world.place(stays)
        # A restarted API server keeps no events from before: going on from an older version is answered 410.
        own_cluster.restart_component("kube-apiserver", kill=True)
        await relay.mend()
        await eventually("the pods are listed anew", lambda: len(seen.versions) >= 2)
        await eventually("only what is left is seen", sees(seen, changed))
        assert seen.forgotten == [], "nobody told of the deletion: the list did"
        assert seen.versions[-1] > seen.versions[0]
        new = await launch(own_world, "new")
        await eventually("it follows again", sees(seen, changed, new))


async def test_it_outlives_the_api_server(own_world: RealWorld, own_cluster: Cluster) -> None:
    first = await launch(own_world, "first")
    seen = Seen()
    async with following(own_world.http, seen, own_world.namespace) as informer:
        own_cluster.stop_component("kube-apiserver", kill=True)
        await eventually("the silence is noticed", lambda: informer.silent_seconds > 0.5)
        own_cluster.restart_component("kube-apiserver")
        second = await launch(own_world, "second")
        await eventually("it follows again", sees(seen, first, second))
        assert informer.silent_seconds < 5


async def test_what_the_one_who_is_told_raises_ends_it(world: RealWorld) -> None:
    class Overwhelmed(Seen):
        def observe_pod(self, pod: Pod) -> None:
            raise LookupError(pod.name)

    informer = PodInformer(world.http, Overwhelmed(), (world.namespace,))
    task = asyncio.create_task(informer.run())
    await informer.wait_synced()
    pod = await launch(world, "train")
    with pytest.raises(LookupError, match=pod.name):
        async with asyncio.timeout(20):
            await task
