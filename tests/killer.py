"""Kills one operator by SIGKILL, again and again and in several ways, at the moments that matter."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

from cluster_api import Object, Witness
from kill_story import ATTEMPT, JOB
from operator_process import OperatorProcess
from operators import Site


class Trigger:
    """Set by the `count`-th event of a kind that a witness sees from now on."""

    def __init__(self, witness: Witness, wanted: Callable[[str, Object], bool], count: int) -> None:
        self._witness = witness
        self._wanted = wanted
        self._left = count
        self._pulled = threading.Event()
        witness.listeners.append(self._hear)

    def _hear(self, kind: str, found: Object) -> None:
        if self._wanted(kind, found):
            self._left -= 1
            if self._left <= 0:
                self._pulled.set()

    def wait(self, seconds: float) -> bool:
        """Whether it was pulled within the time."""
        pulled = self._pulled.wait(seconds)
        self._witness.listeners.remove(self._hear)
        return pulled


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
            Trigger(self.site.pods, lambda kind, _: kind == "ADDED", self.draw.randint(1, 6)).wait(3)
        elif way < 0.85:
            # As soon as an attempt's end is written: its pod is not removed, its log perhaps not kept.
            Trigger(self.site.jobs, lambda kind, _: kind == "MODIFIED", self.draw.randint(1, 10)).wait(3)
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
