"""Admission: which of those that may start do, and why the others wait.

Part of `cycle.plan`. A cycle looks at the queues that something happened to, with the cohorts that they belong to, and
in them at those that come first, never at all that wait. `offers` says who goes first, and what is kept for whom.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from heapq import heapify, heappop, heapreplace

from taskjob.core import sentences
from taskjob.core.deadlines import active_deadline_seconds
from taskjob.core.decisions import Launch, Urgency
from taskjob.core.defaults import settled
from taskjob.core.draft import Draft
from taskjob.core.model import AttemptId, Namespace, QueueName, Uid
from taskjob.core.nomination import expected, preempt
from taskjob.core.offers import Offer, Round
from taskjob.core.pending import is_told, reject, told
from taskjob.core.phases import Reason
from taskjob.core.state import State
from taskjob.core.tracked import TrackedCohort, TrackedJob, TrackedQueue
from taskjob.core.why import why


def admit(draft: Draft, room: int) -> None:
    """Admit what fits, at most `room`; then explain what was not.

    Cohorts, and queues without one, do not concern each other, but for the room. While there is less than there is to
    admit, it goes to the offers by priority; of the same priority to each cohort in turn, so that ten thousand jobs of
    one do not come before a later one of another.
    """
    state = draft.state
    state.keys.settle()
    groups: dict[str, tuple[TrackedQueue | TrackedCohort, Mapping[QueueName, TrackedQueue]]] = {}
    for name in state.queues.take_dirty():
        tracked = state.queues.by_name.get(name)
        if tracked is not None:
            cohort = tracked.cohort
            if cohort is None:
                groups[f"queue {name}"] = (tracked, {name: tracked})
            else:
                groups[f"cohort {cohort.name}"] = (cohort, cohort.queues)
    rounds: list[tuple[Round, Mapping[QueueName, TrackedQueue]]] = [
        (Round(state.jobs, queues, draft.now, expected(state, queues, draft.now)), queues)
        for _, queues in groups.values()
    ]
    owners = [owner for owner, _ in groups.values()]
    bids = [_bid(offer, owners[at], at) for at, (each, _) in enumerate(rounds) if (offer := each.best()) is not None]
    heapify(bids)
    while bids and room > 0:
        uid, at, taken = bids[0][-3:]
        waiter = state.jobs[uid]
        if waiter.job.concurrency is None or state.keys.has_room(waiter.job):
            draft.decisions.append(_launch(state, waiter, draft.now))
            room -= 1
            state.queues.turn += 1
            owners[at].turn = state.queues.turn
        else:  # those before it took what was left of its concurrency key
            state.keys.settle()
        current = rounds[at][0]
        current.taken(taken)
        offer = current.best()
        if offer is None:
            heappop(bids)
        else:
            heapreplace(bids, _bid(offer, owners[at], at))
    unfinished = {bid[-2] for bid in bids}
    for at, (current, queues) in enumerate(rounds):
        for name, tracked in queues.items():
            tracked.claim = current.claims.get(name)
        for name, tracked in queues.items():
            if at in unfinished and tracked.line:  # no full look was had: come back, explain then
                state.queues.dirty[name] = None
            else:
                _explain(draft, tracked)
                blocked = state.jobs[tracked.blocked] if tracked.blocked is not None else None
                state.queues.wakes.at(name, tracked.changes_at(blocked, draft.now))
        if at not in unfinished:
            preempt(draft, queues)
    state.keys.settle()
    _explain_keys(draft)


_Bid = tuple[float, int, float, Namespace, str, Uid, int, Offer]


def _bid(offer: Offer, owner: TrackedQueue | TrackedCohort, at: int) -> _Bid:
    """Where an offer stands among those of other cohorts: the least first. Then, not compared, since a uid is one
    job's: at which place its owner stands, and the offer."""
    return (offer[2], owner.turn, *offer[3:7], at, offer)


def _launch(state: State, tracked: TrackedJob, now: datetime) -> Launch:
    job = tracked.job
    state.unqueue(tracked)
    attempt = AttemptId(job.uid, job.status.run, 0, job.status.attempt + 1)
    state.reserve(tracked, attempt)
    queue = state.queues.by_name[job.queue]
    queue.started(now)
    tracked.asked = None  # whatever explanation was on its way is out of date
    defaults = queue.queue.defaults if queue.queue is not None else None
    return Launch(job, attempt, active_deadline_seconds(settled(job, defaults), now))


# ------------------------------------------------------------------ explanation
def _explain(draft: Draft, tracked: TrackedQueue) -> None:
    """Tell those that were not looked at before, and the head, since what keeps it may have changed; and those that
    were told of the limit of starts, once it keeps nobody."""
    unexplained, tracked.unexplained = tracked.unexplained, {}
    if tracked.limited and tracked.starts_again_at(draft.now) is None:
        unexplained.update(tracked.limited)
        tracked.limited = {}
    if tracked.blocked is not None and _said(draft.state.jobs[tracked.blocked]) is not Reason.WAITING_FOR_QUOTA:
        unexplained[tracked.blocked] = None
    for uid in unexplained:
        _explain_one(draft, tracked, draft.state.jobs[uid])


def _said(waiter: TrackedJob) -> Reason:
    return (waiter.asked.status if waiter.asked is not None else waiter.job.status).reason


def _explain_keys(draft: Draft) -> None:
    """Those that wait for a concurrency key are told who holds it; those that do not want to wait end."""
    for waiter in draft.state.keys.take_unexplained():
        sentence = partial(sentences.key_taken, waiter.job, draft.state.keys.holders_of(waiter.job))
        if waiter.parked is not None and waiter.parked.group.rejects and not draft.state.keys.has_room(waiter.job):
            draft.state.unqueue(waiter)
            ended = reject(waiter.job, sentence(), draft.now)
            draft.ask(waiter, ended.status, ended.urgency)
        else:
            _hold(draft, waiter, Reason.CONCURRENCY_LIMIT, sentence)


def _explain_one(draft: Draft, tracked: TrackedQueue, waiter: TrackedJob) -> None:
    reason = why(draft.state.queues, waiter, draft.now)
    if reason.reason is Reason.RATE_LIMITED:
        tracked.limited[waiter.job.uid] = None
    _hold(draft, waiter, reason.reason, partial(sentences.waiting, reason))


def _hold(draft: Draft, waiter: TrackedJob, reason: Reason, sentence: Callable[[], str]) -> None:
    asked, job = waiter.asked, waiter.job
    if asked is not None and asked.job is job and asked.status.reason is reason:
        return  # on its way, with the figures of that moment
    # A sentence costs more than the rest of this: it is made only where somebody is going to read it.
    status = job.status if is_told(job, reason) else told(job, reason, sentence())
    draft.ask(waiter, status, Urgency.HOLD)
    draft.tell(waiter, status)
