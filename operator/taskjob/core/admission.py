"""Admission: which of those that may start do, and why the others wait.

Part of `cycle.plan`. A cycle looks at the queues that something happened to, and in them at the first of each shape of
request, never at all that wait.
"""

from __future__ import annotations

from datetime import datetime
from heapq import heappop, heappush

from taskjob.core import explain
from taskjob.core.deadlines import active_deadline_seconds
from taskjob.core.decisions import Launch
from taskjob.core.draft import Draft
from taskjob.core.lifecycle import hold
from taskjob.core.model import Amounts, AttemptId, Job, Queue, QueueName
from taskjob.core.phases import Reason, StopPolicy
from taskjob.core.state import State
from taskjob.core.tracked import TrackedJob, TrackedQueue, Waiter


def admit(draft: Draft, room: int) -> None:
    """Admit what fits, in one order over all queues that something happened to; then explain what was not.

    A shape of request that does not fit its queue is out for this cycle: what is larger may be passed by what
    is smaller, what is alike may not.
    """
    state = draft.state
    dirty = state.queues.take_dirty()
    heads: list[tuple[Waiter, QueueName, Amounts]] = []  # the first waiter of each shape
    open_queues: list[QueueName] = []
    for name in dirty:
        tracked = state.queues.by_name.get(name)
        if tracked is not None and _is_open(tracked.queue):
            open_queues.append(name)
            for request in list(tracked.shapes):
                _next_head(state, heads, name, request)
    left = room
    while heads and left > 0:
        (_, _, uid), name, request = heappop(heads)
        tracked = state.queues.by_name[name]
        if tracked.ledger.shortage(request) is not None:
            continue
        draft.decisions.append(_launch(state, state.jobs[uid], draft.now))
        left -= 1
        _next_head(state, heads, name, request)
    if left <= 0:  # no full look was had: come back, explain then
        state.queues.dirty.update(dict.fromkeys(open_queues))
    for name in dirty:
        tracked = state.queues.by_name.get(name)
        if tracked is not None and name not in state.queues.dirty:
            _explain(draft, name, tracked)


def _is_open(queue: Queue | None) -> bool:
    return queue is not None and queue.problem is None and queue.stop_policy is StopPolicy.NONE


def _next_head(state: State, heads: list[tuple[Waiter, QueueName, Amounts]], name: QueueName, request: Amounts) -> None:
    """The first of this shape that really waits joins the heads; a shape that nobody waits in is forgotten."""
    shapes = state.queues.by_name[name].shapes
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
    state.queues.unqueue(tracked)
    attempt = AttemptId(job.uid, job.status.run, 0, job.status.attempt + 1)
    state.reserve(job, attempt)
    tracked.asked = None  # whatever explanation was on its way is out of date
    return Launch(job, attempt, active_deadline_seconds(job, now))


# ------------------------------------------------------------------ explanation
def _explain(draft: Draft, name: QueueName, tracked: TrackedQueue) -> None:
    unexplained, tracked.unexplained = tracked.unexplained, {}
    for uid in unexplained:
        waiter = draft.state.jobs[uid]
        held = hold(waiter.job, *_why(name, tracked, waiter.job))
        asked = waiter.asked
        if asked is not None and asked.job is waiter.job and asked.status.reason is held.status.reason:
            continue  # on its way, with the figures of that moment
        draft.ask(waiter, held.status, held.urgency)
        draft.tell(waiter, held.shown)


def _why(name: QueueName, tracked: TrackedQueue, job: Job) -> tuple[Reason, str]:
    queue = tracked.queue
    if queue is None:
        return Reason.QUEUE_NOT_FOUND, explain.queue_not_found(name)
    if queue.problem is not None:
        return Reason.QUEUE_NOT_FOUND, explain.queue_unusable(name, queue.problem)
    if queue.stop_policy is not StopPolicy.NONE:
        return Reason.QUEUE_HELD, explain.queue_held(name)
    ledger = tracked.ledger
    exceeding = ledger.excess(job.request)
    if exceeding is not None:
        return Reason.EXCEEDS_QUOTA, explain.excess(name, exceeding)
    lacking = ledger.shortage(job.request)
    if lacking is None:  # what was admitted before it in this cycle has been released in it: it is next
        return Reason.QUEUED, ""
    return Reason.WAITING_FOR_QUOTA, explain.shortage(name, ledger, lacking)
