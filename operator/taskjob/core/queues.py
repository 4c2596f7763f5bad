"""The queues: who names them, who waits in them, and what is charged to them.

Part of `state.State`, over its jobs. A change of one job or pod costs what its own queue's part of it costs, however
many wait. A change of a TaskQueue costs what waits in it; one of its quota only what that changes the answer for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

from taskjob.core.capacity import Capacity, Occupant
from taskjob.core.line import Line, fits
from taskjob.core.model import (
    DEFAULT_CONTROLLER,
    Amounts,
    AttemptId,
    CohortName,
    Defaults,
    Job,
    Namespace,
    Queue,
    QueueName,
    QuotaFromNodes,
    Uid,
)
from taskjob.core.namespaces import LabelledNamespace, Namespaces, Unknown
from taskjob.core.ordering import AdmissionKey, admission_key
from taskjob.core.tracked import SECOND, Claim, TrackedCohort, TrackedJob, TrackedPod, TrackedQueue
from taskjob.core.values import replace
from taskjob.core.wakes import Wakes

ON_EVERY_NODE: Final = ("cpu", "memory", "pods")


class Queues:
    """Queues by name, be there a TaskQueue or not, their cohorts, and the charges of attempts.

    Reads `jobs`, marks in `dirty_jobs` whom a change concerns, and in `dirty` the queues that admission has to look at.
    `controller` names this installation: it acts for the queues that name it. Quotas that follow the nodes are those of
    `capacity` as of the last `follow_nodes`.
    """

    __slots__ = (
        "_controller",
        "_dirty_jobs",
        "_jobs",
        "by_name",
        "capacity",
        "charges",
        "choosing",
        "cohorts",
        "dirty",
        "following",
        "namespaces",
        "turn",
        "wakes",
    )

    def __init__(
        self, jobs: dict[Uid, TrackedJob], dirty_jobs: dict[Uid, None], controller: str = DEFAULT_CONTROLLER
    ) -> None:
        self._controller = controller
        self._jobs = jobs
        self._dirty_jobs = dirty_jobs
        self.by_name: dict[QueueName, TrackedQueue] = {}
        self.cohorts: dict[CohortName, TrackedCohort] = {}
        self.charges: dict[AttemptId, tuple[QueueName, Amounts]] = {}
        self.dirty: dict[QueueName, None] = {}
        self.capacity = Capacity()
        self.following: dict[QueueName, Queue] = {}  # the TaskQueues whose quota follows the nodes, as they were put
        self.namespaces = Namespaces()
        self.choosing: dict[QueueName, Queue] = {}  # those that choose by namespaces, as they were put
        self.wakes: Wakes[QueueName] = Wakes()
        self.turn = 0  # how many starts there were

    def take_dirty(self) -> dict[QueueName, None]:
        """The queues that something happened to since the last call, in that order."""
        taken, self.dirty = self.dirty, {}
        return taken

    def serves(self, name: QueueName) -> bool:
        """Whether this installation acts for the jobs of that queue.

        Of a queue that does not exist nobody knows whose it would be: the default installation tells of it.
        """
        tracked = self.by_name.get(name)
        queue = tracked.queue if tracked is not None else None
        return (queue.controller if queue is not None else DEFAULT_CONTROLLER) == self._controller

    def defaults_of(self, name: QueueName) -> Defaults | None:
        """What the queue says for jobs that do not say it."""
        tracked = self.by_name.get(name)
        return tracked.queue.defaults if tracked is not None and tracked.queue is not None else None

    def pass_time(self, now: datetime) -> None:
        """Queues whose instant has come are looked at."""
        self.dirty.update((name, None) for name in self.wakes.due(now) if name in self.by_name)

    # ------------------------------------------------------------------ TaskQueues
    def put(self, queue: Queue) -> None:
        """A TaskQueue as it now is."""
        if queue.controller != self._controller:
            # Another installation's: that is all that concerns us. Above all it lends us nothing.
            queue = Queue(queue.name, queue.version, queue.generation, controller=queue.controller)
        tracked = self._at(queue.name)
        before = tracked.queue
        if before is not None and before.version > queue.version:
            return
        if queue.quota_from_nodes is not None:
            self.following[queue.name] = queue
        else:
            self.following.pop(queue.name, None)
        if queue.namespace_selector:
            self.choosing[queue.name] = queue
        else:
            self.choosing.pop(queue.name, None)
        self._put(tracked, queue)

    def follow_nodes(self) -> None:
        """Bring the quotas that follow the nodes up to date."""
        if self.capacity.changed:
            self.capacity.changed = False
            for name, queue in self.following.items():
                self._put(self.by_name[name], queue)

    def _put(self, tracked: TrackedQueue, queue: Queue) -> None:
        before = tracked.queue
        unknown = self.unknown_to(queue)
        if queue.problem is None and unknown is not None:
            queue = replace(queue, problem=unknown[1])
        tracked.queue = queue
        if before is None or before.aging_seconds != queue.aging_seconds:
            tracked.standing.unsorted.update(tracked.holders)
        quota: Amounts | Mapping[str, int] = queue.quota
        if queue.quota_from_nodes is not None:
            quota = self._quota_from_nodes(tracked, queue.quota_from_nodes) if queue.problem is None else {}
        if before is not None and replace(before, version=0) == replace(queue, version=0):
            if queue.quota_from_nodes is not None and tracked.ledger.quota != quota:
                self._agree(queue.name, tracked, quota)
            return
        self._agree(queue.name, tracked, quota)
        kept = before is not None and _line_of(before) == _line_of(queue)
        if kept:  # the line stays as it is; only what it is told may be something else
            for row in tracked.line.rows.values():
                tracked.unexplained.update((key[-1], None) for key in row)
            self.dirty[queue.name] = None
        else:
            self._line_up_again(queue.name, tracked)

    def unknown_to(self, queue: Queue) -> tuple[StrEnum, str] | None:
        """What the queue has to know of the cluster and does not, in a word and a sentence."""
        if queue.quota_from_nodes is not None and self.capacity.unknown is not None:
            return self.capacity.unknown, self.capacity.why_unknown
        if queue.namespace_selector and self.namespaces.unknown is not None:
            return self.namespaces.unknown, self.namespaces.why_unknown
        return None

    def _quota_from_nodes(self, tracked: TrackedQueue, of: QuotaFromNodes) -> dict[str, int]:
        """What the nodes give now. What none of them has and somebody asks for is not to be had: 0, not unlimited."""
        asked = (resource for request in tracked.line.rows for resource, _ in request)
        return dict.fromkeys(asked, 0) | dict.fromkeys(ON_EVERY_NODE, 0) | dict(self.capacity.quota(of))

    def _limit_what_nodes_lack(self, name: QueueName, tracked: TrackedQueue, request: Amounts) -> None:
        if name in self.following and tracked.queue is not None and tracked.queue.problem is None:
            lacking = [resource for resource, _ in request if resource not in tracked.ledger.quota]
            if lacking:
                self._agree(name, tracked, {**tracked.ledger.quota, **dict.fromkeys(lacking, 0)})

    def drop(self, name: QueueName) -> None:
        """A TaskQueue is gone: what runs goes on, what waits is told."""
        tracked = self.by_name.get(name)
        if tracked is not None and tracked.queue is not None:
            tracked.queue = None
            self.following.pop(name, None)
            self.choosing.pop(name, None)
            self._agree(name, tracked, {})
            self._line_up_again(name, tracked)
            self._forget_if_empty(name)

    def _agree(self, name: QueueName, tracked: TrackedQueue, quota: Amounts | Mapping[str, int]) -> None:
        """Quota, cohort, limits and weight are now these."""
        queue, ledger, before = tracked.queue, tracked.ledger, tracked.cohort
        ledger.leave_pool()
        ledger.quota = dict(quota)
        ledger.weight = queue.weight if queue is not None else 1
        cohort = self._cohort(queue.cohort) if queue is not None and queue.cohort is not None else None
        if before is not cohort:
            if before is not None:
                del before.queues[name]
                if not before.queues:
                    del self.cohorts[before.name]
            if cohort is not None:
                cohort.queues[name] = tracked
            tracked.cohort = cohort
        if cohort is not None and queue is not None:
            ledger.join_pool(cohort.pool, queue.borrowing_limit, queue.lending_limit)
        concerned = {name: tracked}
        for each in (before, cohort):
            concerned.update(each.queues if each is not None else {})
        for other, its in concerned.items():
            self._measure(its)
            self.dirty[other] = None

    def _cohort(self, name: CohortName) -> TrackedCohort:
        cohort = self.cohorts.get(name)
        if cohort is None:
            cohort = self.cohorts[name] = TrackedCohort(name)
        return cohort

    @staticmethod
    def _measure(tracked: TrackedQueue) -> None:
        """The capacity may have changed: who now can never fit, or now can, is told."""
        before, tracked.capacity = tracked.capacity, tracked.ledger.capacity()
        if before != tracked.capacity:
            for request, row in tracked.line.rows.items():
                if fits(request, before) != fits(request, tracked.capacity):
                    tracked.unexplained.update((key[-1], None) for key in row)

    def _line_up_again(self, name: QueueName, tracked: TrackedQueue) -> None:
        tracked.line = Line()
        tracked.unexplained.clear()
        tracked.limited.clear()
        tracked.blocked = tracked.claim = None
        for uid in tracked.members:
            self._jobs[uid].place = None
            self._dirty_jobs[uid] = None
        self.dirty[name] = None

    def _at(self, name: QueueName) -> TrackedQueue:
        tracked = self.by_name.get(name)
        if tracked is None:
            tracked = self.by_name[name] = TrackedQueue()
        return tracked

    def _forget_if_empty(self, name: QueueName) -> None:
        tracked = self.by_name.get(name)
        if tracked is not None and tracked.queue is None and not tracked.members and not tracked.ledger.charges:
            del self.by_name[name]
            self.dirty.pop(name, None)
            self.wakes.forget(name)

    @staticmethod
    def claims_on(tracked: TrackedQueue) -> list[Claim]:
        """What the cohort keeps for heads of other queues, first come first."""
        if tracked.cohort is None:
            return []
        others = (each for each in tracked.cohort.queues.values() if each is not tracked)
        return sorted((each.claim for each in others if each.claim is not None), key=lambda claim: claim.order)

    # ------------------------------------------------------------------ namespaces
    def put_namespace(self, namespace: LabelledNamespace) -> None:
        """A namespace as it now is; queues that choose by labels look at its jobs again."""
        if self.namespaces.put(namespace):
            self._look_at_jobs_of(namespace.name)

    def drop_namespace(self, name: Namespace) -> None:
        """A namespace is gone."""
        if self.namespaces.drop(name):
            self._look_at_jobs_of(name)

    def replace_namespaces(self, namespaces: Iterable[LabelledNamespace]) -> None:
        """All namespaces: they are known from now on."""
        self.namespaces.replace(namespaces)
        self._choose_again()

    def namespaces_unknown(self, unknown: Unknown, why: str) -> None:
        """Namespaces cannot be listed: queues that choose by them are not used."""
        if (self.namespaces.unknown, self.namespaces.why_unknown) != (unknown, why):
            self.namespaces.is_unknown(unknown, why)
            self._choose_again()

    def _choose_again(self) -> None:
        for name, queue in self.choosing.items():
            tracked = self.by_name[name]
            self._put(tracked, queue)
            self._dirty_jobs.update(tracked.members)

    def _look_at_jobs_of(self, namespace: Namespace) -> None:
        for name in self.choosing:
            for uid in self.by_name[name].members:
                if self._jobs[uid].job.namespace == namespace:
                    self._dirty_jobs[uid] = None

    def takes(self, tracked: TrackedQueue, namespace: Namespace) -> bool:
        """Whether the queue takes jobs of that namespace. While namespaces are not known it starts nothing anyway."""
        queue = tracked.queue
        if queue is None or not queue.namespace_selector or self.namespaces.unknown is not None:
            return True
        return self.namespaces.match(queue.namespace_selector, namespace)

    # ------------------------------------------------------------------ charges
    def settle(self, tracked: TrackedPod) -> None:
        """A live pod is charged as it was created, one that is ended or gone is not."""
        pod = tracked.pod
        if tracked.live and pod.node is not None and not self.serves(pod.queue):
            self.capacity.put_occupant(Occupant(pod.uid, pod.node, pod.request, labelled=True))
        else:
            self.capacity.drop_occupant(pod.uid)
        if not tracked.live:
            self.release(pod.attempt)
            return
        held = self.charges.get(pod.attempt)
        if held == (pod.queue, pod.request):
            standing = self.by_name[pod.queue].standing
            standing.look_again(pod.attempt)
            awaited_by = standing.awaited.pop(pod.attempt, None)
            if awaited_by is not None:
                self.dirty[awaited_by] = None
        else:
            self.charge(pod.attempt, pod.queue, pod.request)
            if held is None:  # not started by us: its instant is cut to the second, so it may be up to one later
                self.by_name[pod.queue].started(pod.created_at + SECOND)

    def charge(self, attempt: AttemptId, name: QueueName, request: Amounts) -> None:
        """Charge an attempt; what it was charged before no longer counts."""
        charge = (name, request)
        if self.charges.setdefault(attempt, charge) is not charge:
            self.release(attempt)
            self.charges[attempt] = charge
        tracked = self._at(name)
        tracked.ledger.charge(request)
        tracked.holders[attempt] = None
        tracked.standing.look_again(attempt)

    def release(self, attempt: AttemptId) -> None:
        """The attempt holds nothing; nothing happens if it is not charged."""
        held = self.charges.pop(attempt, None)
        if held is not None:
            name, request = held
            self.by_name[name].ledger.release(request)
            del self.by_name[name].holders[attempt]
            self.by_name[name].standing.forget(attempt)
            self.dirty[name] = None
            self._forget_if_empty(name)

    def look_again(self, attempts: Iterable[AttemptId]) -> None:
        """Something happened to the job of these attempts."""
        for attempt in attempts:
            held = self.charges.get(attempt)
            if held is not None:
                self.by_name[held[0]].standing.look_again(attempt)

    # ------------------------------------------------------------------ members
    def join(self, tracked: TrackedJob) -> None:
        """A job that is not terminal is a member of the queue that it names."""
        if not tracked.job.status.phase.terminal:
            self._at(tracked.job.queue).members[tracked.job.uid] = None

    def leave(self, tracked: TrackedJob) -> None:
        """The job ended, is gone, or is about to change what its place depends on."""
        self.unqueue(tracked)
        queue = self.by_name.get(tracked.job.queue)
        if queue is not None:
            queue.members.pop(tracked.job.uid, None)
            self._forget_if_empty(tracked.job.queue)

    def order_of(self, job: Job) -> AdmissionKey:
        """Its place in the order of its queue."""
        tracked = self.by_name.get(job.queue)
        queue = tracked.queue if tracked is not None else None
        return admission_key(job, queue.aging_seconds if queue is not None else 0)

    def enqueue(self, tracked: TrackedJob) -> None:
        """The job may be admitted: it waits its turn, and is told why if that does not come at once."""
        job = tracked.job
        queue = self._at(job.queue)
        if not self.takes(queue, job.namespace):
            self.unqueue(tracked)
        elif tracked.place is None:
            self._limit_what_nodes_lack(job.queue, queue, job.request)
            tracked.place = self.order_of(job)
            queue.line.add(tracked.place, job.request)
        queue.unexplained[job.uid] = None
        self.dirty[job.queue] = None

    def unqueue(self, tracked: TrackedJob) -> None:
        """The job may not be admitted (any more)."""
        queue = self.by_name.get(tracked.job.queue)
        if queue is None:
            return
        queue.unexplained.pop(tracked.job.uid, None)
        if queue.limited:
            queue.limited.pop(tracked.job.uid, None)
        if tracked.place is not None:
            queue.line.remove(tracked.place, tracked.job.request)
            tracked.place, tracked.blocked_since = None, None
            if queue.blocked == tracked.job.uid:  # it keeps nothing any more from those behind it
                queue.blocked = queue.claim = None
                self.dirty[tracked.job.queue] = None


def _line_of(queue: Queue) -> tuple[object, ...]:
    """What decides who stands in line, and in which order, and whether what runs is drained."""
    return (queue.aging_seconds, queue.namespace_selector, queue.stop_policy, queue.controller)
