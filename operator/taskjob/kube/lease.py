"""The Lease: by it one of several operators leads, and each leadership gets a fencing epoch of its own.

The epoch is the Lease's `leaseTransitions`. Every write is a compare-and-swap (the patch carries the resourceVersion),
so no two processes ever get the same epoch, and a later one always gets a greater. `election.Candidacy` decides; here
are the requests, and the thread that keeps the lease whatever the rest of the process is busy with.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from datetime import datetime
from math import ceil, inf
from typing import Final, assert_never
from urllib.parse import quote

import msgspec

from taskjob.kube.clock import boottime
from taskjob.kube.election import Candidacy, Kind, Look, Record, Stop, Timing, Wait, Write
from taskjob.kube.fields import UNREADABLE
from taskjob.kube.http import MERGE_PATCH, KubeHttp, NoAnswerError, Reply, encode

log = logging.getLogger(__name__)

_LONGEST_RETRY_SECONDS: Final = 10.0
RELEASE_SECONDS: Final = 3.0
"""How long an orderly end tries to tell the others; they wait out the lease if it cannot."""


class LeaseRefusedError(Exception):
    """The API server will not let us have the Lease; the message says what and why (permissions, namespace)."""


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    holder_identity: str | None = None
    lease_transitions: int | None = None
    lease_duration_seconds: int | None = None


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""


class _Lease(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()
    spec: _Spec = _Spec()


_decode_lease = msgspec.json.Decoder(_Lease).decode


class LeaseRecord:
    """One Lease of the API server, as the record of an election."""

    def __init__(self, http: KubeHttp, namespace: str, name: str) -> None:
        self._http = http
        self._namespace = namespace
        self._name = name
        self._leases = f"/apis/coordination.k8s.io/v1/namespaces/{quote(namespace, safe='')}/leases"
        self._path = f"{self._leases}/{quote(name, safe='')}"

    async def read(self) -> Record | None:
        """As it is now; None if there is none. Raises `NoAnswerError`, `LeaseRefusedError`."""
        reply = await self._http.request("GET", self._path, verb="get", resource="leases")
        if reply.code == 404:
            return None
        return self._parse(reply, "read")

    async def write(self, write: Write, lease_seconds: float) -> Record | None:
        """Write it; None if it is no longer what the write was decided over. Raises as `read` does."""
        spec = {
            "holderIdentity": write.holder,
            "leaseTransitions": write.epoch,
            "leaseDurationSeconds": 1 if write.kind is Kind.RELEASE else ceil(lease_seconds),
            "renewTime": _instant(self._http.clock.now()),
        }
        if write.kind is Kind.ACQUIRE:
            spec["acquireTime"] = spec["renewTime"]
        if write.over is None:
            body: dict[str, object] = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._name, "namespace": self._namespace},
                "spec": spec,
            }
            reply = await self._http.request("POST", self._leases, verb="create", resource="leases", body=encode(body))
        else:
            # A patch leaves labels and annotations as they are; by the version in it, it is a compare-and-swap.
            body = {"metadata": {"resourceVersion": write.over}, "spec": spec}
            reply = await self._http.request(
                "PATCH", self._path, verb="patch", resource="leases", body=encode(body), content_type=MERGE_PATCH
            )
        if reply.code == 409 or (reply.code == 404 and write.over is not None):
            return None
        return self._parse(reply, write.kind.value + "d")

    def _parse(self, reply: Reply, done: str) -> Record:
        if reply.unsettled:
            raise NoAnswerError(reply.message)
        if not reply.ok:
            raise LeaseRefusedError(f"Lease {self._namespace}/{self._name} cannot be {done}: {reply.message}")
        try:
            found = _decode_lease(reply.body)
        except UNREADABLE as error:
            raise NoAnswerError(f"an answer that cannot be read: {error}") from error
        spec = found.spec
        return Record(
            found.metadata.resource_version,
            spec.holder_identity or "",
            spec.lease_transitions or 0,
            spec.lease_duration_seconds or 0,
        )


def _instant(now: datetime) -> str:
    return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# ---------------------------------------------------------------- without an election
async def claim_epoch(
    http: KubeHttp, namespace: str, name: str, identity: str, *, floor: int = 0, lease_seconds: float = 15
) -> int:
    """Take the Lease by force, whoever holds it, and return the new epoch: greater than `floor` and than any before.

    For an operator that runs alone: it need not wait until its killed predecessor's lease is over. Goes on trying
    while the API server cannot be reached or others claim at the same time. Raises `LeaseRefusedError` on a definite
    refusal. `identity` says for people who holds it.
    """
    record, seconds = LeaseRecord(http, namespace, name), Timing().retry
    while True:
        try:
            found = await record.read()
            epoch = max(found.epoch if found is not None else 0, floor) + 1
            write = Write(Kind.ACQUIRE, found.version if found is not None else None, identity, epoch)
            if await record.write(write, lease_seconds) is not None:
                return epoch
            why = "another process claimed it at the same time"
        except NoAnswerError as error:
            why = str(error)
        log.warning("Lease %s/%s: %s; trying again", namespace, name, why)
        await asyncio.sleep(seconds * random.uniform(0.5, 1))  # noqa: S311  # only jitter
        seconds = min(seconds * 2, _LONGEST_RETRY_SECONDS)


async def lift_epoch(http: KubeHttp, namespace: str, name: str, leader: Unopposed, epoch: int) -> None:
    """Leave the Lease with that epoch, if it is still this leader's: the next start then claims a greater one.

    Raises `NoAnswerError`, `LeaseRefusedError`.
    """
    record = LeaseRecord(http, namespace, name)
    found = await record.read()
    if found is not None and (found.holder, found.epoch) == (leader.holder, leader.epoch):
        await record.write(Write(Kind.RELEASE, found.version, "", max(epoch, found.epoch)), 1)


class Unopposed:
    """`ports.Leader` of an operator that claimed its epoch by force: it may act until it is fenced."""

    def __init__(self, identity: str, epoch: int = 0) -> None:
        self.holder = identity
        self.epoch = epoch

    def may_act(self) -> bool:
        """Always: the epoch alone decides whose writes count."""
        return True


# ---------------------------------------------------------------- the elector
class Elector:
    """`ports.Leader`: stands for election in a thread of its own, over a connection of its own, until it is stopped.

    `won` gets the epoch on the first acquisition. `lost` gets the reason when a leadership is over, or the exception
    that ended the thread: the process must stop then, this elector does not stand again.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[KubeHttp]],
        namespace: str,
        name: str,
        identity: str,
        timing: Timing,
        *,
        floor: Callable[[], int] = lambda: 0,
    ) -> None:
        """`connect` is called in the thread, and so is `floor`: the greatest epoch that the cluster shows."""
        self.won: Future[int] = Future()
        self.lost: Future[str] = Future()
        for each in (self.won, self.lost):
            each.set_running_or_notify_cancel()  # who waits for them may be cancelled; they are not
        self.identity = identity
        self._connect = connect
        self._lease = (namespace, name)
        self._timing = timing
        self._floor = floor
        self._candidacy = Candidacy(identity, timing)
        self._valid_until = -inf  # read by other threads, without a lock: one attribute, set as a whole
        self._thread = threading.Thread(target=self._live, name="elector", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._resigning = threading.Event()
        self._left_epoch = 0
        self._nudge: asyncio.Event | None = None
        self.trouble = ""
        """Why the last request failed; empty if it did not."""
        self._refused_at: dict[type[Look | Write], float] = {}  # since when every answer has been a refusal

    # ------------------------------------------------------------------ for the other threads
    @property
    def epoch(self) -> int:
        """Ours; 0 before it is won."""
        return self._candidacy.epoch

    @property
    def holder(self) -> str:
        """Who holds the lease as last seen, and as which epoch; for people."""
        record = self._candidacy.record
        if record is None:
            return "no Lease has been seen yet"
        return f"epoch {record.epoch} is held by {record.holder or 'nobody'}"

    def may_act(self) -> bool:
        """Whether the lease still holds by our clock: looked at just before each write is sent."""
        return boottime() < self._valid_until and not self._resigning.is_set()

    def start(self) -> None:
        """Stand for election from now on."""
        self._thread.start()

    def resign(self, floor: int = 0) -> None:
        """Act no more, and tell the others, who get epochs above `floor`. Blocks for some seconds at most."""
        self._left_epoch = floor
        self._resigning.set()
        if self._loop is not None and self._nudge is not None:
            with contextlib.suppress(RuntimeError):  # its loop has ended meanwhile
                self._loop.call_soon_threadsafe(self._nudge.set)
        if self._thread.is_alive():
            self._thread.join(RELEASE_SECONDS + 1)

    # ------------------------------------------------------------------ in the thread
    def _live(self) -> None:
        try:
            why = asyncio.run(self._elect())
        except BaseException as error:
            self._valid_until = -inf
            self.lost.set_exception(error)
            return
        self._valid_until = -inf
        self.lost.set_result(why)

    async def _elect(self) -> str:
        self._loop, self._nudge = asyncio.get_running_loop(), asyncio.Event()
        async with await self._connect() as http:
            record = LeaseRecord(http, *self._lease)
            give_up_at = inf
            while True:
                now = boottime()
                if self._resigning.is_set() and give_up_at == inf:
                    self._candidacy.resign(self._left_epoch)
                    give_up_at = now + RELEASE_SECONDS
                match self._candidacy.next(now, self._floor()):
                    case Stop(why):
                        return f"{why} ({self.trouble})" if self.trouble else why
                    case Wait(seconds):
                        await self._wait(seconds)
                    case step:
                        await self._ask(record, step)
                self._publish()
                if now > give_up_at:
                    return "it resigned, and the API server could not be told"

    async def _wait(self, seconds: float) -> None:
        assert self._nudge is not None  # noqa: S101  # made before the first step
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0.001)):
                await self._nudge.wait()
        self._nudge.clear()

    async def _ask(self, record: LeaseRecord, step: Look | Write) -> None:
        candidacy, sent_at = self._candidacy, boottime()
        try:
            async with asyncio.timeout(self._timing.request):
                match step:
                    case Look():
                        found = await record.read()
                        candidacy.saw(found, boottime())
                    case Write():
                        found = await record.write(step, self._timing.lease)
                        if found is None:
                            candidacy.conflicted(boottime())
                        else:
                            candidacy.written(step, found.version, sent_at, boottime())
                            self._tell(step)
                    case _:
                        assert_never(step)
            self.trouble = ""
            self._refused_at.pop(type(step), None)
        except (NoAnswerError, TimeoutError, LeaseRefusedError) as error:
            if isinstance(error, LeaseRefusedError):
                # An API server that has just started refuses everything until it knows its roles. What lasts as long
                # as a lease, somebody has to look at; a leader has until its deadline.
                since = self._refused_at.setdefault(type(step), sent_at)
                if not candidacy.leads and boottime() - since >= self._timing.lease:
                    raise
            self.trouble = str(error) or f"no answer within {self._timing.request:g} s"
            candidacy.unanswered(boottime())
            log.warning("Lease %s/%s: %s", *self._lease, self.trouble)

    def _tell(self, write: Write) -> None:
        if write.kind is Kind.RELEASE:
            log.info("Lease %s/%s: given back, epoch %d is over", *self._lease, write.epoch)
        elif write.kind is Kind.ACQUIRE and self._candidacy.leads:
            log.info("Lease %s/%s: %s leads as epoch %d", *self._lease, self.identity, write.epoch)

    def _publish(self) -> None:
        self._valid_until = self._candidacy.valid_until
        if self._candidacy.leads and not self.won.done():
            self.won.set_result(self._candidacy.epoch)
