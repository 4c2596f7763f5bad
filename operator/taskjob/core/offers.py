"""What each queue of a cohort offers to start next, and which of these offers goes first.

A queue offers the first of those that wait in it, its *head*; if that does not fit and the queue is no `StrictFIFO`,
the first that does. Who asks for more than could ever fit is passed over. Between the queues of a cohort:

1. what stays within its queue's own quota goes before what borrows
2. of what borrows, that of the queue with the smaller weighted dominant share (`quota.Ledger.share`), counted with the
   job on top; for a head that has waited `reserve_after_seconds` without it, so that a large job is not put behind for
   being large
3. the higher priority, each aged by its own queue's rules
4. the earlier creation, then namespace, name and uid

A head that did not fit for `reserve_after_seconds` has a *claim*: in its queue nothing may start that would use what it
needs, and nothing of what it needs of the cohort may be borrowed by who goes after it. A claim never keeps another
queue from its own quota. A claim to a queue's own quota goes before all that borrows. Whoever has others evicted has a
claim at once (`nomination`): what the victims leave is its.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from heapq import heappop, heappush, heapreplace

from taskjob.core.amounts import add
from taskjob.core.line import Found, fits
from taskjob.core.model import Amounts, Namespace, QueueName, Uid
from taskjob.core.ordering import AdmissionKey, aged_priority
from taskjob.core.phases import StopPolicy, Strategy
from taskjob.core.quota import less
from taskjob.core.tracked import Claim, Order, TrackedJob, TrackedQueue

Offer = tuple[bool, float, float, float, Namespace, str, Uid, QueueName, Amounts]
"""A job that fits now: its order, its queue (`[-2]`), and what it asks (`[-1]`). A plain tuple is made in a fourth of
the time of what has names for these, and the offer that goes first is the least one."""


def is_open(tracked: TrackedQueue) -> bool:
    """Whether anything may start in the queue, as far as quota and the rate of starts allow."""
    queue = tracked.queue
    return (
        queue is not None
        and queue.problem is None
        and queue.stop_policy is StopPolicy.NONE
        and (not queue.max_running or tracked.ledger.charges < queue.max_running)
        and (queue.quota_from_nodes is None or bool(tracked.ledger.quota))  # else the nodes are not known yet
    )


def order_of(tracked: TrackedQueue, key: AdmissionKey, request: Amounts, now: datetime, *, counted: bool) -> Order:
    """Where a job stands between the queues of its cohort; its share with what it asks for, if that is `counted`."""
    ledger = tracked.ledger
    own = _order_of_own(tracked, key, now)
    if ledger.pool is None or ledger.within_quota(request):
        return own
    return (True, ledger.share(request if counted else ()), *own[2:])


def _order_of_own(tracked: TrackedQueue, key: AdmissionKey, now: datetime) -> Order:
    """Of a job that borrows nothing."""
    aging = tracked.queue.aging_seconds if tracked.queue is not None else 0
    if not aging:  # `aged_priority` would say so
        return (False, 0.0, *key)
    return (False, 0.0, -aged_priority(key, aging, now), *key[1:])


def claimed(
    claims: Iterable[tuple[QueueName, Claim]], *, but: QueueName, before: Order | None = None
) -> dict[str, int]:
    """What others claim of the pool; only those that go before that order, if one is given."""
    amounts: dict[str, int] = {}
    for name, claim in claims:
        if name != but and (before is None or claim.order < before):
            for resource, amount in claim.pool.items():
                amounts[resource] = amounts.get(resource, 0) + amount
    return amounts


class Round:
    """The queues of one cohort, or one queue without a cohort, in one cycle: offers, until nothing more fits.

    Whoever takes an offer has it charged and its job out of the line, then calls `taken`.
    """

    __slots__ = (
        "_current",
        "_expected",
        "_full",
        "_heap",
        "_jobs",
        "_largest",
        "_lasting",
        "_now",
        "_queues",
        "_sure",
        "claims",
    )

    def __init__(
        self,
        jobs: dict[Uid, TrackedJob],
        queues: Mapping[QueueName, TrackedQueue],
        now: datetime,
        expected: Mapping[QueueName, list[Found]],
    ) -> None:
        self._jobs = jobs
        self._queues = queues
        self._now = now
        self._expected = expected
        self.claims: dict[QueueName, Claim] = {}
        self._current: dict[QueueName, Offer] = {}
        self._heap: list[Offer] = []  # also such as are no longer current
        self._full: set[QueueName] = set()  # nobody in them fits, whatever is claimed: that stays so, as all is taken
        self._lasting: dict[QueueName, Claim] = {}  # of these the claims: what they were made from stays so, too
        self._largest: dict[str, int] = {}  # what an offer asks at most, while nobody has a claim
        self._sure = 0  # after so many are taken there may first be an offer for which the pool no longer has enough
        self._refresh()

    # ------------------------------------------------------------------ offers
    def best(self) -> Offer | None:
        """The offer that goes first."""
        heap, current = self._heap, self._current
        while heap:
            offer = heap[0]
            if current.get(offer[-2]) is offer:
                return offer
            heappop(heap)
        return None

    def taken(self, offer: Offer) -> None:
        """This offer was accepted. What is left may no longer do for others, or give a head that has waited a claim."""
        name = offer[-2]
        if self.claims or not self._offer(name):
            self._refresh()
            return
        self._sure -= 1
        pool = self._queues[name].ledger.pool
        if pool is None or self._sure > 0:
            return
        self._sure = min((pool.left(resource) // amount for resource, amount in self._largest.items()), default=1)
        if self._sure > 0:
            return
        for other, current in list(self._current.items()):
            if other != name and not self._queues[other].ledger.fits(current[-1]) and not self._offer(other):
                self._refresh()
                return

    def _refresh(self) -> None:
        known = False
        while not known:  # a claim that is found only now concerns those that were looked at before
            self._current, self._heap, self._largest, self._sure = {}, [], {}, 0
            self._look_for_claims()
            offered = [self._offer(name) for name, tracked in self._queues.items() if self._may_offer(name, tracked)]
            known = all(offered)  # of all: looking for claims one by one would take as many turns

    def _may_offer(self, name: QueueName, tracked: TrackedQueue) -> bool:
        return bool(tracked.line) and (name not in self._full or tracked.blocked is None)

    def _offer(self, name: QueueName) -> bool:
        """Renew a queue's offer; False if its head turns out to have a claim that was not known."""
        tracked = self._queues[name]
        self._current.pop(name, None)
        if tracked.starts_again_at(self._now) is not None:
            return True
        tracked.blocked = None
        first = tracked.line.first() if is_open(tracked) else None
        if first is None:
            return True
        borrows = tracked.ledger.borrows(first[1]) if not self.claims else None
        if borrows is not None:  # mostly it is the very first, and fits
            self._make(name, tracked, first, borrows)
            return True
        head = first if fits(first[1], tracked.capacity) else tracked.line.first(tracked.capacity)
        if head is None:
            return True
        found = self._head_or_other(name, tracked, head)
        if found is None or found[0] is not head[0]:
            waiter = self._jobs[head[0][-1]]
            tracked.blocked = waiter.job.uid
            if waiter.blocked_since is None:
                waiter.blocked_since = self._now
            elif name not in self.claims and tracked.is_due(waiter, self._now):
                return False
        if found is not None:
            self._make(name, tracked, found, not tracked.ledger.within_quota(found[1]))
        return True

    def _make(self, name: QueueName, tracked: TrackedQueue, found: Found, borrows: bool) -> None:
        key, request = found
        order = self._order_of(tracked, found) if borrows else _order_of_own(tracked, key, self._now)
        offer = self._current[name] = (*order, name, request)
        heap = self._heap
        if heap and self._current.get(heap[0][-2]) is not heap[0]:  # the one that was just taken
            heapreplace(heap, offer)
        else:
            heappush(heap, offer)
        for resource, amount in request:
            if amount > self._largest.get(resource, 0) and resource in tracked.ledger.quota:
                self._largest[resource], self._sure = amount, 0

    def _order_of(self, tracked: TrackedQueue, found: Found) -> Order:
        return order_of(tracked, *found, self._now, counted=not self._is_due(tracked, found[0]))

    def _head_or_other(self, name: QueueName, tracked: TrackedQueue, head: Found) -> Found | None:
        ledger = tracked.ledger
        claim = self.claims.get(name)
        strict = tracked.queue is not None and tracked.queue.strategy is Strategy.STRICT_FIFO
        fitting = tracked.line.first(ledger.available())
        if fitting is None:
            self._full.add(name)
            return None
        if not self.claims:
            return None if strict and fitting[0] != head[0] else fitting
        if fitting[0] == head[0] and (claim is None or claim.uid != head[0][-1]):
            order = self._order_of(tracked, head)
            ahead = self._claimed(but=name, before=order) if order[0] else {}
            if not ahead or fits(head[1], ledger.available(ahead)):
                return head
        if strict:
            return None
        limits, own = ledger.available(self._claimed(but=name)), ledger.own()
        if claim is not None:
            limits, own = less(limits, claim.request), less(own, claim.request)
        return min(filter(None, (tracked.line.first(limits), tracked.line.first(own))), default=None)

    # ------------------------------------------------------------------ claims
    def _look_for_claims(self) -> None:
        """Heads that have waited long enough and do not fit, in their order; each respects those before it."""
        self.claims = {}
        for name, waiting in self._expected.items():
            self._claim_for(name, [each for each in waiting if self._jobs[each[0][-1]].place == each[0]])
        due: list[tuple[Order, QueueName, TrackedQueue, Amounts]] = []
        for name, tracked in self._queues.items():
            if tracked.blocked is None or name in self.claims:
                continue
            lasting = self._lasting.get(name)
            if lasting is not None and lasting.uid == tracked.blocked:
                self.claims[name] = lasting
            elif is_open(tracked):
                head = tracked.line.first(tracked.capacity)
                if head is not None and self._is_due(tracked, head[0]):
                    due.append((order_of(tracked, *head, self._now, counted=False), name, tracked, head[1]))
        for order, name, tracked, request in sorted(due, key=lambda each: each[0]):
            ahead = self._claimed(but=name, before=order) if order[0] and tracked.ledger.fits(request) else {}
            if not fits(request, tracked.ledger.available(ahead)):
                claim = self.claims[name] = Claim(order, request, tracked.ledger.claim(request))
                if name in self._full:
                    self._lasting[name] = claim

    def _claim_for(self, name: QueueName, waiting: list[Found]) -> None:
        """Those that start when others have ended have one claim together, in the name of the first."""
        tracked = self._queues[name]
        if waiting and fits(waiting[0][1], tracked.ledger.available()):
            waiting = waiting[1:]  # it fits by now, and goes before those behind it anyway
        if waiting and is_open(tracked):
            request: Amounts = ()
            for _, asked in waiting:
                request = add(request, asked)
            order = order_of(tracked, *waiting[0], self._now, counted=False)
            self.claims[name] = Claim(order, request, tracked.ledger.claim(request))

    def _claimed(self, *, but: QueueName, before: Order | None = None) -> dict[str, int]:
        return claimed(self.claims.items(), but=but, before=before)

    def _is_due(self, tracked: TrackedQueue, key: AdmissionKey) -> bool:
        return tracked.is_due(self._jobs[key[-1]], self._now)
