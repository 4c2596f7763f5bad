"""The queues: who names them, who waits in them, and what is charged to them.

Part of `state.State`, over its jobs. A change of one job or pod costs what its own queue's part of it costs, however
many wait; a change of a TaskQueue has all that waits in it looked at again.
"""

from __future__ import annotations

from dataclasses import replace
from heapq import heappush

from taskjob.core.model import DEFAULT_CONTROLLER, Amounts, AttemptId, Queue, QueueName, Uid
from taskjob.core.ordering import admission_key
from taskjob.core.tracked import TrackedJob, TrackedPod, TrackedQueue


class Queues:
    """Queues by name, be there a TaskQueue or not, and the charges of attempts.

    Reads `jobs`, marks in `dirty_jobs` whom a change concerns, and in `dirty` the queues that admission has to look at.
    `controller` names this installation: it acts for the queues that name it.
    """

    __slots__ = ("_controller", "_dirty_jobs", "_jobs", "by_name", "charges", "dirty")

    def __init__(
        self, jobs: dict[Uid, TrackedJob], dirty_jobs: dict[Uid, None], controller: str = DEFAULT_CONTROLLER
    ) -> None:
        self._controller = controller
        self._jobs = jobs
        self._dirty_jobs = dirty_jobs
        self.by_name: dict[QueueName, TrackedQueue] = {}
        self.charges: dict[AttemptId, tuple[QueueName, Amounts]] = {}
        self.dirty: dict[QueueName, None] = {}

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

    # ------------------------------------------------------------------ TaskQueues
    def put(self, queue: Queue) -> None:
        """A TaskQueue as it now is. All that waits in it is looked at again."""
        if queue.controller != self._controller:
            # Another installation's: that is all that concerns us. Above all it lends us nothing.
            queue = Queue(queue.name, queue.version, queue.generation, controller=queue.controller)
        tracked = self._at(queue.name)
        if tracked.queue is not None and tracked.queue.version > queue.version:
            return
        changed = tracked.queue is None or replace(tracked.queue, version=0) != replace(queue, version=0)
        tracked.queue = queue
        if changed:
            tracked.ledger.quota = dict(queue.quota)
            self._look_again(queue.name, tracked)

    def drop(self, name: QueueName) -> None:
        """A TaskQueue is gone: what runs goes on, what waits is told."""
        tracked = self.by_name.get(name)
        if tracked is not None and tracked.queue is not None:
            tracked.queue = None
            tracked.ledger.quota = {}
            self._look_again(name, tracked)
            self._forget_if_empty(name)

    def _look_again(self, name: QueueName, tracked: TrackedQueue) -> None:
        tracked.shapes.clear()
        tracked.unexplained.clear()
        for uid in tracked.members:
            self._jobs[uid].queued = False
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

    # ------------------------------------------------------------------ charges
    def settle(self, tracked: TrackedPod) -> None:
        """A live pod is charged as it was created, one that is ended or gone is not."""
        pod = tracked.pod
        if not tracked.live:
            self.release(pod.attempt)
        elif self.charges.get(pod.attempt) != (pod.queue, pod.request):
            self.charge(pod.attempt, pod.queue, pod.request)

    def charge(self, attempt: AttemptId, name: QueueName, request: Amounts) -> None:
        """Charge an attempt; what it was charged before no longer counts."""
        self.release(attempt)
        self.charges[attempt] = (name, request)
        self._at(name).ledger.charge(request)

    def release(self, attempt: AttemptId) -> None:
        """The attempt holds nothing; nothing happens if it is not charged."""
        held = self.charges.pop(attempt, None)
        if held is not None:
            name, request = held
            self.by_name[name].ledger.release(request)
            self.dirty[name] = None
            self._forget_if_empty(name)

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

    def enqueue(self, tracked: TrackedJob) -> None:
        """The job may be admitted: it waits its turn, and is told why if that does not come at once."""
        job = tracked.job
        queue = self._at(job.queue)
        if not tracked.queued:
            tracked.queued = True
            tracked.ticket += 1
            heap = queue.shapes.setdefault(job.request, [])
            heappush(heap, (admission_key(job), tracked.ticket, job.uid))
        queue.unexplained[job.uid] = None
        self.dirty[job.queue] = None

    def unqueue(self, tracked: TrackedJob) -> None:
        """The job may not be admitted (any more). Its heap entry becomes void and falls out when it surfaces."""
        if tracked.queued:
            tracked.queued = False
            tracked.ticket += 1
            queue = self.by_name.get(tracked.job.queue)
            if queue is not None:
                queue.unexplained.pop(tracked.job.uid, None)
