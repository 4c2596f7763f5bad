"""The faults: what each does, as a context manager that begins it and, at its end, mends it.

`TABLE` is all of them; docs/chaos.md tells each to users, and a test holds the two together.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from . import databases, nodes
from .stage import Fault, Stage, hold


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
        _look_at_pods_again(stage)


def _look_at_pods_again(stage: Stage) -> None:
    """A kubelet does it all the time. Simulated nodes leave a pod as it is for good if it cannot be written that it has
    ended, until they are started again (seed 8200)."""
    stage.site.cluster.restart_component("kwok", kill=True)


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
def _answers_half_closed(stage: Stage) -> Iterator[None]:
    stage.wires.run(stage.wires.api.half_close_watches())
    with _api_troubled(stage, "half-closed", 0.3):
        yield


@contextmanager
def _clock_jumped(stage: Stage) -> Iterator[None]:
    """The clock that the operator goes by, which is the API server's, is set; then it is set right again."""
    stage.wires.api.clock_ahead = stage.draw.choice((-1, 1)) * stage.draw.uniform(10, 40)
    try:
        yield
    finally:
        stage.wires.api.clock_ahead = 0.0


@contextmanager
def _lists_stale(stage: Stage) -> Iterator[None]:
    """Half of the lists are what they were some lists ago, and everybody has to list: watches end with 410."""
    with _api_troubled(stage, "stale", 0.5):
        for _ in range(3):
            stage.wires.run(stage.wires.api.end_watches(410))
            hold(0.5)
        yield


@contextmanager
def _watches_late(stage: Stage) -> Iterator[None]:
    flowing = stage.wires.api.flowing
    stage.wires.loop.call_soon_threadsafe(flowing.clear)
    try:
        yield
    finally:
        stage.wires.loop.call_soon_threadsafe(flowing.set)


@contextmanager
def _watches_ended(stage: Stage, code: int) -> Iterator[None]:
    for _ in range(stage.draw.randint(1, 3)):
        stage.wires.run(stage.wires.api.end_watches(code))
        hold(stage.draw.uniform(0.1, 0.8))
    yield


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
    Fault("node-lost", "nodes", (1.0, 4.0), nodes.lost, alone=True),
    Fault("requests-refused", "way to the API server", (1.0, 3.0), lambda stage: _api_troubled(stage, "refuse", 0.3)),
    Fault("requests-lied-about", "way to the API server", (1.0, 3.0), lambda stage: _api_troubled(stage, "lie", 0.3)),
    Fault("answers-lost", "way to the API server", (1.0, 3.0), lambda stage: _api_troubled(stage, "lose", 0.3)),
    Fault("answers-cut-in-half", "way to the API server", (1.0, 3.0), lambda stage: _api_troubled(stage, "half", 0.3)),
    Fault("answers-half-closed", "way to the API server", (1.0, 3.0), _answers_half_closed),
    Fault("requests-slow", "way to the API server", (1.0, 4.0), lambda stage: _api_troubled(stage, "slow", 0.5)),
    Fault("lists-stale", "way to the API server", (1.0, 3.0), _lists_stale),
    Fault("clock-jumped", "clock", (1.0, 4.0), _clock_jumped),
    Fault("watches-late", "watches", (1.0, 4.0), _watches_late),
    Fault("watches-cut", "watches", (0.0, 0.5), lambda stage: _watches_ended(stage, 0)),
    Fault("watches-told-410", "watches", (0.0, 0.5), lambda stage: _watches_ended(stage, 410)),
    Fault("watches-told-an-error", "watches", (0.0, 0.5), lambda stage: _watches_ended(stage, 500)),
    Fault("postgres-killed", "PostgreSQL", (0.5, 3.0), databases.killed),
    Fault("postgres-stopped", "PostgreSQL", (0.5, 3.0), databases.stopped),
    Fault("postgres-slow", "PostgreSQL", (1.0, 4.0), databases.slow),
    Fault("postgres-cut", "PostgreSQL", (0.0, 0.5), databases.cut),
    Fault("postgres-half-closed", "PostgreSQL", (0.5, 2.0), databases.half_closed),
    Fault("postgres-full", "PostgreSQL", (1.0, 3.0), databases.without_connections),
    Fault("postgres-disk-full", "PostgreSQL", (1.0, 3.0), databases.disk_full),
    Fault("postgres-failed-over", "PostgreSQL", (0.0, 1.0), databases.failed_over, alone=True),
)
BY_NAME: Final = {fault.name: fault for fault in TABLE}


def drawn(draw: random.Random, count: int) -> list[tuple[Fault, ...]]:
    """So many strikes, in order: one fault alone, or two of different parts at once."""
    strikes: list[tuple[Fault, ...]] = []
    for _ in range(count):
        first = draw.choice(TABLE)
        others = [fault for fault in TABLE if fault.part != first.part and not fault.alone]
        strikes.append((first, draw.choice(others)) if draw.random() < 0.4 and not first.alone else (first,))
    return strikes
