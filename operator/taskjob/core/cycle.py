"""One cycle of scheduling: `plan(state, now, room)` -> what to do.

The whole story, in the order in which it happens:

1. time passes: jobs whose instant has come (backoff, deadline, timeout, time to live) are looked at
2. life: each job that something happened to is decided by `lifecycle.step`: status, stop, may it be admitted
3. admission: the queues that something happened to admit what fits, in `ordering.admission_key`'s order,
   and reserve its quota at once
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
from taskjob.core.lifecycle import Facts, hold, step, under_way
from taskjob.core.model import Amounts, AttemptId, Entry, Job, Pod, QueueName, Status
from taskjob.core.phases import Phase, Reason
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
    state.graph.look_for_cycles()
    for uid in state.take_dirty():
        tracked = state.jobs.get(uid)
        if tracked is not None:
            try:
                _live(draft, tracked)
            except Exception as error:  # one job's fault must not stop the others
                state.unqueue(tracked)
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
    latest = state.current_pod(job)
    pod = latest.pod if latest is not None else None
    if latest is not None and latest.end_asked_at is None and _was_told_to_end(job, latest.pod):
        latest.end_asked_at = now
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
        _withdraw(tracked)
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
    _tell(draft, tracked, tracked.asked.status if decided.eligible and tracked.asked is not None else decided.shown)
    state.forget_gone_pods(tracked)


def _was_told_to_end(job: Job, pod: Pod) -> bool:
    """By an operator before us: from now on it has the same time to obey."""
    return job.status.stopping is not None and pod.active_deadline_seconds == 1


def _withdraw(tracked: TrackedJob) -> None:
    """A job that may be admitted keeps asking for the explanation that is on its way, and for nothing else."""
    asked = tracked.asked
    if asked is not None and (asked.job is not tracked.job or asked.status.phase is not Phase.PENDING):
        tracked.asked = None


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
    """Admit what fits, in one order over all queues that something happened to; then explain what was not.

    A shape of request that does not fit its queue is out for this cycle: what is larger may be passed by what
    is smaller, what is alike may not.
    """
    state = draft.state
    dirty, state.dirty_queues = state.dirty_queues, {}
    heads: list[tuple[Waiter, QueueName, Amounts]] = []  # the first waiter of each shape
    open_queues: list[QueueName] = []
    for name in dirty:
        tracked = state.queues.get(name)
        if tracked is not None and tracked.queue is not None and tracked.queue.problem is None:
            open_queues.append(name)
            for request in list(tracked.shapes):
                _next_head(state, heads, name, request)
    left = room
    while heads and left > 0:
        (_, _, uid), name, request = heappop(heads)
        tracked = state.queues[name]
        if tracked.ledger.shortage(request) is not None:
            continue
        draft.decisions.append(_launch(state, state.jobs[uid], draft.now))
        left -= 1
        _next_head(state, heads, name, request)
    if left <= 0:  # no full look was had: come back, explain then
        state.dirty_queues.update(dict.fromkeys(open_queues))
    for name in dirty:
        tracked = state.queues.get(name)
        if tracked is not None and name not in state.dirty_queues:
            _explain(draft, name, tracked)


def _next_head(state: State, heads: list[tuple[Waiter, QueueName, Amounts]], name: QueueName, request: Amounts) -> None:
    """The first of this shape that really waits joins the heads; a shape that nobody waits in is forgotten."""
    shapes = state.queues[name].shapes
    head = _head(state, shapes[request])
    if head is None:
        del shapes[request]
    else:
        heappush(heads, (head, name, request))


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
        asked = waiter.asked
        if asked is not None and asked.job is waiter.job and asked.status.reason is held.status.reason:
            continue  # on its way, with the figures of that moment
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
    latest = draft.state.current_pod(job)
    pods = [each.pod for each in draft.state.pods_of(job.uid)]
    rows = chronicle.established(job, pods, under_way(job, latest.pod if latest is not None else None), tracked.told)
    if tracked.told < 0:
        rows = (chronicle.appearance(job), *rows)
    told_as = (shown.phase, shown.reason, job.priority, job.generation)
    if rows or told_as != tracked.told_as:
        draft.entries.append(Entry(job if shown is job.status else replace(job, status=shown), rows))
        tracked.told_as = told_as
        if rows:
            tracked.told = rows[-1].n
