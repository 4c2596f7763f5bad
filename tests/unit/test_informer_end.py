"""A watch of our own ends when it is told to, and begins anew when the server ends it, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any, ClassVar, cast

import pytest

from taskjob.admin import SILENT_SECONDS
from taskjob.core.model import Pod
from taskjob.kube.clock import ClusterClock
from taskjob.kube.http import KubeHttp, ListFloor, NoAnswerError, Reply
from taskjob.kube.informer import PodInformer
from virtual_time import VirtualClock, run


class Expired:
    """A server's answer to a watch of a version that it does not know any more."""

    status = 410
    headers: ClassVar[dict[str, str]] = {}

    async def read(self) -> bytes:
        return b'{"kind": "Status", "message": "too old resource version"}'


class Server:
    """Lists are empty; each watch is answered once `expire` is set."""

    def __init__(self) -> None:
        self.clock = ClusterClock()
        self.list_floor = ListFloor(self.clock)
        self.watched, self.expire = asyncio.Event(), asyncio.Event()

    async def request(self, *_: object, **__: object) -> Reply:
        return Reply(200, b'{"metadata": {"resourceVersion": "5"}, "items": []}')

    @contextlib.asynccontextmanager
    async def stream(self, *_: object, **__: object) -> AsyncIterator[Any]:
        self.watched.set()
        await self.expire.wait()
        yield Expired()


class Ended:
    """A watch that the server ends before it has brought anything."""

    status = 200

    @property
    def content(self) -> Ended:
        return self

    async def iter_any(self) -> AsyncIterator[bytes]:
        nothing: tuple[bytes, ...] = ()
        for piece in nothing:
            yield piece


class Overwhelmed:
    """A server that lists, and ends each watch at once, so many times; then it keeps silent."""

    def __init__(self, times: int) -> None:
        self.clock = VirtualClock()
        self.list_floor = ListFloor(ClusterClock())
        self.watched_at: list[float] = []
        self._times, self.done = times, asyncio.Event()

    async def request(self, *_: object, **__: object) -> Reply:
        return Reply(200, b'{"metadata": {"resourceVersion": "5"}, "items": []}')

    @contextlib.asynccontextmanager
    async def stream(self, *_: object, **__: object) -> AsyncIterator[Any]:
        self.watched_at.append(self.clock.elapsed())
        if len(self.watched_at) > self._times:
            self.done.set()
            await asyncio.Event().wait()
        yield Ended()


class Away(Overwhelmed):
    """A server that is not there."""

    async def request(self, *_: object, **__: object) -> Reply:
        raise NoAnswerError("connection refused")


class Nobody:
    """Is told, and does nothing."""

    def replace_pods(self, version: int, pods: Sequence[Pod]) -> None: ...

    def observe_pod(self, pod: Pod) -> None: ...

    def forget_pod(self, pod: Pod) -> None: ...


@pytest.mark.parametrize("steps", range(12))
async def test_a_cancellation_is_heard_in_every_step_in_which_a_watch_expires(steps: int) -> None:
    server = Server()
    # Two namespaces: one watch ends because the other did.
    following = asyncio.create_task(PodInformer(cast("KubeHttp", server), Nobody(), ("a", "b")).run())
    await server.watched.wait()
    server.expire.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    following.cancel()
    await asyncio.wait([following], timeout=5)
    heard = following.cancelled()
    following.cancel()  # lest it outlive the test
    await asyncio.wait([following], timeout=5)
    assert heard, f"it goes on after a cancellation that came {steps} steps after the watch expired"


def test_watches_that_the_server_ends_in_a_burst_leave_nobody_blind_for_long() -> None:
    """The longer one waits, the more there is to catch up with, and the sooner the server ends the next one, too."""

    async def overwhelmed() -> list[float]:
        server = Overwhelmed(times=12)
        following = asyncio.create_task(PodInformer(cast("KubeHttp", server), Nobody()).run())
        await server.done.wait()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        return server.watched_at

    at = run(overwhelmed())
    waits = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert len(waits) == 12
    assert max(waits) < 1, "it was blind for longer than a second"
    assert min(waits[4:]) > 0.3, "it did not leave the server any time"


HOUR = 3600


async def an_hour_of(server: Overwhelmed) -> tuple[float, float]:
    """How silent it was, and how stuck it is, who has followed that server for an hour; the worst of each."""
    informer = PodInformer(cast("KubeHttp", server), Nobody(), ("a", "b"))
    following = asyncio.create_task(informer.run())
    silent = stuck = 0.0
    for _ in range(HOUR):
        await asyncio.sleep(1)
        silent, stuck = max(silent, informer.silent_seconds), max(stuck, informer.stuck_seconds)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    return silent, stuck


def test_who_follows_an_api_server_that_is_away_is_not_ready_and_not_to_be_restarted() -> None:
    """Restarted again and again, it would be in the longest of pauses when the API server comes back."""
    silent, stuck = run(an_hour_of(Away(times=0)))
    assert silent == pytest.approx(HOUR, abs=1)
    assert stuck < SILENT_SECONDS / 2


def test_who_neither_hears_nor_tries_anything_is_to_be_restarted() -> None:
    silent, stuck = run(an_hour_of(Overwhelmed(times=0)))  # no real watch can hang so: its reads have a time limit
    assert min(silent, stuck) == pytest.approx(HOUR, abs=1)
