"""Launches that wait to be sent, and those that have been and have no definite answer yet, by namespace.

Creates may hang for reasons of one namespace, as for a webhook of its own that does not answer. So of what may be under
way at once, launches have three quarters, those of one namespace half, and those of it that are asked for again an
eighth. While too many of a namespace have been in doubt for long, no new one of it is sent. Creates that are answered
within milliseconds never come near these bounds. Instants are seconds of any one clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from taskjob.core.decisions import Launch
from taskjob.core.model import Namespace

STUCK_LAUNCHES: Final = 8
STUCK_SECONDS: Final = 3.0
"""A namespace is stuck while so many of its launches have had no definite answer for so long."""


@dataclass(slots=True)
class Tries:
    """What is known of a launch that was sent."""

    launch: Launch  # an attempt may be launched anew while an earlier request for it is still in doubt
    began_at: float
    failures: int = 0
    doubt: bool = False  # whether some create was not answered: it may be carried out late
    again: bool = False  # whether the one under way is not the first


@dataclass(slots=True)
class _Waiting:
    number: int  # counts up in the order of coming
    since: float
    launch: Launch


@dataclass(slots=True)
class _Of:
    """One namespace's."""

    new: deque[_Waiting] = field(default_factory=deque)
    again: deque[_Waiting] = field(default_factory=deque)
    tries: dict[int, Tries] = field(default_factory=dict)  # of those without a definite answer by `id`, oldest first
    again_under_way: int = 0

    def __bool__(self) -> bool:
        return bool(self.new or self.again or self.tries)


class Launches:
    """A queue in the order of coming, but for what may not be sent now."""

    def __init__(self, at_once: int) -> None:
        self._at_once = max(1, at_once * 3 // 4)
        self._of_one = max(1, at_once // 2)
        self._again = max(1, at_once // 8)
        self._stuck = min(STUCK_LAUNCHES, self._of_one)
        self._of: dict[Namespace, _Of] = {}
        self._under_way = 0
        self._number = 0

    def __len__(self) -> int:
        return sum(len(of.new) + len(of.again) for of in self._of.values())

    def waiting(self, now: float) -> int:
        """How many wait for their turn: those of a stuck namespace have none."""
        return sum(len(of.new) + len(of.again) for of in self._of.values() if not self._is_stuck(of, now))

    @property
    def in_doubt(self) -> bool:
        """Whether any was sent that has no definite answer."""
        return any(of.tries for of in self._of.values())

    def push(self, launch: Launch, now: float) -> None:
        """Let it wait for its turn; one that was sent before, to be asked for again."""
        of = self._of.setdefault(launch.job.namespace, _Of())
        self._number += 1
        (of.again if id(launch) in of.tries else of.new).append(_Waiting(self._number, now, launch))

    def take(self, now: float) -> Launch | None:
        """The first that may be sent; it is under way until `answered`."""
        if self._under_way >= self._at_once:
            return None
        queues = [queue for of in self._of.values() if (queue := self._next(of, now)) is not None]
        if not queues:
            return None
        launch = min(queues, key=lambda queue: queue[0].number).popleft().launch
        of = self._of[launch.job.namespace]
        tries = of.tries.get(id(launch))
        if tries is None:
            of.tries[id(launch)] = Tries(launch, now)
        else:
            tries.again = True
            of.again_under_way += 1
        self._under_way += 1
        return launch

    def _next(self, of: _Of, now: float) -> deque[_Waiting] | None:
        if of.again and of.again_under_way < self._again:
            return of.again
        if of.new and len(of.tries) < self._of_one and not self._is_stuck(of, now):
            return of.new
        return None

    def tries(self, launch: Launch) -> Tries:
        """Of one that is under way."""
        return self._of[launch.job.namespace].tries[id(launch)]

    def answered(self, launch: Launch, *, definite: bool) -> None:
        """The one under way is not any more; without a definite answer it is to be pushed again."""
        of = self._of[launch.job.namespace]
        self._under_way -= 1
        tries = of.tries[id(launch)]
        if tries.again:
            tries.again = False
            of.again_under_way -= 1
        if definite:
            del of.tries[id(launch)]
            if not of:
                del self._of[launch.job.namespace]

    def _is_stuck(self, of: _Of, now: float) -> bool:
        last = next(islice(of.tries.values(), self._stuck - 1, None), None)
        return last is not None and last.began_at <= now - STUCK_SECONDS

    def is_held_up(self, request: object, now: float) -> bool:
        """Whether this is a launch that is not sent soon, since its namespace is stuck."""
        return isinstance(request, Launch) and self._is_stuck(self._of[request.job.namespace], now)

    def withdraw(self, now: float, which: Callable[[Launch, float], bool]) -> list[Launch]:
        """Of those that were never sent, in namespaces that are stuck, take out the ones that `which` names, told the
        launch and since when it waits."""
        withdrawn: list[Launch] = []
        for of in self._of.values():
            if of.new and self._is_stuck(of, now):
                kept: deque[_Waiting] = deque()
                for waiting in of.new:
                    if which(waiting.launch, waiting.since):
                        withdrawn.append(waiting.launch)
                    else:
                        kept.append(waiting)
                of.new = kept
        return withdrawn

    def beyond(self, most: int, now: float) -> list[Launch]:
        """Of those that were never sent, in namespaces that are not stuck (any more), take out what is more than that,
        the latest first: it was decided while it took no room."""
        taken: list[Launch] = []
        for of in self._of.values():
            while len(of.new) > most and not self._is_stuck(of, now):
                taken.append(of.new.pop().launch)
        return taken
