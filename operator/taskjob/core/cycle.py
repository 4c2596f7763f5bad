"""One cycle of scheduling: `plan(state, now, room)` -> what to do.

The whole story, in the order in which it happens:

1. time passes: jobs whose instant has come (backoff, deadline, timeout, time to live) are looked at
2. life: each job that something happened to is decided by `lifecycle.step`: status, stop, may it be admitted
3. admission: each queue that something happened to admits in `ordering.admission_key`'s order what fits,
   and reserves its quota at once
4. explanation: what was looked at and not admitted is told why
5. care: ended pods are captured and removed, finished jobs removed when their time is over
6. history is told what newly happened, and the next instant to look is named

The state is advanced by what is decided here (reserved, asked), so that the next cycle does not decide it again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from heapq import heappop, heappush

from taskjob.core import chronicle, explain, retention
from taskjob.core.deadlines import active_deadline_seconds
from taskjob.core.decisions import Decision, EndPod, Fault, Launch, Plan, SetStatus, Urgency
from taskjob.core.lifecycle import Facts, Step, hold, step, under_way
from taskjob.core.model import AttemptId, Entry, Job, QueueName, Status
from taskjob.core.phases import Reason
from taskjob.core.state import State
from taskjob.core.tracked import TrackedJob, TrackedQueue, Waiter


@dataclass(slots=True, eq=False)
class Draft:
    """A plan in the making."""

    state: State
    now: datetime
    decisions: list[Decision] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def plan(state: State, now: datetime, room: int) -> Plan:
    """Decide what to do at `now`, launching at most `room` pods (what the applier can send soon).

    Less room than there is to admit leaves the rest for the next cycle, so that a job of higher priority
    that arrives meanwhile still goes first.
    """
    draft = Draft(state, now, entries=state.entries)
    state.entries = []
    _pass_time(state, now)
    for uid in state.take_dirty():
        tracked = state.jobs.get(uid)
        if tracked is not None:
            try:
                _live(draft, tracked)
            except Exception as error:  # one job's fault must not stop the others
                draft.faults.append(Fault(uid, repr(error)))
    _admit(draft, room)
    draft.decisions.extend(retention.orphans(state, now))
    wake_at = state.timers[0][0] if state.timers else None
    return Plan(tuple(draft.decisions), tuple(draft.entries), wake_at, tuple(draft.faults))


# ------------------------------------------------------------------ 1. time
def _pass_time(state: State, now: datetime) -> None:
    timers = state.timers
    while timers and timers[0][0] <= now:
        at, uid = heappop(timers)
        tracked = state.jobs.get(uid)
        if tracked is not None and tracked.wake_at == at:
            tracked.wake_at = None
            state.dirty_jobs[uid] = None


def _wake(state: State, tracked: TrackedJob, at: datetime | None) -> None:
    """Look at the job at that instant. Only the earliest counts: looking at it then names the next."""
    if at is not None and (tracked.wake_at is None or at < tracked.wake_at):
        tracked.wake_at = at
        heappush(state.timers, (at, tracked.job.uid))


# ------------------------------------------------------------------ 2. life
def _live(draft: Draft, tracked: TrackedJob) -> None:
    state, now = draft.state, draft.now
    job = tracked.job
    latest = state.latest_pod(job.uid)
    pod = latest.pod if latest is not None else None
    pending = not job.status.phase.terminal and not under_way(job, pod)
    decided = step(
        Facts(
            job=job,
            pod=pod,
            pod_gone=latest is not None and latest.gone,
            launching=tracked.launching is not None,
            occupied=pending and any(other.live for other in state.pods_of(job.uid)),
            end_asked_at=latest.end_asked_at if latest is not None else None,
            block=state.graph.block_of(tracked) if pending else None,
            refusal=tracked.refusal,
        ),
        now,
    )
    if decided.eligible:
        state.enqueue(tracked)
        if tracked.queued and job.uid not in state.queues[job.queue].unexplained:
            decided = _keep_asking(tracked, decided)
    else:
        state.unqueue(tracked)
    _ask(draft, tracked, decided.status, decided.urgency)
    if decided.end is not None and latest is not None:
        latest.end_asked_at = now
        draft.decisions.append(EndPod(latest.pod, decided.end, decided.why))
    _wake(state, tracked, decided.wake_at)
    care, wake_at = retention.care(state, tracked, now)
    draft.decisions.extend(care)
    _wake(state, tracked, wake_at)
    _tell(draft, tracked, decided.shown)


def _keep_asking(tracked: TrackedJob, decided: Step) -> Step:
    """A job that waits in its queue and was explained keeps the explanation that is on its way."""
    asked = tracked.asked
    if asked is None or asked.job.version != tracked.job.version:
        return decided
    return replace(decided, status=asked.status, shown=asked.status)


def _ask(draft: Draft, tracked: TrackedJob, status: Status, urgency: Urgency) -> None:
    """Ask for a status write, unless the status is so already, or that very write is on its way."""
    if status == tracked.job.status:
        tracked.asked = None
        return
    decision = SetStatus(tracked.job, status, urgency)
    if decision != tracked.asked:
        tracked.asked = decision
        draft.decisions.append(decision)


# ------------------------------------------------------------------ 3. admission
def _admit(draft: Draft, room: int) -> None:
    state = draft.state
    dirty, state.dirty_queues = state.dirty_queues, {}
    for name in sorted(dirty):
        tracked = state.queues.get(name)
        if tracked is None:
            continue
        queue = tracked.queue
        if queue is not None and queue.problem is None:
            launches = _admit_from(state, tracked, draft.now, room)
            draft.decisions.extend(launches)
            room -= len(launches)
            if room <= 0:  # no full look was had: come back, explain then
                state.dirty_queues[name] = None
                continue
        _explain(draft, name, tracked)


def _admit_from(state: State, tracked: TrackedQueue, now: datetime, room: int) -> list[Launch]:
    """Admit from one queue in order what fits. A shape of request that does not fit is out for this cycle."""
    launches: list[Launch] = []
    heads: list[tuple[Waiter, int]] = []  # the first waiter of each shape, in order of admission
    shapes = list(tracked.shapes.items())
    for position, (request, heap) in enumerate(shapes):
        head = _head(state, heap)
        if head is None:
            del tracked.shapes[request]
        else:
            heappush(heads, (head, position))
    while heads and len(launches) < room:
        (_, _, uid), position = heappop(heads)
        request, heap = shapes[position]
        if tracked.ledger.shortage(request) is not None:
            continue
        heappop(heap)
        launches.append(_launch(state, state.jobs[uid], now))
        head = _head(state, heap)
        if head is not None:
            heappush(heads, (head, position))
        else:
            tracked.shapes.pop(request, None)
    return launches


def _head(state: State, heap: list[Waiter]) -> Waiter | None:
    """The first entry that is not void."""
    while heap:
        _, ticket, uid = heap[0]
        tracked = state.jobs.get(uid)
        if tracked is not None and tracked.queued and tracked.ticket == ticket:
            return heap[0]
        heappop(heap)
    return None


def _launch(state: State, tracked: TrackedJob, now: datetime) -> Launch:
    job = tracked.job
    state.unqueue(tracked)
    attempt = AttemptId(job.uid, job.status.run, 0, job.status.attempt + 1)
    state.reserve(job, attempt)
    tracked.asked = None  # whatever explanation was on its way is out of date
    return Launch(job, attempt, active_deadline_seconds(job, now))


# ------------------------------------------------------------------ 4. explanation
def _explain(draft: Draft, name: QueueName, tracked: TrackedQueue) -> None:
    unexplained, tracked.unexplained = tracked.unexplained, {}
    for uid in unexplained:
        waiter = draft.state.jobs[uid]
        held = hold(waiter.job, *_why(name, tracked, waiter.job))
        _ask(draft, waiter, held.status, held.urgency)
        _tell(draft, waiter, held.shown)


def _why(name: QueueName, tracked: TrackedQueue, job: Job) -> tuple[Reason, str]:
    queue = tracked.queue
    if queue is None:
        return Reason.QUEUE_NOT_FOUND, explain.queue_not_found(name)
    if queue.problem is not None:
        return Reason.QUEUE_NOT_FOUND, explain.queue_unusable(name, queue.problem)
    ledger = tracked.ledger
    exceeding = ledger.excess(job.request)
    if exceeding is not None:
        return Reason.EXCEEDS_QUOTA, explain.excess(name, exceeding)
    lacking = ledger.shortage(job.request)
    if lacking is None:  # what was admitted before it in this cycle has been released in it: it is next
        return Reason.QUEUED, ""
    return Reason.WAITING_FOR_QUOTA, explain.shortage(name, ledger, lacking)


# ------------------------------------------------------------------ 6. history
def _tell(draft: Draft, tracked: TrackedJob, shown: Status) -> None:
    """Tell history what newly happened; a wait for a new reason refreshes the job's row."""
    job = tracked.job
    latest = draft.state.latest_pod(job.uid)
    pod = latest.pod if latest is not None else None
    rows = chronicle.established(job, pod, under_way(job, pod))
    if tracked.told < 0:
        rows = (chronicle.appearance(job), *rows)
    rows = tuple(row for row in rows if row.n > tracked.told)
    told_as = (shown.phase, shown.reason, job.priority, job.generation)
    if rows or told_as != tracked.told_as:
        draft.entries.append(Entry(replace(job, status=shown), rows))
        tracked.told_as = told_as
        if rows:
            tracked.told = rows[-1].n
