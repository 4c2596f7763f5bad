"""What waits to be sent to the API server: by urgency, the latest status write per job, explanations paced.

Everything costs the API server about the same, so what is sent first is what others wait for: the end of a job
before its start, a start before an explanation. A job has at most one status write under way.
"""

from __future__ import annotations

from enum import IntEnum
from heapq import heappop, heappush
from itertools import count

from taskjob.core.decisions import EndPod, Launch, RemoveJob, RemovePod, SetQueueStatus, SetStatus, Urgency
from taskjob.core.model import Uid

Request = Launch | SetStatus | EndPod | RemovePod | RemoveJob | SetQueueStatus


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
    REMOVE = 8


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
        case RemovePod() | RemoveJob():
            return Rank.REMOVE


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


class Outbox:
    """Requests that wait. `pop` gives the most urgent one that may be sent now."""

    def __init__(self, holds: Pace, removals: Pace) -> None:
        self._heap: list[tuple[Rank, int, Request]] = []
        self._order = count()
        self._latest: dict[Uid, SetStatus] = {}  # of the status writes in the heap, those that still count
        self._writing: set[Uid] = set()
        self._paces = {Rank.HOLD: holds, Rank.REMOVE: removals}
        self.launches = 0  # how many launches wait

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, request: Request) -> None:
        """Add a request; a status write replaces an earlier one of the same job that was not sent yet."""
        if isinstance(request, SetStatus):
            uid = request.job.uid
            self._latest[uid] = request
            if uid in self._writing:
                return  # comes into the heap when the one under way is done
        elif isinstance(request, Launch):
            self.launches += 1
        heappush(self._heap, (rank(request), next(self._order), request))

    def pop(self, now: float) -> Request | None:
        """The next request to send, or None if there is none that may be sent at `now`."""
        while self._heap:
            first, _, request = self._heap[0]
            superseded = isinstance(request, SetStatus) and (
                self._latest.get(request.job.uid) is not request or request.job.uid in self._writing
            )
            if not superseded:
                pace = self._paces.get(first)
                if pace is not None and not pace.take(now):
                    return None
            heappop(self._heap)
            if superseded:
                continue
            if isinstance(request, SetStatus):
                del self._latest[request.job.uid]
                self._writing.add(request.job.uid)
            elif isinstance(request, Launch):
                self.launches -= 1
            return request
        return None

    def written(self, uid: Uid) -> None:
        """The status write of this job that was under way is done, one way or the other."""
        self._writing.discard(uid)
        waiting = self._latest.get(uid)
        if waiting is not None:
            heappush(self._heap, (rank(waiting), next(self._order), waiting))

    def due_in(self, now: float) -> float | None:
        """In how many seconds a paced request may be sent; None if nothing waits for its pace."""
        if not self._heap:
            return None
        pace = self._paces.get(self._heap[0][0])
        return pace.due_in(now) if pace is not None else None
