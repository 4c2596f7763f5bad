"""What the cluster last said, and only that: decides which observation is news, and feeds `core.state`.

Observations come from kopf's events, our own pod watch, lists, and the replies to our own writes; they have no
common order. What settles it is the resourceVersion, per object and, for objects that are not there, per list:

- an observation that is not newer than what is held is dropped
- after a list of version L, observations at or below L are dropped also for objects that it did not hold
- an object that a list does not hold is removed, unless what is held of it is newer than the list
- a list older than the one before it means that the cluster's store was restored: all that is held is worthless

kopf does not tell of TaskJobs that vanished while its watch was broken: `replace_jobs` does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable

from taskjob.core.capacity import Node, Occupant, Unknown
from taskjob.core.model import Job, Pod, PodUid, Queue, QueueName, Uid
from taskjob.core.namespaces import LabelledNamespace
from taskjob.core.namespaces import Unknown as UnknownNamespaces
from taskjob.core.state import State
from taskjob.ports import Clock

logger = logging.getLogger(__name__)


class StoreRestoredError(Exception):
    """The cluster's store went back in time: this process must start anew from lists."""


class Mirror:
    """The one door through which observations enter the state. Not thread-safe: one loop owns it."""

    def __init__(self, state: State, clock: Clock, wake: Callable[[], None]) -> None:
        self.state = state
        self._clock = clock
        self._wake = wake
        self._jobs_floor = -1  # version of the last list of TaskJobs
        self._pods_floor = -1
        self._queues_floor = -1
        self.newest_epoch = 0  # the greatest that a status or a pod carries
        self._departed_jobs: dict[Uid, None] = {}  # since the last list; older ones are below its floor
        self._departed_pods: dict[PodUid, None] = {}
        self.surroundings_needed = asyncio.Event()  # some queue's quota follows the nodes
        self.namespaces_needed = asyncio.Event()  # some queue chooses by the labels of namespaces

    @property
    def synced(self) -> bool:
        """Whether TaskJobs, TaskQueues and pods have been listed: before that nothing may be decided."""
        return min(self._jobs_floor, self._pods_floor, self._queues_floor) >= 0

    def _see_epoch(self, queue: QueueName, epoch: int) -> None:
        """An object carries this epoch. Another installation's epochs are counted by another Lease."""
        if epoch > self.newest_epoch and self.state.queues.serves(queue):
            self.newest_epoch = epoch

    # ------------------------------------------------------------------ TaskJobs
    def observe_job(self, job: Job) -> None:
        """An event, a reply or a read showed this TaskJob."""
        self._see_epoch(job.queue, job.status.epoch)
        held = self.state.jobs.get(job.uid)
        if held is not None:
            if job.version <= held.job.version:
                return
        elif job.version <= self._jobs_floor or job.uid in self._departed_jobs:
            return
        self.state.put_job(job)
        self._wake()

    def forget_job(self, uid: Uid) -> None:
        """A TaskJob was deleted."""
        self._departed_jobs[uid] = None
        if uid in self.state.jobs:
            self.state.drop_job(uid, self._clock.now())
            self._wake()

    def replace_jobs(self, version: int, jobs: Iterable[Job]) -> None:
        """A complete list. Raises `StoreRestoredError`."""
        self._check(version, self._jobs_floor, "TaskJobs")
        listed: set[Uid] = set()
        for job in jobs:
            listed.add(job.uid)
            self._see_epoch(job.queue, job.status.epoch)
            held = self.state.jobs.get(job.uid)
            if held is None:
                if job.uid not in self._departed_jobs:
                    self.state.put_job(job)
            elif job.version > held.job.version:
                self.state.put_job(job)
        vanished = [uid for uid, held in self.state.jobs.items() if uid not in listed and held.job.version <= version]
        for uid in vanished:
            self.state.drop_job(uid, self._clock.now())
        if vanished and self._jobs_floor >= 0:
            logger.warning("%d TaskJobs had vanished without an event", len(vanished))
        self._departed_jobs.clear()  # whatever is told of them now is at or below the floor
        self._jobs_floor = version
        self._wake()

    # ------------------------------------------------------------------ pods
    def observe_pod(self, pod: Pod) -> None:
        """An event or a reply showed this pod."""
        self._see_epoch(pod.queue, pod.epoch)
        held = self.state.pods.get(pod.attempt)
        if held is not None and held.pod.uid == pod.uid:
            if pod.version <= held.pod.version:
                return
        elif pod.version <= self._pods_floor or pod.uid in self._departed_pods:
            return
        self.state.put_pod(pod)
        self._wake()

    def forget_pod(self, pod: Pod) -> None:
        """A pod was deleted; `pod` is how it was last seen."""
        self._departed_pods[pod.uid] = None
        self.state.drop_pod(pod)
        self._wake()

    def replace_pods(self, version: int, pods: Iterable[Pod]) -> None:
        """A complete list. Raises `StoreRestoredError`."""
        self._check(version, self._pods_floor, "pods")
        listed: set[PodUid] = set()
        for pod in pods:
            listed.add(pod.uid)
            self._see_epoch(pod.queue, pod.epoch)
            held = self.state.pods.get(pod.attempt)
            known = held is not None and held.pod.uid == pod.uid
            if (held is not None and known and pod.version > held.pod.version) or (
                not known and pod.uid not in self._departed_pods
            ):
                self.state.put_pod(pod)
        vanished = [
            held.pod
            for held in self.state.pods.values()
            if not held.gone and held.pod.uid not in listed and held.pod.version <= version
        ]
        for pod in vanished:
            self.state.drop_pod(pod)
        self._departed_pods.clear()
        self._pods_floor = version
        self._wake()

    # ------------------------------------------------------------------ TaskQueues
    def observe_queue(self, queue: Queue) -> None:
        """An event or a list showed this TaskQueue."""
        self.state.put_queue(queue)
        self._look_around()
        self._wake()

    def forget_queue(self, name: QueueName) -> None:
        """A TaskQueue was deleted."""
        self.state.drop_queue(name)
        self._wake()

    def replace_queues(self, version: int, queues: Iterable[Queue]) -> None:
        """A complete list. Raises `StoreRestoredError`."""
        self._check(version, self._queues_floor, "TaskQueues")
        listed: set[QueueName] = set()
        for queue in queues:
            listed.add(queue.name)
            self.state.put_queue(queue)
        for name, held in list(self.state.queues.by_name.items()):
            if held.queue is not None and name not in listed and held.queue.version <= version:
                self.state.drop_queue(name)
        self._queues_floor = version
        self._look_around()
        self._wake()

    def _look_around(self) -> None:
        if self.state.queues.following:
            self.surroundings_needed.set()
        if self.state.queues.choosing:
            self.namespaces_needed.set()

    # ------------------------------------------------------------------ namespaces: one watch tells of them
    def observe_namespace(self, namespace: LabelledNamespace) -> None:
        """A namespace appeared or changed."""
        self.state.queues.put_namespace(namespace)
        self._wake()

    def forget_namespace(self, namespace: LabelledNamespace) -> None:
        """A namespace was deleted."""
        self.state.queues.drop_namespace(namespace.name)
        self._wake()

    def replace_namespaces(self, version: int, namespaces: Iterable[LabelledNamespace]) -> None:
        """All namespaces."""
        self.state.queues.replace_namespaces(namespaces)
        self._wake()

    def namespaces_unknown(self, unknown: UnknownNamespaces, why: str) -> None:
        """Namespaces cannot be listed."""
        self.state.queues.namespaces_unknown(unknown, why)
        self._wake()

    # ------------------------------------------------------------------ nodes, and the pods on them that are not ours
    # One watch each tells of them, in its order: there is nothing older to be dropped.
    def observe_node(self, node: Node) -> None:
        """A node appeared or changed."""
        self.state.queues.capacity.put_node(node)
        self._surroundings_changed()

    def forget_node(self, node: Node) -> None:
        """A node was deleted."""
        self.state.queues.capacity.drop_node(node.name)
        self._surroundings_changed()

    def replace_nodes(self, version: int, nodes: Iterable[Node]) -> None:
        """All nodes."""
        self.state.queues.capacity.replace_nodes(nodes)
        self._surroundings_changed()

    def observe_occupant(self, occupant: Occupant) -> None:
        """A pod that is not ours is on a node."""
        self.state.queues.capacity.put_occupant(occupant)
        self._surroundings_changed()

    def forget_occupant(self, occupant: Occupant) -> None:
        """A pod that is not ours has ended or is gone."""
        self.state.queues.capacity.drop_occupant(occupant.uid)
        self._surroundings_changed()

    def replace_occupants(self, version: int, occupants: Iterable[Occupant]) -> None:
        """All pods on nodes that are not ours."""
        self.state.queues.capacity.replace_occupants(occupants)
        self._surroundings_changed()

    def surroundings_known(self) -> None:
        """Nodes and their pods have been listed."""
        self.state.queues.capacity.is_known()
        self._surroundings_changed()

    def surroundings_unknown(self, unknown: Unknown, why: str) -> None:
        """Nodes or their pods cannot be listed."""
        self.state.queues.capacity.is_unknown(unknown, why)
        self._surroundings_changed()

    def _surroundings_changed(self) -> None:
        if self.state.queues.capacity.changed:
            self._wake()

    @staticmethod
    def _check(version: int, floor: int, what: str) -> None:
        if version < floor:
            raise StoreRestoredError(
                f"a list of {what} has version {version}, an earlier one had {floor}: the cluster's store was restored"
            )
