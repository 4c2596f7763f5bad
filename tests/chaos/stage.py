"""What a fault may take hold of, and the shape of a fault."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import urllib3

from cluster_api import RefusedError
from operators import Site
from replicas import Replicas
from taskjob_cluster.postgres import Postgres

from .disk import SmallDisk
from .wires import Wires
from .work import Task

T = TypeVar("T")


@dataclass(slots=True)
class Stage:
    """What a fault may take hold of. `failovers`: how often PostgreSQL went on from a replica that lacked rows."""

    site: Site
    replicas: Replicas
    postgres: Postgres
    disk: SmallDisk
    wires: Wires
    work: Sequence[Task]
    draw: random.Random
    failovers: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault. Of one part only one at a time; `holds`: for how many seconds, between these two; `alone`:
    nothing else breaks meanwhile."""

    name: str
    part: str
    holds: tuple[float, float]
    play: Callable[[Stage], AbstractContextManager[None]]
    alone: bool = False


class NotPlayedError(Exception):
    """This machine cannot play the fault; the message says why."""


def hold(seconds: float) -> None:
    """Let what was done take effect: a fault has a length, there is nothing to wait for."""
    threading.Event().wait(seconds)


def firmly(what: Callable[[], T], *, done: tuple[int, ...] = ()) -> T | None:
    """Ask an API server that may be away or busy, until it answers; the codes in `done` mean that it is done."""
    give_up_at = time.monotonic() + 60
    while True:
        try:
            return what()
        except RefusedError as error:
            if error.code in done:
                return None
            if (error.code < 500 and error.code != 429) or time.monotonic() > give_up_at:
                raise
        except (urllib3.exceptions.HTTPError, OSError):
            if time.monotonic() > give_up_at:
                raise
        time.sleep(0.2)
