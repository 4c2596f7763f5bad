"""The epoch on the service account, whatever stands there; on a real API server: tests/integration/test_fence.py."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from taskjob.kube.clock import ClusterClock
from taskjob.kube.fence import FenceRefusedError, announce
from taskjob.kube.http import LIST_FLOOR_SECONDS, KubeHttp, ListFloor, Reply, encode
from taskjob.kube.lists import ListError, list_jobs
from taskjob.kube.pods import EPOCH
from taskjob.ports import DeposedError

FORBIDDEN = Reply(403, b'{"message": "serviceaccounts \\"taskjobs-operator\\" is forbidden"}')
THERE = Reply(200, b'{"metadata": {"resourceVersion": "7"}}')


class Time:
    """Goes on by two seconds with each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def elapsed(self) -> float:
        self.now += 2
        return self.now


class Account:
    """An API server with one service account, and a list of TaskJobs of the version `listed`."""

    def __init__(self, epoch: str, listed: int = 1) -> None:
        self.annotations = {EPOCH: epoch}
        self.clock = Time()
        self.listed = listed
        self.seconds = 0.0
        self.list_floor = ListFloor(ClusterClock(elapsed=lambda: self.seconds))

    async def request(self, method: str, path: str, *, body: bytes | None = None, **_: Any) -> Reply:
        if path.endswith("/taskjobs"):
            return Reply(200, encode({"metadata": {"resourceVersion": str(self.listed)}, "items": []}))
        if method == "PATCH" and body is not None:
            self.annotations |= json.loads(body)["metadata"]["annotations"]
        return Reply(200, encode({"metadata": {"resourceVersion": "5", "annotations": self.annotations}}))


NO_EPOCH = ["", "3", "-8", "many", "8.5", "\N{SUPERSCRIPT TWO}", "9" * 5000, str(2**30 + 1), "9" * 18]


@pytest.mark.parametrize("there", NO_EPOCH)
async def test_what_is_no_greater_epoch_is_replaced_by_ours(there: str) -> None:
    account = Account(there)
    await announce(cast(KubeHttp, account), "home", "operator", 7)
    assert account.annotations == {EPOCH: "7"}


async def test_a_greater_epoch_stays_and_deposes_us() -> None:
    account = Account("8")
    with pytest.raises(DeposedError) as deposed:
        await announce(cast(KubeHttp, account), "home", "operator", 7)
    assert (deposed.value.epoch, account.annotations) == (8, {EPOCH: "8"})


# ------------------------------------------------------------------ an API server that has just started
class Server:
    """Gives these answers, the last one for ever; `asked` counts."""

    def __init__(self, *replies: Reply) -> None:
        self.clock = Time()
        self.list_floor = ListFloor(ClusterClock())
        self.asked = 0
        self._replies = replies

    async def request(self, *_: object, **__: object) -> Reply:
        self.asked += 1
        return self._replies[min(self.asked, len(self._replies)) - 1]


async def test_it_announces_its_epoch_once_the_api_server_knows_its_roles() -> None:
    server = Server(FORBIDDEN, FORBIDDEN, THERE)
    await announce(cast(KubeHttp, server), "home", "taskjobs-operator", 3)
    assert server.asked == 4  # refused twice, then read and written


async def test_what_stays_forbidden_ends_it_with_the_reason() -> None:
    with pytest.raises(FenceRefusedError, match=r"home/taskjobs-operator cannot be given our epoch: .* is forbidden"):
        await announce(cast(KubeHttp, Server(FORBIDDEN)), "home", "taskjobs-operator", 3)


# ------------------------------------------------------------------ an API server behind a cache that lags
@pytest.mark.parametrize("there", ["6", "7"])
async def test_a_list_from_before_we_led_is_not_decided_on_but_asked_for_again(there: str) -> None:
    account = Account(there, listed=4)
    http = cast(KubeHttp, account)
    assert await list_jobs(http) == (4, [])
    await announce(http, "home", "operator", 7)
    with pytest.raises(ListError, match="of version 4, from before we led: a cache lags behind"):
        await list_jobs(http)
    account.listed = 5
    assert await list_jobs(http) == (5, [])


async def test_a_store_whose_versions_cannot_be_compared_holds_up_a_leader_for_a_minute_only() -> None:
    account = Account("6", listed=4)
    http = cast(KubeHttp, account)
    await announce(http, "home", "operator", 7)
    account.seconds = LIST_FLOOR_SECONDS - 1
    with pytest.raises(ListError):
        await list_jobs(http)
    account.seconds = LIST_FLOOR_SECONDS
    assert await list_jobs(http) == (4, [])
