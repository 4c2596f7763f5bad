"""A virtual cluster: `core.cycle.plan` decides, and what it decides is done at once, on a clock that jumps.

A pod starts the moment it is launched and ends after as many seconds as the trace says. Everything else (order, quota,
dependencies, retries, preemption) is the core's, which does not know that the cluster is not there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from heapq import heappop, heappush
from itertools import count
from typing import Final, assert_never

from taskjob.core.cycle import plan
from taskjob.core.decisions import Decision, EndPod, KeepLog, Launch, RemoveJob, RemovePod, SetStatus
from taskjob.core.model import Amounts, AttemptId, Pod, PodUid, QueueName, Status, Uid
from taskjob.core.phases import FailureClass, Phase, PodPhase
from taskjob.core.state import State
from taskjob.simulate.trace import BEGINNING, Arrival, Trace

_FOR_EVER: Final = 10**9
_ROOM: Final = 10**9
_PATIENCE_SECONDS: Final = 31 * 24 * 3600.0
"""With nothing to come and nothing running, a wait that is longer than this is told as one without end."""
_ROUNDS_MAX: Final = 10_000


@dataclass(slots=True, eq=False)
class Record:
    """What became of one job. Seconds since the beginning of the trace."""

    arrival: Arrival
    starts: list[float] = field(default_factory=list)  # of its attempts
    ended_at: float | None = None
    met_at: float | None = None  # when the last of its dependencies ended, if it has any
    interrupted: int = 0  # attempts that were stopped before their end
    waits: bool = False  # it is there, has not ended, and no attempt of it runs
    status: Status = field(default_factory=Status)

    @property
    def ready_at(self) -> float:
        """From when on only its queue kept it waiting."""
        return max(self.arrival.at, self.met_at or 0.0)

    @property
    def wait(self) -> float | None:
        """Seconds in the queue before its first start; None if it never started."""
        return max(self.starts[0] - self.ready_at, 0.0) if self.starts else None


@dataclass(slots=True, eq=False)
class Course:
    """What one queue went through. `used` sums amounts times seconds by resource; `steps` are (since that second, the
    amounts in use in the order of `now`, how many waited)."""

    used: dict[str, float] = field(default_factory=dict)
    now: dict[str, int] = field(default_factory=dict)
    waiting: int = 0
    since: float = 0.0
    steps: list[tuple[float, tuple[int, ...], int]] = field(default_factory=list)

    def change(self, at: float, request: Amounts, sign: int, waiting: int) -> None:
        """Something started (+1), ended (-1) or only began or ceased to wait (0)."""
        if at > self.since:
            for resource, amount in self.now.items():
                self.used[resource] = self.used.get(resource, 0.0) + amount * (at - self.since)
            self.steps.append((self.since, tuple(self.now.values()), self.waiting))
            self.since = at
        for resource, amount in request:
            self.now[resource] = self.now.get(resource, 0) + sign * amount
        self.waiting += waiting


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a trace: every job in the order of coming, every queue by name, and how long it took. `quotas` are
    those that counted, be they written or the nodes'."""

    trace: Trace
    records: tuple[Record, ...]
    courses: dict[QueueName, Course]
    quotas: dict[QueueName, Amounts]
    seconds: float


class VirtualCluster:
    """Runs one trace to its end: `run`."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._state = State(default_ttl_seconds=_FOR_EVER)
        self._now = 0.0
        self._happened = 0.0  # when something did, last: a look by which nothing changes is no part of the story
        self._records = {arrival.job.uid: Record(arrival) for arrival in trace.arrivals}
        self._courses: dict[QueueName, Course] = {}
        self._running: dict[AttemptId, Pod] = {}
        self._ends: list[tuple[float, int, AttemptId]] = []
        self._order = count()
        self._versions = count(2)
        self._left = len(trace.arrivals)  # jobs that have not come to their end

    def run(self) -> Outcome:
        """Let everything happen that can."""
        capacity = self._state.queues.capacity
        capacity.replace_nodes(self._trace.nodes)
        capacity.is_known()
        self._state.queues.replace_namespaces(self._trace.namespaces)
        for queue in self._trace.queues:
            self._courses[queue.name] = Course()
        changing, coming = iter(self._trace.changes), iter(self._trace.arrivals)
        change, arrival = next(changing, None), next(coming, None)
        wake = math.inf
        while self._left:
            told = min(each.at if each is not None else math.inf for each in (change, arrival))
            at = min(told, self._ends[0][0] if self._ends else math.inf, wake)
            if at == math.inf or (told == math.inf and not self._running and at > self._now + _PATIENCE_SECONDS):
                break
            self._now = max(at, self._now)
            while change is not None and change.at <= self._now:
                self._state.put_queue(change.queue)
                change = next(changing, None)
            while arrival is not None and arrival.at <= self._now:
                self._happened = self._now
                self._state.put_job(arrival.job)
                self._waits(self._records[arrival.job.uid], True)
                arrival = next(coming, None)
            while self._ends and self._ends[0][0] <= self._now:
                self._happened = self._now
                self._end(heappop(self._ends)[2])
            wake = self._settle()
        self._now = self._happened
        for course in self._courses.values():
            course.change(self._now, (), 0, 0)
        self._tell_ready()
        quotas = {
            queue.name: queue.quota if queue.quota_from_nodes is None else capacity.quota(queue.quota_from_nodes)
            for queue in self._trace.queues
        }
        return Outcome(self._trace, tuple(self._records.values()), self._courses, quotas, self._now)

    # ------------------------------------------------------------------ deciding
    def _settle(self) -> float:
        """Plan and carry out until nothing more is decided at this instant; returns when to look again."""
        for _ in range(_ROUNDS_MAX):
            planned = plan(self._state, self._instant(), _ROOM)
            if planned.faults:
                raise RuntimeError(f"the scheduler failed: {planned.faults[0].error}")
            if not planned.decisions:
                if planned.wake_at is None:
                    return math.inf
                return max((planned.wake_at - BEGINNING).total_seconds(), self._now + 1e-6)
            self._happened = self._now
            for decision in planned.decisions:
                self._carry_out(decision)
        raise RuntimeError(f"the scheduler decides without end at second {self._now}: {planned.decisions[:3]}")

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case Launch():
                self._launch(decision)
            case SetStatus():
                self._write(decision)
            case EndPod(pod):
                self._interrupt(pod)
            case KeepLog() | RemovePod() | RemoveJob():
                pass  # history is not simulated, and so nothing is removed either
            case _:
                assert_never(decision)

    def _launch(self, launch: Launch) -> None:
        job, attempt, now = launch.job, launch.attempt, self._instant()
        pod = Pod(
            uid=PodUid(f"{job.uid}/{attempt.run}/{attempt.attempt}"),
            name=f"{job.name}-{attempt.attempt}",
            namespace=job.namespace,
            version=next(self._versions),
            attempt=attempt,
            queue=job.queue,
            request=job.request,
            phase=PodPhase.RUNNING,
            created_at=now,
            job_name=job.name,
            node="simulated",
            started_at=now,
            active_deadline_seconds=launch.active_deadline_seconds,
            concurrency=job.concurrency,
        )
        self._running[attempt] = pod
        record = self._records[job.uid]
        record.starts.append(self._now)
        runs = record.arrival.runs
        limit = launch.active_deadline_seconds
        heappush(self._ends, (self._now + (runs if limit is None else min(runs, limit)), next(self._order), attempt))
        self._waits(record, False)
        self._course(job.queue).change(self._now, job.request, 1, 0)
        self._state.put_pod(pod)

    def _end(self, attempt: AttemptId) -> None:
        """A pod comes to its end by itself, unless it was stopped before."""
        pod = self._running.pop(attempt, None)
        if pod is None:
            return
        arrival = self._records[attempt.uid].arrival
        limit = pod.active_deadline_seconds
        late = limit is not None and arrival.runs > limit
        well = arrival.ends is Phase.SUCCEEDED and not late
        self._over(
            replace(
                pod,
                phase=PodPhase.SUCCEEDED if well else PodPhase.FAILED,
                exit_code=0 if well else 1,
                failure=None if well else FailureClass.TIMEOUT if late else FailureClass.EXIT_CODE,
                message="" if well else "its container exited with code 1",
            )
        )

    def _interrupt(self, pod: Pod) -> None:
        running = self._running.pop(pod.attempt, None)
        if running is None:
            return
        self._records[pod.attempt.uid].interrupted += 1
        self._over(
            replace(
                running,
                phase=PodPhase.FAILED,
                exit_code=143,
                failure=FailureClass.TIMEOUT,
                active_deadline_seconds=1,
                message="it was told to end",
            )
        )

    def _over(self, pod: Pod) -> None:
        self._course(pod.queue).change(self._now, pod.request, -1, 0)
        self._state.put_pod(replace(pod, finished_at=self._instant(), version=next(self._versions)))

    def _write(self, decision: SetStatus) -> None:
        if not self._state.still_wanted(decision):
            return
        tracked = self._state.jobs[decision.job.uid]
        after = decision.status
        self._state.put_job(replace(tracked.job, status=after, version=next(self._versions)))
        self._state.not_written(decision)
        record = self._records[decision.job.uid]
        record.status = after
        if after.phase.terminal and record.ended_at is None:
            record.ended_at = self._now
            self._left -= 1
            self._waits(record, False)
        elif after.phase is Phase.PENDING:
            self._waits(record, AttemptId(decision.job.uid, after.run, 0, after.attempt) not in self._running)

    def _waits(self, record: Record, waits: bool) -> None:
        if record.waits is not waits:
            record.waits = waits
            self._course(record.arrival.job.queue).change(self._now, (), 0, 1 if waits else -1)

    # ------------------------------------------------------------------ telling
    def _tell_ready(self) -> None:
        for record in self._records.values():
            job = record.arrival.job
            named = [self._records.get(Uid(f"{job.namespace}/{each.name}")) for each in job.depends_on]
            ended = [other.ended_at for other in named if other is not None and other.ended_at is not None]
            record.met_at = max(ended, default=None)

    def _course(self, name: QueueName) -> Course:
        return self._courses.setdefault(name, Course())

    def _instant(self) -> datetime:
        return BEGINNING + timedelta(seconds=self._now)
