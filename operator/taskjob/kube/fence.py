"""The epoch where the API server's admission sees it: an annotation of the operator's own service account.

The chart's policies refuse what that account writes with a lower epoch than the annotation says. It is not the Lease
that they read: kube-apiserver stops following a kind of parameter for good, until it is started again, when the last
policy that uses the kind is removed (kubernetes/kubernetes#130887). After an uninstall and another install such
policies would compare with a Lease of long ago. Service accounts it follows for itself, whatever policies there are.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final
from urllib.parse import quote

import msgspec

from taskjob.kube.fields import UNREADABLE, whole
from taskjob.kube.http import MERGE_PATCH, KubeHttp, NoAnswerError, Reply, encode
from taskjob.kube.pods import EPOCH
from taskjob.ports import DeposedError

log = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 0.5
_PATIENCE_SECONDS: Final = 10.0
"""How long we may be told that it is forbidden: so says an API server that has just started and knows no roles yet."""
_EPOCH_MAX: Final = 2**30
"""Half of what a Lease can count, one for each leadership: what is beyond no operator wrote."""


class FenceRefusedError(Exception):
    """The API server will not let us announce the epoch; the message says what and why."""


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    annotations: dict[str, str] | None = None


class _Account(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()


_decode = msgspec.json.Decoder(_Account).decode


async def announce(http: KubeHttp, namespace: str, account: str, epoch: int) -> None:
    """Annotate the service account with our epoch, by compare-and-swap; tried until it works.

    Whoever leads does it before it looks at what there is and decides: so what an older epoch still gets written, the
    new one sees, in lists that are not from before this. Raises `DeposedError` where a greater epoch stands,
    `FenceRefusedError` on a definite refusal.
    """
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/serviceaccounts/{quote(account, safe='')}"
    begun = http.clock.elapsed()

    def settled(reply: Reply) -> Reply:
        if reply.unsettled or (reply.code == 403 and http.clock.elapsed() - begun < _PATIENCE_SECONDS):
            raise NoAnswerError(reply.message)
        if not reply.ok:
            raise FenceRefusedError(f"service account {namespace}/{account} cannot be given our epoch: {reply.message}")
        return reply

    while True:
        try:
            found = _decode(settled(await _send(http, "GET", path)).body)
            there = whole((found.metadata.annotations or {}).get(EPOCH))
            if there == epoch:
                http.list_floor.raise_to(whole(found.metadata.resource_version))
                return
            if epoch < there <= _EPOCH_MAX:
                raise DeposedError(f"service account {namespace}/{account} is at epoch {there}, ours is {epoch}", there)
            metadata = {"resourceVersion": found.metadata.resource_version, "annotations": {EPOCH: str(epoch)}}
            reply = await _send(http, "PATCH", path, encode({"metadata": metadata}))
            if reply.code != 409:
                changed = _decode(settled(reply).body)
                http.list_floor.raise_to(whole(changed.metadata.resource_version))
                return
            why = "it was changed at the same time"
        except (NoAnswerError, *UNREADABLE) as error:
            why = str(error)
        log.warning("service account %s/%s cannot be given epoch %d: %s; trying again", namespace, account, epoch, why)
        await asyncio.sleep(_RETRY_SECONDS * random.uniform(0.5, 1))  # noqa: S311  # only jitter


async def _send(http: KubeHttp, method: str, path: str, body: bytes | None = None) -> Reply:
    return await http.request(
        method, path, verb=method.lower(), resource="serviceaccounts", body=body, content_type=MERGE_PATCH
    )
