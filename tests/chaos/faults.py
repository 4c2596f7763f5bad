"""The faults: what each does, as a context manager that begins it and, at its end, mends it.

`TABLE` is all of them; docs/chaos.md tells each to users, and a test holds the two together.
"""

from __future__ import annotations

import asyncio
import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

import asyncpg

from operators import Site
from replicas import Replicas
from taskjob_cluster.postgres import Postgres

from .wires import Wires


@dataclass(frozen=True, slots=True)
class Stage:
    """What a fault may take hold of."""

    site: Site
    replicas: Replicas
    postgres: Postgres
    wires: Wires
    draw: random.Random


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault. Of one part only one at a time; `holds`: for how many seconds, between these two."""

    name: str
    part: str
    holds: tuple[float, float]
    play: Callable[[Stage], AbstractContextManager[None]]


def hold(seconds: float) -> None:
    """Let what was done take effect: a fault has a length, there is nothing to wait for."""
    threading.Event().wait(seconds)


# ------------------------------------------------------------------ the operator
@contextmanager
def _operator_killed(stage: Stage) -> Iterator[None]:
    stage.draw.choice(stage.replicas.all).signal(signal.SIGKILL)
    if stage.draw.random() < 0.5 and (leader := stage.replicas.leader()):
        leader.signal(signal.SIGKILL)
    yield


@contextmanager
def _operator_frozen(stage: Stage) -> Iterator[None]:
    frozen = stage.replicas.leader() or stage.replicas.all[0]
    frozen.pause()
    try:
        yield
    finally:
        frozen.resume()


@contextmanager
def _operator_rivalled(stage: Stage) -> Iterator[None]:
    rival = stage.replicas.rival().start()
    try:
        yield
    finally:
        rival.kill()


# ------------------------------------------------------------------ the control plane
@contextmanager
def _component_killed(stage: Stage, name: str) -> Iterator[None]:
    stage.site.cluster.stop_component(name, kill=True)
    try:
        yield
    finally:
        stage.site.cluster.restart_component(name)


@contextmanager
def _component_frozen(stage: Stage, name: str) -> Iterator[None]:
    stage.site.cluster.pause(name)
    try:
        yield
    finally:
        stage.site.cluster.resume(name)


@contextmanager
def _compacted(stage: Stage) -> Iterator[None]:
    stage.site.cluster.compact_store()
    stage.wires.run(stage.wires.api.end_watches(0))
    yield


# ------------------------------------------------------------------ the way to the API server
@contextmanager
def _api_troubled(stage: Stage, trouble: str, share: float) -> Iterator[None]:
    wire = stage.wires.api
    wire.trouble, wire.share = trouble, share
    try:
        yield
    finally:
        wire.trouble, wire.share = "", 0.0


@contextmanager
def _watches_ended(stage: Stage, code: int) -> Iterator[None]:
    for _ in range(stage.draw.randint(1, 3)):
        stage.wires.run(stage.wires.api.end_watches(code))
        hold(stage.draw.uniform(0.1, 0.8))
    yield


# ------------------------------------------------------------------ PostgreSQL
@contextmanager
def _postgres_killed(stage: Stage) -> Iterator[None]:
    stage.postgres.kill()
    try:
        yield
    finally:
        stage.postgres.restart()


@contextmanager
def _postgres_stopped(stage: Stage) -> Iterator[None]:
    stage.postgres.stop()
    try:
        yield
    finally:
        stage.postgres.restart()


@contextmanager
def _postgres_slow(stage: Stage) -> Iterator[None]:
    stage.wires.database.late = stage.draw.uniform(0.1, 0.6)
    try:
        yield
    finally:
        stage.wires.database.late = 0.0


@contextmanager
def _postgres_cut(stage: Stage) -> Iterator[None]:
    stage.wires.run(stage.wires.database.cut())
    yield


@contextmanager
def _postgres_full(stage: Stage) -> Iterator[None]:
    """Every connection is taken, those of the operator and the API are ended: they find no place."""
    folder = parse_qs(urlsplit(stage.postgres.url).query)["host"][0]

    async def take() -> list[asyncpg.Connection]:
        taken: list[asyncpg.Connection] = []
        await stage.wires.database.cut()
        with suppress(asyncpg.PostgresError, OSError):
            while len(taken) < 200:
                taken.append(await asyncpg.connect(host=folder, user="taskjobs", database="postgres", timeout=10))
        return taken

    async def give_back(taken: list[asyncpg.Connection]) -> None:
        await asyncio.gather(*(each.close() for each in taken), return_exceptions=True)

    taken = stage.wires.run(take())
    try:
        yield
    finally:
        stage.wires.run(give_back(taken))


TABLE: Final = (
    Fault("operator-killed", "operator", (0.2, 1.5), _operator_killed),
    Fault("operator-frozen", "operator", (0.3, 2.0), _operator_frozen),
    Fault("operator-frozen-past-its-lease", "operator", (5.0, 7.0), _operator_frozen),
    Fault("operator-rivalled", "operator", (2.0, 4.0), _operator_rivalled),
    Fault("apiserver-killed", "control plane", (0.0, 2.0), lambda stage: _component_killed(stage, "kube-apiserver")),
    Fault("apiserver-frozen", "control plane", (1.0, 4.0), lambda stage: _component_frozen(stage, "kube-apiserver")),
    Fault("etcd-killed", "control plane", (0.0, 2.0), lambda stage: _component_killed(stage, "etcd")),
    Fault("etcd-compacted", "control plane", (0.0, 0.5), _compacted),
    Fault("kubelets-frozen", "nodes", (1.0, 3.0), lambda stage: _component_frozen(stage, "kwok")),
    Fault("requests-refused", "way to the API server", (1.0, 3.0), lambda stage: _api_troubled(stage, "refuse", 0.3)),
    Fault("requests-lied-about", "way to the API server", (1.0, 3.0), lambda stage: _api_troubled(stage, "lie", 0.3)),
    Fault("answers-lost", "way to the API server", (1.0, 3.0), lambda stage: _api_troubled(stage, "lose", 0.3)),
    Fault("answers-cut-in-half", "way to the API server", (1.0, 3.0), lambda stage: _api_troubled(stage, "half", 0.3)),
    Fault("requests-slow", "way to the API server", (1.0, 4.0), lambda stage: _api_troubled(stage, "slow", 0.5)),
    Fault("watches-cut", "watches", (0.0, 0.5), lambda stage: _watches_ended(stage, 0)),
    Fault("watches-told-410", "watches", (0.0, 0.5), lambda stage: _watches_ended(stage, 410)),
    Fault("watches-told-an-error", "watches", (0.0, 0.5), lambda stage: _watches_ended(stage, 500)),
    Fault("postgres-killed", "PostgreSQL", (0.5, 3.0), _postgres_killed),
    Fault("postgres-stopped", "PostgreSQL", (0.5, 3.0), _postgres_stopped),
    Fault("postgres-slow", "PostgreSQL", (1.0, 4.0), _postgres_slow),
    Fault("postgres-cut", "PostgreSQL", (0.0, 0.5), _postgres_cut),
    Fault("postgres-full", "PostgreSQL", (1.0, 3.0), _postgres_full),
)
BY_NAME: Final = {fault.name: fault for fault in TABLE}


def drawn(draw: random.Random, count: int) -> list[tuple[Fault, ...]]:
    """So many strikes, in order: one fault alone, or two of different parts at once."""
    strikes: list[tuple[Fault, ...]] = []
    for _ in range(count):
        first = draw.choice(TABLE)
        others = [fault for fault in TABLE if fault.part != first.part]
        strikes.append((first, draw.choice(others)) if draw.random() < 0.4 else (first,))
    return strikes
