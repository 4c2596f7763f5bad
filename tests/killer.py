"""Kills one operator by SIGKILL, again and again and in several ways, at the moments that matter."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from http.client import HTTPException

from cluster_api import Object, Witness
from kill_story import ATTEMPT, JOB
from operator_process import READY_SECONDS, OperatorProcess
from operators import Site


def kill_at(
    operator: OperatorProcess,
    witness: Witness,
    wanted: Callable[[str, Object], bool],
    count: int,
    seconds: float = 3,
) -> bool:
    """SIGKILL at the sight of the `count`-th event of a kind, in the thread that sees it. False, and no kill, once the
    operator has been ready for so long: counted from its start, a busy machine would use it up for nothing."""
    killed = threading.Event()
    left = count

    def hear(kind: str, found: Object) -> None:
        nonlocal left
        left -= wanted(kind, found)
        if left <= 0 and not killed.is_set():
            operator.signal(signal.SIGKILL)
            killed.set()

    witness.listeners.append(hear)
    give_up_at = time.monotonic() + READY_SECONDS
    while not (killed.wait(0.05) or _is_ready(operator) or time.monotonic() > give_up_at):
        pass
    at_its_sight = killed.wait(seconds)
    witness.listeners.remove(hear)
    return at_its_sight


def _is_ready(operator: OperatorProcess) -> bool:
    try:
        return operator.ask("/readyz")[0] == 200
    except (OSError, HTTPException):  # it does not listen yet, or was killed while it answered
        return False


class Killer:
    """Kills one operator in several ways, until all jobs have ended and it has killed often enough."""

    def __init__(self, site: Site, operator: OperatorProcess, draw: random.Random) -> None:
        self.site = site
        self.operator = operator
        self.draw = draw
        self.kills = 0
        self.between = 0
        """Kills that hit between a pod's create and the status that shows its attempt."""

    def strike(self) -> None:
        """One life of the operator, and its end."""
        self.operator.start()
        way = self.draw.random()
        if way < 0.15:
            # While it starts: claims its epoch, lists, looks at what its forerunner left.
            threading.Event().wait(self.draw.uniform(0.05, 0.5))
        elif way < 0.65:
            # As soon as a pod was made: its status write comes later.
            kill_at(self.operator, self.site.pods, lambda kind, _: kind == "ADDED", self.draw.randint(1, 6))
        elif way < 0.85:
            # As soon as an attempt's end is written: its pod is not removed, its log perhaps not kept.
            kill_at(self.operator, self.site.jobs, lambda kind, _: kind == "MODIFIED", self.draw.randint(1, 10))
        else:
            threading.Event().wait(self.draw.uniform(0.3, 1.5))
        self.operator.kill()
        self.kills += 1
        self.between += self._is_between()

    def _is_between(self) -> bool:
        jobs = self.site.jobs.snapshot()
        for pod in self.site.pods.snapshot().values():
            labels = pod["metadata"]["labels"]
            status = jobs.get(labels[JOB], {}).get("status") or {}
            if int(labels[ATTEMPT]) > status.get("attempt", 0):
                return True
        return False
