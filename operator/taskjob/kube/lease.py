"""The Lease by which each start of the operator gets a fencing epoch of its own.

The epoch is the Lease's `leaseTransitions`, raised by compare-and-swap (the resourceVersion), so no two processes
ever get the same, and a later one always gets a greater.
"""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import msgspec

from taskjob.kube.http import KubeHttp, NoAnswerError, Reply, encode

log = logging.getLogger(__name__)

_RETRY_SECONDS: Final = 0.5
_LONGEST_RETRY_SECONDS: Final = 10.0
_DURATION_SECONDS: Final = 15
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class LeaseRefusedError(Exception):
    """The API server will not let us have the Lease; the message says what and why (permissions, namespace)."""


async def claim_epoch(http: KubeHttp, namespace: str, name: str, identity: str) -> int:
    """Raise the Lease's `leaseTransitions` by one, making the Lease if there is none, and return the new number.

    Goes on trying while the API server cannot be reached or others claim at the same time. Raises
    `LeaseRefusedError` on a definite refusal. `identity` says for people who holds it.
    """
    seconds = _RETRY_SECONDS
    while True:
        try:
            epoch = await _try(http, namespace, name, identity)
            if epoch is not None:
                return epoch
            why = "another process claimed it at the same time"
        except NoAnswerError as error:
            why = str(error)
        log.warning("Lease %s/%s: %s; trying again", namespace, name, why)
        await asyncio.sleep(seconds * random.uniform(0.5, 1))  # noqa: S311  # only jitter
        seconds = min(seconds * 2, _LONGEST_RETRY_SECONDS)


async def _try(http: KubeHttp, namespace: str, name: str, identity: str) -> int | None:
    """One compare-and-swap; None if somebody was faster."""
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{quote(namespace, safe='')}/leases"
    path = f"{leases}/{quote(name, safe='')}"
    reply = await http.request("GET", path, verb="get", resource="leases")
    now = http.clock.now()
    if reply.code == 404:
        body: dict[str, Any] = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": namespace},
            "spec": _spec({}, 1, identity, now),
        }
        reply = await http.request("POST", leases, verb="create", resource="leases", body=encode(body))
        return _outcome(reply, 1, namespace, name)
    _must_be_ok(reply, namespace, name)
    body = _decode_object(reply.body)
    spec = body.get("spec") or {}
    epoch = int(spec.get("leaseTransitions") or 0) + 1
    body["spec"] = _spec(spec, epoch, identity, now)
    # The body carries the resourceVersion that was read: the server answers 409 if it is no longer that.
    reply = await http.request("PUT", path, verb="update", resource="leases", body=encode(body))
    return _outcome(reply, epoch, namespace, name)


def _spec(spec: dict[str, Any], epoch: int, identity: str, now: datetime) -> dict[str, Any]:
    instant = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        **spec,
        "holderIdentity": identity,
        "leaseTransitions": epoch,
        "leaseDurationSeconds": _DURATION_SECONDS,
        "acquireTime": instant,
        "renewTime": instant,
    }


def _outcome(reply: Reply, epoch: int, namespace: str, name: str) -> int | None:
    if reply.code == 409:
        return None
    _must_be_ok(reply, namespace, name)
    return epoch


def _must_be_ok(reply: Reply, namespace: str, name: str) -> None:
    if reply.ok:
        return
    if reply.unsettled:
        raise NoAnswerError(reply.message)
    raise LeaseRefusedError(f"Lease {namespace}/{name} cannot be claimed: {reply.message}")
