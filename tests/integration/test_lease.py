"""Each start of the operator gets an epoch of its own, by the Lease of a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from kube_worlds import RealWorld
from relays import Relay
from taskjob.kube.credentials import Credentials
from taskjob.kube.http import KubeHttp
from taskjob.kube.lease import LeaseRefusedError, claim_epoch
from taskjob_cluster import Cluster

NAME = "taskjobs-operator"


@pytest.fixture
async def world(cluster: Cluster, namespace: str) -> AsyncIterator[RealWorld]:
    async with await KubeHttp.connect(cluster.kubeconfig) as http:
        yield RealWorld(http, namespace)


async def lease(world: RealWorld) -> dict[str, Any]:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{world.namespace}/leases/{NAME}"
    reply = await world.send("GET", path)
    spec = msgspec.json.decode(reply.body, type=dict[str, Any])["spec"]
    assert isinstance(spec, dict)
    return spec


async def test_every_claim_raises_the_epoch_by_one_and_says_who_holds_it(world: RealWorld) -> None:
    for epoch in (1, 2, 3):
        assert await claim_epoch(world.http, world.namespace, NAME, f"start-{epoch}") == epoch
        spec = await lease(world)
        assert (spec["leaseTransitions"], spec["holderIdentity"]) == (epoch, f"start-{epoch}")


async def test_claims_at_the_same_time_get_different_epochs(world: RealWorld) -> None:
    claims = (claim_epoch(world.http, world.namespace, NAME, f"start-{n}") for n in range(4))
    assert sorted(await asyncio.gather(*claims)) == [1, 2, 3, 4]


async def test_a_lease_of_somebody_who_counted_otherwise_is_taken_over(world: RealWorld) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{world.namespace}/leases"
    await world.send("POST", path, {"metadata": {"name": NAME}, "spec": {"holderIdentity": "by hand"}})
    assert await claim_epoch(world.http, world.namespace, NAME, "start") == 1


async def test_a_claim_waits_for_the_api_server(world: RealWorld, cluster: Cluster) -> None:
    async with Relay(cluster.server) as relay:
        credentials = await Credentials.load(cluster.kubeconfig)
        credentials.server = relay.url
        async with KubeHttp(credentials, timeout_seconds=2) as http:
            await relay.cut()
            claim = asyncio.create_task(claim_epoch(http, world.namespace, NAME, "start"))
            done, _ = await asyncio.wait([claim], timeout=0.3)
            assert not done
            await relay.mend()
            async with asyncio.timeout(20):
                assert await claim == 1


async def test_a_definite_refusal_is_told(world: RealWorld) -> None:
    with pytest.raises(LeaseRefusedError, match=r"Lease no-such-namespace/.*not found"):
        await claim_epoch(world.http, "no-such-namespace", NAME, "start")
