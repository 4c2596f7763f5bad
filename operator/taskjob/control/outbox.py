"""What waits to be sent to the API server: by urgency, the latest status write per job, what nobody waits for paced.

Everything costs the API server about the same, so what is sent first is what others wait for: the end of a job
before its start, a start before an explanation. A job has at most one status write under way.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from heapq import heappop, heappush
from typing import Protocol

from taskjob.control.launches import Launches
from taskjob.core.decisions import EndPod, Launch, RemoveJob, RemovePod, SetQueueStatus, SetStatus, Urgency
from taskjob.core.model import Uid
from taskjob.core.notices import Notice

Request = Launch | SetStatus | EndPod | RemovePod | RemoveJob | SetQueueStatus | Notice

NOTICES_KEPT = 1000
"""Events that wait: more than these say nothing that anybody would read."""


class Rank(IntEnum):
    """The order of sending: smaller first."""

    END = 0
    TERMINAL = 1
    STOP = 2
    RETRY = 3
    LAUNCH = 4
    PROGRESS = 5
    QUEUE = 6
    HOLD = 7
    NOTICE = 8
    REMOVE = 9


_OF_URGENCY = {
    Urgency.TERMINAL: Rank.TERMINAL,
    Urgency.STOP: Rank.STOP,
    Urgency.RETRY: Rank.RETRY,
    Urgency.PROGRESS: Rank.PROGRESS,
    Urgency.HOLD: Rank.HOLD,
}


def rank(request: Request) -> Rank:
    """Where a request stands in the order of sending."""
    match request:
        case SetStatus():
            return _OF_URGENCY[request.urgency]
        case Launch():
            return Rank.LAUNCH
        case EndPod():
            return Rank.END
        case SetQueueStatus():
            return Rank.QUEUE
        case Notice():
            return Rank.NOTICE
        case RemovePod() | RemoveJob():
            return Rank.REMOVE


class Brake(Protocol):
    """What holds back requests of one rank. Instants and durations are seconds of any one clock."""

    def take(self, now: float) -> bool:
        """Whether one more may be sent at `now`; if so it counts."""

    def due_in(self, now: float) -> float | None:
        """In how many seconds `take` will say yes; None if only an answer can tell."""


class Pace:
    """A token bucket: `per_second` on average, `burst` at once. Time is a parameter."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._tokens = float(burst)
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """Whether one more may be sent at `now` (seconds of any clock); if so it counts."""
        self._refill(now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def due_in(self, now: float) -> float:
        """In how many seconds `take` will say yes."""
        self._refill(now)
        return max(0.0, (1 - self._tokens) / self._per_second)

    def _refill(self, now: float) -> None:
        if self._at is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now


class Courtesy:
    """A few at a time, and after each answer a pause that is `pauses` times as long as the answer took.

    An idle server, which answers within milliseconds, gets a hundred a second of them; a busy one hardly any. Its
    own latency is the measure, so that nothing has to be configured.
    """

    def __init__(self, at_once: int, pauses: float, longest_pause: float = 5.0) -> None:
        self._pauses = pauses
        self._longest_pause = longest_pause
        self._free_at = [0.0] * at_once  # a heap: when each of the places that are not under way may be used again

    def take(self, now: float) -> bool:
        """Whether one more may be sent at `now`; if so it takes a place until `answered`."""
        if not self._free_at or self._free_at[0] > now:
            return False
        heappop(self._free_at)
        return True

    def due_in(self, now: float) -> float | None:
        """In how many seconds `take` will say yes; None if all places are under way."""
        return max(0.0, self._free_at[0] - now) if self._free_at else None

    def answered(self, began: float, now: float) -> None:
        """One that was sent at `began` has its answer."""
        heappush(self._free_at, now + min(self._pauses * (now - began), self._longest_pause))


class Turns:
    """Requests of one rank, in their order; those of several tenants in turn, one of each."""

    def __init__(self) -> None:
        self._of: dict[object, deque[Request]] = {}  # the first is the tenant whose turn it is

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))

    def __bool__(self) -> bool:
        return bool(self._of)

    def add(self, request: Request, tenant: object = None) -> None:
        """Put it behind those of the same tenant."""
        self._of.setdefault(tenant, deque()).append(request)

    @property
    def first(self) -> Request:
        """The next; there is one."""
        return next(iter(self._of.values()))[0]

    def take(self) -> Request:
        """Take the next out, and pass the turn on."""
        tenant, waiting = next(iter(self._of.items()))
        request = waiting.popleft()
        del self._of[tenant]
        if waiting:
            self._of[tenant] = waiting
        return request

    def drop(self) -> None:
        """Throw the next away: that was no turn."""
        tenant, waiting = next(iter(self._of.items()))
        waiting.popleft()
        if not waiting:
            del self._of[tenant]


class Outbox:
    """Requests that wait. `pop` gives the most urgent one that may be sent now.

    Each rank is a queue of its own: one whose brake is on does not hold up those behind it. Of what is sent out of
    courtesy, and so may wait for long, no tenant's ten thousand come before another's one.
    """

    def __init__(self, launches: Launches, holds: Courtesy, removals: Pace, notices: Pace, progress: Courtesy) -> None:
        self.launches = launches
        self._queues: dict[Rank, Turns] = {rank: Turns() for rank in Rank}
        self._latest: dict[Uid, SetStatus] = {}  # of the status writes in the queues, those that still count
        self._writing: dict[Uid, tuple[SetStatus, float]] = {}  # what is under way, and since when
        self._courtesies = {Rank.HOLD: holds, Rank.PROGRESS: progress}
        self._brakes: dict[Rank, Brake] = {Rank.NOTICE: notices, Rank.REMOVE: removals, **self._courtesies}

    @property
    def has_room_for_notices(self) -> bool:
        """Whether another Event may wait here."""
        return len(self._queues[Rank.NOTICE]) < NOTICES_KEPT

    def __len__(self) -> int:
        return sum(map(len, self._queues.values())) + len(self.launches)

    def push(self, request: Request, now: float) -> None:
        """Add a request; a status write replaces an earlier one of the same job that was not sent yet."""
        if isinstance(request, SetStatus):
            uid = request.job.uid
            self._latest[uid] = request
            if uid in self._writing:
                return  # comes into its queue when the one under way is done
        if isinstance(request, Launch):
            self.launches.push(request, now)
        else:
            self._add(request)

    def _add(self, request: Request) -> None:
        of = rank(request)
        if isinstance(request, SetStatus) and of in self._courtesies:
            self._queues[of].add(request, (request.job.namespace, request.job.queue))
        else:
            self._queues[of].add(request)

    def pop(self, now: float) -> Request | None:
        """The next request to send, or None if there is none that may be sent at `now`."""
        for each, waiting in self._queues.items():
            if each is Rank.LAUNCH:
                launch = self.launches.take(now)
                if launch is not None:
                    return launch
                continue
            self._drop_superseded(waiting)
            if not waiting:
                continue
            brake = self._brakes.get(each)
            if brake is not None and not brake.take(now):
                continue
            request = waiting.take()
            if isinstance(request, SetStatus):
                del self._latest[request.job.uid]
                self._writing[request.job.uid] = (request, now)
            return request
        return None

    def _drop_superseded(self, waiting: Turns) -> None:
        while waiting:
            first = waiting.first
            if not isinstance(first, SetStatus):
                return
            uid = first.job.uid
            if self._latest.get(uid) is first and uid not in self._writing:
                return
            waiting.drop()

    def written(self, uid: Uid, now: float) -> None:
        """The status write of this job that was under way is done at `now`, one way or the other."""
        decision, began = self._writing.pop(uid)
        courtesy = self._courtesies.get(rank(decision))
        if courtesy is not None:
            courtesy.answered(began, now)
        waiting = self._latest.get(uid)
        if waiting is not None:
            self._add(waiting)

    def due_in(self, now: float) -> float | None:
        """In how many seconds a request that is held back may be sent; None if none is, or only an answer can tell."""
        instants = [brake.due_in(now) for each, brake in self._brakes.items() if self._queues[each]]
        return min((instant for instant in instants if instant is not None), default=None)
