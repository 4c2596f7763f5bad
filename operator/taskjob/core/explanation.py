"""All that is known of why a job is where it is: its reason with figures, its place, who holds what it waits for.

Asked for one job at a time by people, from the same state and with the same functions by which a cycle decides, so that
it says what the next cycle would. Reads only; costs what the job's queue and its cohort have in use, never the whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from heapq import nlargest
from typing import Final

from taskjob.core import amounts, sentences
from taskjob.core.cycle import facts_of
from taskjob.core.dependencies import Edge
from taskjob.core.facts import Facts
from taskjob.core.lifecycle import step
from taskjob.core.model import Amounts, AttemptId, Job, JobKey, JobName, QueueName, Status
from taskjob.core.phases import Condition, Phase, Reason
from taskjob.core.state import State
from taskjob.core.tracked import TrackedJob
from taskjob.core.why import RUNNING, why

NAMED_MAX = 10
"""How many holders, and how many dependencies, are named; the others are counted."""

_WAITS_ITS_TURN: Final = (Reason.WAITING_FOR_QUOTA, Reason.RATE_LIMITED, Reason.QUEUED)


@dataclass(frozen=True, slots=True)
class Place:
    """The job is the `position`-th of those that wait in its queue for nothing but room, from 1."""

    position: int
    of: int


@dataclass(frozen=True, slots=True)
class Lack:
    """Of the resource `asked` is more than `available`; `limit` is the quota."""

    resource: str
    asked: int
    available: int
    limit: int


@dataclass(frozen=True, slots=True)
class Holder:
    """An attempt that has so much of what is lacking, or the concurrency key (then once). `job` is None if its TaskJob
    is gone and only the pod is left."""

    job: JobKey | None
    queue: QueueName
    amount: int


@dataclass(frozen=True, slots=True)
class Awaited:
    """A dependency that is not met; its phase is None if there is no job of that name."""

    name: JobName
    condition: Condition
    phase: Phase | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The answer. Of holders and dependencies the first few are named, and all are counted."""

    job: Job
    status: Status  # phase, reason and message as they are at this moment, be they written or not
    place: Place | None = None
    lack: Lack | None = None
    holders: tuple[Holder, ...] = ()
    holders_total: int = 0
    behind: JobKey | None = None  # for whom that is kept which it would fit into
    awaited: tuple[Awaited, ...] = ()
    awaited_total: int = 0
    until: datetime | None = None  # nothing changes before that instant, as far as the clock decides

    def told(self) -> dict[str, object]:
        """As values for JSON; amounts are quantities."""
        lack = self.lack
        return {
            "id": self.job.uid,
            "namespace": self.job.namespace,
            "name": self.job.name,
            "queue": self.job.queue,
            "phase": self.status.phase.value,
            "reason": self.status.reason.value,
            "message": self.status.message,
            "place": {"position": self.place.position, "of": self.place.of} if self.place is not None else None,
            "lacking": None
            if lack is None
            else {
                "resource": lack.resource,
                "asked": amounts.show(lack.resource, lack.asked),
                "available": amounts.show(lack.resource, lack.available),
                "limit": amounts.show(lack.resource, lack.limit),
            },
            "behind": {"namespace": self.behind.namespace, "name": self.behind.name}
            if self.behind is not None
            else None,
            "holders": [
                {
                    "namespace": holder.job.namespace if holder.job is not None else None,
                    "name": holder.job.name if holder.job is not None else None,
                    "queue": holder.queue,
                    "amount": amounts.show(lack.resource, holder.amount) if lack is not None else "1",
                }
                for holder in self.holders
            ],
            "holdersTotal": self.holders_total,
            "dependencies": [
                {
                    "name": each.name,
                    "condition": each.condition.value,
                    "phase": each.phase.value if each.phase is not None else None,
                }
                for each in self.awaited
            ],
            "dependenciesTotal": self.awaited_total,
            "until": self.until.isoformat().replace("+00:00", "Z") if self.until is not None else None,
        }


def explanation(state: State, tracked: TrackedJob, now: datetime) -> Explanation:
    """Why this job is where it is."""
    job = tracked.job
    if not state.queues.serves(job.queue):
        message = f'queue "{job.queue}" is served by another installation (its spec.controllerName)'
        return Explanation(job, _status(job.status, job.status.reason, message))
    facts = facts_of(state, tracked, now)
    decided = step(facts, now)
    if decided.eligible:
        if tracked.parked is not None and not tracked.queued:
            return _waiting_for_key(state, tracked)
        return _in_queue(state, tracked, now)
    status = decided.shown
    if status.phase is not Phase.PENDING:
        return Explanation(job, status)
    if facts.launching:
        return Explanation(job, _status(status, Reason.QUEUED, "admitted: its pod is being created"))
    if facts.occupied:
        return Explanation(job, _status(status, status.reason, "the pod of an earlier attempt has not ended yet"))
    match status.reason:
        case Reason.WAITING_FOR_DEPENDENCIES:
            return _waiting_for_dependencies(state, tracked, facts, status)
        case Reason.BACKING_OFF:
            return Explanation(job, status, until=status.not_before)
        case Reason.POD_REFUSED if facts.refusal is not None:
            said = _status(status, Reason.POD_REFUSED, facts.refusal.message)
            return Explanation(job, said, until=facts.refusal.until)
    return Explanation(job, status)


def _status(status: Status, reason: Reason, message: str) -> Status:
    """Figures that were written once age: these are of this moment."""
    return Status(phase=status.phase, reason=reason, message=message, run=status.run, attempt=status.attempt)


# ------------------------------------------------------------------ dependencies
def _waiting_for_dependencies(state: State, tracked: TrackedJob, facts: Facts, status: Status) -> Explanation:
    job = tracked.job
    unmet = [each for each in job.depends_on if tracked.edges[each.name][1] is not Edge.MET]
    phases = {each.name: _phase(state, JobKey(job.namespace, each.name)) for each in unmet}
    message = facts.block.message if facts.block is not None else status.message
    if not tracked.impossible:  # the graph does not name 10,000 of them anew whenever one ends; for one question we do
        message = sentences.waiting_for(unmet, [each for each in unmet if phases[each.name] is None])
    named = tuple(Awaited(each.name, each.condition, phases[each.name]) for each in unmet[:NAMED_MAX])
    return Explanation(job, _status(status, status.reason, message), awaited=named, awaited_total=len(unmet))


def _phase(state: State, key: JobKey) -> Phase | None:
    uid = state.by_key.get(key)
    return state.jobs[uid].job.status.phase if uid is not None else None


# ------------------------------------------------------------------ concurrency keys
def _waiting_for_key(state: State, tracked: TrackedJob) -> Explanation:
    job = tracked.job
    attempts = state.keys.attempts_with_key_of(job)
    named = [state.jobs.get(attempt.uid) for attempt in attempts[:NAMED_MAX]]
    holders = tuple(
        Holder(other.job.key if other is not None else None, other.job.queue if other is not None else job.queue, 1)
        for other in named
    )
    status = _status(job.status, Reason.CONCURRENCY_LIMIT, sentences.key_taken(job, state.keys.holders_of(job)))
    return Explanation(job, status, holders=holders, holders_total=len(attempts))


# ------------------------------------------------------------------ the queue
def _in_queue(state: State, tracked: TrackedJob, now: datetime) -> Explanation:
    job = tracked.job
    because = why(state.queues, tracked, now)
    status = _status(job.status, because.reason, sentences.waiting(because))
    place = _place(state, tracked) if because.reason in _WAITS_ITS_TURN else None
    if because.reason is not Reason.WAITING_FOR_QUOTA:
        return Explanation(job, status, place, until=because.until)
    if not because.resource:
        first = state.jobs.get(because.behind) if because.behind is not None else None
        return Explanation(job, status, place, behind=first.job.key if first is not None else None)
    holders = list(_holders(state, job.queue, because.resource))
    return Explanation(
        job,
        status,
        place,
        Lack(because.resource, because.asked, because.available, because.limit),
        tuple(_named(state, job.queue, holders)),
        len(holders),
    )


def _place(state: State, tracked: TrackedJob) -> Place | None:
    """Who can never start is in nobody's way, and is not counted."""
    queue = state.queues.by_name[tracked.job.queue]
    key = tracked.place
    if key is None:
        return None
    rows = [row for request, row in queue.line.rows.items() if queue.ledger.excess(request) is None]
    return Place(1 + sum(row.before(key) for row in rows), sum(map(len, rows)))


def _holders(state: State, name: QueueName, resource: str) -> Iterator[tuple[int, QueueName, AttemptId]]:
    """Who is charged for the resource: in the queue, and in those of its cohort."""
    cohort = state.queues.by_name[name].cohort
    lenders = {name} if cohort is None or resource == RUNNING else set(cohort.queues)
    for attempt, (charged, request) in state.queues.charges.items():
        if charged in lenders and (amount := 1 if resource == RUNNING else _amount(request, resource)):
            yield amount, charged, attempt


def _named(state: State, own: QueueName, holders: list[tuple[int, QueueName, AttemptId]]) -> Iterator[Holder]:
    """The largest: those of the same queue first, since a cohort's other queues may only use what is theirs."""
    largest = nlargest(NAMED_MAX, holders, key=lambda holder: (holder[1] == own, holder[0], holder[2]))
    for amount, queue, attempt in largest:
        tracked = state.jobs.get(attempt.uid)
        yield Holder(tracked.job.key if tracked is not None else None, queue, amount)


def _amount(request: Amounts, resource: str) -> int:
    return next((amount for name, amount in request if name == resource), 0)
