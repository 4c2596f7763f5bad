"""Room for those who preempt: whom they have evicted, and what is kept for them while their victims end.

Part of `cycle.plan`, for the queues that allow preemption. Nothing of it is remembered but what the victims' statuses
say: who stands first in line, and fits once all attempts that are being ended have gone, is *expected*. What it needs
is kept for it (`offers` gives it a claim), and it evicts nobody more. So a restart finds the same, and a victim that is
slow to end costs no other attempt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import NamedTuple

from taskjob.core import sentences
from taskjob.core.deadlines import STOP_SLACK, earliest
from taskjob.core.draft import Draft
from taskjob.core.facts import Eviction
from taskjob.core.line import Found, fits
from taskjob.core.model import Amounts, AttemptId, Job, Queue, QueueName
from taskjob.core.offers import claimed, is_open, order_of
from taskjob.core.ordering import AdmissionKey, admission_key
from taskjob.core.phases import Preempt, Stopping
from taskjob.core.preemption import Candidate, Contender, choose, choose_for_less
from taskjob.core.standing import Standing
from taskjob.core.state import State
from taskjob.core.tracked import Claim, Order, TrackedJob, TrackedPod, TrackedQueue

MOST = 256
"""How many of a cohort's jobs a look goes through; those behind have their turn when these have started."""

MOST_STEPS = 16 * MOST
"""How many steps a look has, as it begins again: the next look goes on."""


def expected(state: State, queues: Mapping[QueueName, TrackedQueue], now: datetime) -> dict[QueueName, list[Found]]:
    """Of one cohort's queues that allow preemption: the first in line that start once what is being ended has gone.

    Not those that fit now, nor any behind one that will not fit then. In the order of each queue.
    """
    found: dict[QueueName, list[Found]] = {}
    if not any(_preempts(tracked) and tracked.line for tracked in queues.values()):
        return found
    ending = list(_ending(state, queues, now))
    if not ending:
        return found
    with _outlook(queues, now) as outlook:
        for _ in range(MOST):
            head = outlook.first()
            if head is None or not outlook.fits(head.name, head.request):
                break
            outlook.admit(head)
        outlook.let_go(ending)
        for _ in range(MOST):
            head = outlook.first()
            if head is None:
                break
            if outlook.fits(head.name, head.request):
                outlook.admit(head)
                found.setdefault(head.name, []).append((head.key, head.request))
            else:
                outlook.pass_over(head.name)
    return found


def preempt(draft: Draft, queues: Mapping[QueueName, TrackedQueue]) -> None:
    """Evict for the first in line of one cohort's queues that do not fit, in their order, as far as the rules allow.

    A queue with the rule `Any` whose quota was lowered below its use also gives back what is beyond it, the last first.
    """
    state, now = draft.state, draft.now
    blocked = [tracked for tracked in queues.values() if tracked.blocked is not None and _preempts(tracked)]
    shrunk = [name for name, tracked in queues.items() if _gives_back(tracked) and tracked.ledger.overused()]
    if not blocked and not shrunk:
        return
    with _outlook(queues, now) as outlook:
        ending = list(_ending(state, queues, now))
        outlook.let_go(ending)
        patience = earliest(*(each.stuck_at for each in ending))
        running = _Running(state, queues, now)
        for name in shrunk:
            less = choose_for_less(name, queues[name].ledger.overused, running.all_of(name), outlook)
            outlook.let_go(running.evict(less, sentences.quota_lowered(name)))
            if queues[name].ledger.overused():
                state.queues.wakes.at(name, running.changes_at)
        for _ in range(MOST_STEPS):
            head = outlook.first()
            if head is None or outlook.admitted >= MOST:
                break
            outlook.keep_what_is_claimed(_claimed_before(state, queues, outlook, head, now), head.name)
            if outlook.fits(head.name, head.request):
                outlook.admit(head)
                state.queues.wakes.at(head.name, patience)
                continue
            waiter = state.jobs[head.key[-1]].job
            contender = _contender(waiter, head.name, queues[head.name].queue, head.request)
            candidates = running.of_interest_to(contender)
            changes_at = running.changes_at
            chosen = choose(contender, candidates, outlook, running.of_interest_to)
            if chosen is None:
                state.queues.wakes.at(head.name, changes_at)
                outlook.pass_over(head.name)
                continue
            outlook.let_go(running.evict(chosen, sentences.preempted(waiter)))
            # Who was passed over goes before it, and may take what the victims leave: then they are not enough for it.
            if not outlook.begin_again():
                outlook.admit(head)


def _claimed_before(
    state: State, queues: Mapping[QueueName, TrackedQueue], outlook: _Outlook, head: _Head, now: datetime
) -> dict[str, int]:
    """What others of the cohort claim of the pool and get before that head: what victims leave is no room for it."""
    tracked = queues[head.name]
    due = tracked.is_due(state.jobs[head.key[-1]], now)
    order = order_of(tracked, head.key, head.request, now, counted=not due)
    if not order[0]:
        return {}  # what is its queue's own nobody claims
    claims = ((name, outlook.left_of(name, other.claim)) for name, other in queues.items() if other.claim is not None)
    return claimed(claims, but=head.name, before=order)


def _preempts(tracked: TrackedQueue) -> bool:
    queue = tracked.queue
    return queue is not None and (
        queue.preemption_within_queue is not Preempt.NEVER or queue.preemption_reclaim is not Preempt.NEVER
    )


def _gives_back(tracked: TrackedQueue) -> bool:
    """Not a quota that follows the nodes: it comes back with them, and nobody meant to take it away."""
    queue = tracked.queue
    return queue is not None and queue.preemption_within_queue is Preempt.ANY and queue.quota_from_nodes is None


def _contender(job: Job, name: QueueName, queue: Queue | None, request: Amounts) -> Contender:
    if queue is None:
        return Contender(name, request, job.priority, admission_key(job))
    return Contender(
        name,
        request,
        job.priority,
        admission_key(job, queue.aging_seconds),
        queue.preemption_within_queue,
        queue.preemption_reclaim,
    )


# ------------------------------------------------------------------ what runs
class Held(NamedTuple):
    """What an attempt that ends holds; if it does not end, it is waited for until `stuck_at`."""

    attempt: AttemptId
    name: QueueName
    request: Amounts
    stuck_at: datetime | None = None


def _ending(state: State, queues: Mapping[QueueName, TrackedQueue], now: datetime) -> Iterator[Held]:
    """The attempts that are being ended, whatever for; but not those that do not end though they were told to."""
    for name, tracked in queues.items():
        for attempt in sort_in(state, tracked).ending:
            stuck_at = _stuck_at(state.pods[attempt])
            if stuck_at is None or now < stuck_at:
                yield Held(attempt, name, state.queues.charges[attempt][1], stuck_at)


def sort_in(state: State, tracked: TrackedQueue) -> Standing:
    """The attempts of a queue, with those sorted in that something happened to."""
    standing, queue = tracked.standing, tracked.queue
    unsorted, standing.unsorted = standing.unsorted, {}
    for attempt in unsorted:
        pod, job = state.pods.get(attempt), state.jobs.get(attempt.uid)
        if pod is not None and _is_stopping(pod, job):
            standing.ends(attempt)
        elif job is not None:
            standing.goes_on(attempt, admission_key(job.job, queue.aging_seconds if queue is not None else 0))
        else:
            standing.forget(attempt)
    return standing


def _is_stopping(pod: TrackedPod, job: TrackedJob | None) -> bool:
    if pod.pod.deleting or job is None or job.eviction is not None or job.job.status.stopping is not None:
        return True
    return job.asked is not None and job.asked.status.stopping is not None


def _stuck_at(pod: TrackedPod) -> datetime | None:
    """When a pod that was told to end, and then deleted, should long have gone: its node does not answer."""
    asked_at = pod.end_asked_at
    return asked_at and asked_at + timedelta(seconds=pod.pod.grace_seconds) + 2 * STOP_SLACK


class _Running:
    """The attempts of a cohort that may be evicted, made as far as somebody asks for them."""

    def __init__(self, state: State, queues: Mapping[QueueName, TrackedQueue], now: datetime) -> None:
        self._state = state
        self._queues = queues
        self._now = now
        self._made: dict[AttemptId, Candidate | None] = {}  # None: it is evicted
        self.changes_at: datetime | None = None
        """When somebody may be evicted, of those that the last search was interested in, who may not yet."""

    def all_of(self, name: QueueName) -> list[Candidate]:
        """Those of one queue."""
        self.changes_at = None
        standing = sort_in(self._state, self._queues[name])
        return [each for attempt in standing.places if (each := self._candidate(name, attempt, None)) is not None]

    def of_interest_to(self, contender: Contender) -> list[Candidate]:
        """Those that it may preempt by the rules, now: of its own queue who stands behind it, of others all that run,
        where these have borrowed and it asks for what is its queue's own."""
        self.changes_at = None
        found = []
        for name, tracked in self._queues.items():
            attempts: Iterable[AttemptId] = ()
            if name == contender.queue:
                if contender.within_queue is not Preempt.NEVER:
                    attempts = sort_in(self._state, tracked).behind(contender.place)
            elif contender.reclaim is not Preempt.NEVER and tracked.ledger.borrowed():
                attempts = sort_in(self._state, tracked).places
            for attempt in attempts:
                candidate = self._candidate(name, attempt, contender)
                if candidate is not None:
                    found.append(candidate)
        return found

    def _candidate(self, name: QueueName, attempt: AttemptId, by: Contender | None) -> Candidate | None:
        """None if it may not be evicted, or not yet, or not by that one."""
        if attempt in self._made:
            return self._made[attempt]
        state, queue = self._state, self._queues[name].queue
        pod, job = state.pods.get(attempt), state.jobs[attempt.uid].job
        if queue is None or (by is not None and not _may_preempt(by, job.priority, name)):
            return None
        least = timedelta(seconds=queue.min_runtime_seconds)
        if pod is None:  # nobody has seen it yet; who does has the queue looked at again
            self._queues[name].standing.awaited[attempt] = by.queue if by is not None else name
            return None
        since = pod.pod.started_at or pod.pod.created_at
        if self._now < since + least:
            self.changes_at = earliest(self.changes_at, since + least)
            return None
        held = state.queues.charges[attempt][1]
        made = self._made[attempt] = Candidate(attempt, held, since, _contender(job, name, queue, held))
        return made

    def evict(self, victims: tuple[Candidate, ...], message: str) -> list[Held]:
        """Their statuses say so first; then their pods are ended. Returns what they held."""
        for victim in victims:
            self._state.jobs[victim.attempt.uid].eviction = Eviction(Stopping.PREEMPTED, message)
            self._state.dirty_jobs[victim.attempt.uid] = None
            self._made[victim.attempt] = None
        return [Held(victim.attempt, victim.contender.queue, victim.held) for victim in victims]


def _may_preempt(by: Contender, priority: int, name: QueueName) -> bool:
    """As far as a priority decides."""
    rule = by.within_queue if by.queue == name else by.reclaim
    return rule is Preempt.ANY or (rule is Preempt.LOWER_PRIORITY and priority < by.priority)


# ------------------------------------------------------------------ what will be
class _Head(NamedTuple):
    order: Order
    name: QueueName
    key: AdmissionKey
    request: Amounts


class _Outlook:
    """The ledgers and lines of a cohort, as they will be: a `preemption.Room`, tried out on the real ones."""

    def __init__(self, queues: Mapping[QueueName, TrackedQueue], now: datetime) -> None:
        self._queues = queues
        self._now = now
        self._open = {
            name: tracked
            for name, tracked in queues.items()
            if _preempts(tracked) and tracked.starts_again_at(now) is None
        }
        self._gone: list[Held] = []
        self._claimed: tuple[QueueName, dict[str, int]] | None = None
        self._admitted: list[_Head] = []
        self._passed_over: dict[QueueName, TrackedQueue] = {}
        self._certain = 0  # so many were admitted before any was passed over

    @property
    def admitted(self) -> int:
        """How many are, as it looks now."""
        return len(self._admitted)

    def first(self) -> _Head | None:
        """Whose turn it is, of the first in the lines."""
        heads = []
        for name, tracked in self._open.items():
            head = tracked.line.first(tracked.capacity) if is_open(tracked) else None
            if head is not None:
                heads.append(_Head(order_of(tracked, *head, self._now, counted=False), name, *head))
        return min(heads, default=None)

    def admit(self, head: _Head) -> None:
        """As if it had started."""
        self._queues[head.name].line.remove(head.key, head.request)
        self.charge(head.name, head.request)
        self._admitted.append(head)

    def pass_over(self, name: QueueName) -> None:
        """The first in that line waits, and so does the line."""
        if not self._passed_over:
            self._certain = len(self._admitted)
        self._passed_over[name] = self._open.pop(name)

    def begin_again(self) -> bool:
        """Go back to where the first was passed over, if one of them fits by now. Returns whether it does."""
        if not any(self._head_fits(name, tracked) for name, tracked in self._passed_over.items()):
            return False
        self._take_back(self._certain)
        self._open |= self._passed_over
        self._passed_over = {}
        return True

    def _head_fits(self, name: QueueName, tracked: TrackedQueue) -> bool:
        head = tracked.line.first(tracked.capacity)
        return head is not None and tracked.ledger.fits(head[1])

    def left_of(self, name: QueueName, claim: Claim) -> Claim:
        """What is still to be kept for those of that queue that have not been admitted here."""
        left = dict(claim.request)
        for head in self._admitted:
            if head.name == name:
                for resource, amount in head.request:
                    left[resource] = max(0, left.get(resource, 0) - amount)
        request = tuple(left.items())
        return Claim(claim.order, request, self._queues[name].ledger.claim(request))

    def let_go(self, ending: list[Held]) -> None:
        """As if they had ended."""
        for held in ending:
            self.release(held.name, held.request)
        self._gone += ending

    def undo(self) -> None:
        """As it is."""
        self._take_back(0)
        for held in self._gone:
            self.charge(held.name, held.request)

    def _take_back(self, all_but: int) -> None:
        for head in self._admitted[all_but:]:
            self.release(head.name, head.request)
            self._queues[head.name].line.add(head.key, head.request)
        del self._admitted[all_but:]

    def charge(self, queue: QueueName, request: Amounts) -> None:
        self._queues[queue].ledger.charge(request)

    def release(self, queue: QueueName, request: Amounts) -> None:
        self._queues[queue].ledger.release(request)

    def keep_what_is_claimed(self, claimed: dict[str, int], queue: QueueName) -> None:
        """Of the pool so much is not for the jobs of that queue, until this is called again."""
        self._claimed = (queue, claimed) if claimed else None

    def fits(self, queue: QueueName, request: Amounts) -> bool:
        ledger = self._queues[queue].ledger
        if self._claimed is not None and self._claimed[0] == queue:
            return fits(request, ledger.available(self._claimed[1]))
        return ledger.fits(request)

    def within_quota(self, queue: QueueName, request: Amounts) -> bool:
        return self._queues[queue].ledger.within_quota(request)


@contextmanager
def _outlook(queues: Mapping[QueueName, TrackedQueue], now: datetime) -> Iterator[_Outlook]:
    outlook = _Outlook(queues, now)
    try:
        yield outlook
    finally:
        outlook.undo()
