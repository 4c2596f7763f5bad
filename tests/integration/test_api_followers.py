"""How many logs may be followed at once."""

from __future__ import annotations

import pytest
from kubernetes import client

from api_server import Server
from api_world import Refusal, a_world, eventually
from kubelets import Kubelet
from live_logs import following, nobody_follows, running
from taskjob_api.service import StreamLimits
from taskjob_cluster import Cluster

pytestmark = pytest.mark.cluster
SECOND = 10**9


async def test_no_more_logs_are_followed_at_once_than_the_setting_says(
    cluster: Cluster, database_url: str, server: Server, kubelet: Kubelet, kubernetes_client: client.ApiClient
) -> None:
    async with a_world(cluster.kubeconfig, database_url, limits=StreamLimits(followers=1)) as world:
        job = await running(world, server, kubelet, kubernetes_client)
        job.kubelet.write(job.pod, "one", at=1 * SECOND)
        async with following(world, job.path) as events:
            await events.read(1)
            refused = await world.http.get(job.path, params={"follow": "true"})
            assert Refusal.of(refused) == Refusal(503, "unavailable", ())
            assert (refused.json()["detail"], refused.headers["retry-after"]) == ("1 logs are followed already", "10")
            assert (await world.http.get(job.path)).text == "one\n", "whoever only reads finds room"
        job.kubelet.write(job.pod, "two", at=2 * SECOND)
        await eventually(lambda: nobody_follows(world), "the API noticed that the client has left")
        async with following(world, job.path) as events:
            await events.read(2)
        assert events.lines == ["one", "two"]
        job.kubelet.end(job.pod)
