"""The epoch on the operator's service account, by which the chart's policies know who leads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from relays import Relay
from taskjob.kube.credentials import Credentials
from taskjob.kube.fence import FenceRefusedError, announce
from taskjob.kube.http import KubeHttp
from taskjob.kube.pods import EPOCH
from taskjob.ports import DeposedError
from taskjob_cluster import Cluster

pytestmark = pytest.mark.cluster
ACCOUNT = "taskjobs-operator"


@pytest.fixture
async def http(cluster: Cluster, namespace: str) -> AsyncIterator[KubeHttp]:
    cluster.kubectl("-n", namespace, "create", "serviceaccount", ACCOUNT)
    async with await KubeHttp.connect(cluster.kubeconfig) as connected:
        yield connected


def what_it_says(cluster: Cluster, namespace: str) -> dict[str, str]:
    account = json.loads(cluster.kubectl("-n", namespace, "get", "serviceaccount", ACCOUNT, "-o", "json"))
    found: dict[str, str] = account["metadata"].get("annotations", {})
    return found


async def test_an_epoch_is_announced_beside_what_else_the_account_says(
    cluster: Cluster, namespace: str, http: KubeHttp
) -> None:
    cluster.kubectl("-n", namespace, "annotate", "serviceaccount", ACCOUNT, "of=others")
    for epoch in (3, 3, 4):
        await announce(http, namespace, ACCOUNT, epoch)
        assert what_it_says(cluster, namespace) == {"of": "others", EPOCH: str(epoch)}


async def test_who_comes_late_learns_which_epoch_is_there_and_leaves_it(
    cluster: Cluster, namespace: str, http: KubeHttp
) -> None:
    await announce(http, namespace, ACCOUNT, 8)
    with pytest.raises(DeposedError, match="is at epoch 8, ours is 7") as refused:
        await announce(http, namespace, ACCOUNT, 7)
    assert refused.value.epoch == 8
    assert what_it_says(cluster, namespace)[EPOCH] == "8"


async def test_of_many_at_once_the_greatest_stays(cluster: Cluster, namespace: str, http: KubeHttp) -> None:
    announced = (announce(http, namespace, ACCOUNT, epoch) for epoch in range(1, 7))
    answers = await asyncio.gather(*announced, return_exceptions=True)
    assert answers[-1] is None
    assert all(answer is None or isinstance(answer, DeposedError) for answer in answers)
    assert what_it_says(cluster, namespace)[EPOCH] == "6"


async def test_an_account_that_is_not_there_is_named(namespace: str, http: KubeHttp) -> None:
    with pytest.raises(FenceRefusedError, match=f'{namespace}/another .* serviceaccounts "another" not found'):
        await announce(http, namespace, "another", 1)


async def test_an_announcement_waits_for_the_api_server(cluster: Cluster, namespace: str, http: KubeHttp) -> None:
    async with Relay(cluster.server) as relay:
        credentials = await Credentials.load(cluster.kubeconfig)
        credentials.server = relay.url
        async with KubeHttp(credentials, timeout_seconds=2) as cut_off:
            await relay.cut()
            announcing = asyncio.create_task(announce(cut_off, namespace, ACCOUNT, 1))
            await asyncio.wait([announcing], timeout=0.7)
            assert not announcing.done()
            await relay.mend()
            await asyncio.wait_for(announcing, 20)
    assert what_it_says(cluster, namespace)[EPOCH] == "1"
