"""The epoch on the service account, whatever stands there; on a real API server: tests/integration/test_fence.py."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from taskjob.kube.fence import announce
from taskjob.kube.http import KubeHttp, Reply, encode
from taskjob.kube.pods import EPOCH
from taskjob.ports import DeposedError


class Account:
    """An API server with one service account."""

    def __init__(self, epoch: str) -> None:
        self.annotations = {EPOCH: epoch}

    async def request(self, method: str, _: str, *, body: bytes | None = None, **__: Any) -> Reply:
        if method == "PATCH" and body is not None:
            self.annotations |= json.loads(body)["metadata"]["annotations"]
        return Reply(200, encode({"metadata": {"resourceVersion": "1", "annotations": self.annotations}}))


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
