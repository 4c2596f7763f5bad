"""The objects of a cluster in memory, with what users, administrators and kubelets do to them.

Every change gives the object a greater version, uids are never used twice, events come in the order of versions.
`fakes_kube.FakeKube` adds what the operator asks of it.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from fakes_logs import LogFiles
from taskjob.core.model import ContainerRun, Job, Pod, PodUid, Queue, QueueName, Uid
from taskjob.core.phases import FailureClass, PodPhase


class Watcher(Protocol):
    """Who is told of changes; `control.mirror.Mirror` is one."""

    def observe_job(self, job: Job) -> object: ...
    def forget_job(self, uid: Uid) -> object: ...
    def observe_pod(self, pod: Pod) -> object: ...
    def forget_pod(self, pod: Pod) -> object: ...
    def observe_queue(self, queue: Queue) -> object: ...
    def forget_queue(self, name: QueueName) -> object: ...


@dataclass
class FakeCluster:
    """The store, and who watches it; a test is its users, its scheduler and its kubelets."""

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    jobs: dict[Uid, Job] = field(default_factory=dict)
    pods: dict[PodUid, Pod] = field(default_factory=dict)
    queues: dict[QueueName, Queue] = field(default_factory=dict)
    files: LogFiles = field(default_factory=LogFiles)
    _used_uids: set[Uid] = field(default_factory=set)
    _watchers: list[Watcher] = field(default_factory=list)
    _versions: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _uids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _events: deque[tuple[str, Any]] = field(default_factory=deque)
    _held: bool = False

    # ------------------------------------------------------------------ who watches
    def tell(self, watcher: Watcher) -> None:
        """Tell of every change from now on."""
        self._watchers.append(watcher)

    def forget(self, watcher: Watcher) -> None:
        """Tell it no more: it is dead."""
        self._watchers.remove(watcher)

    def hold_events(self) -> None:
        """Keep events back until `deliver_events`."""
        self._held = True

    def deliver_events(self, count: int | None = None) -> None:
        """Deliver what was kept back, or the first `count` of it; without a count events then flow again."""
        for _ in range(len(self._events) if count is None else min(count, len(self._events))):
            method, value = self._events.popleft()
            for watcher in self._watchers:
                getattr(watcher, method)(value)
        if count is None:
            self._held = False

    def lose_events(self) -> None:
        """Events that are kept back never come: the watch was broken. Lists show what is true."""
        self._events.clear()

    def list_jobs(self) -> tuple[int, list[Job]]:
        """The list's version, and all TaskJobs."""
        return next(self._versions), list(self.jobs.values())

    def list_pods(self) -> tuple[int, list[Pod]]:
        """The list's version, and all pods."""
        return next(self._versions), list(self.pods.values())

    def list_queues(self) -> tuple[int, list[Queue]]:
        """The list's version, and all TaskQueues."""
        return next(self._versions), list(self.queues.values())

    def job_named(self, name: str) -> Job:
        """The TaskJob of that name."""
        return next(job for job in self.jobs.values() if job.name == name)

    # ------------------------------------------------------------------ users and administrators
    def create_job(self, job: Job) -> Job:
        """A user made this TaskJob; it gets a version, and a uid of its own if that one was used before."""
        if any(other.key == job.key for other in self.jobs.values()):
            raise ValueError(f"TaskJob {job.namespace}/{job.name} already exists")
        uid = job.uid if job.uid not in self._used_uids else Uid(f"{job.uid}-{next(self._uids)}")
        self._used_uids.add(uid)
        return self._put_job(replace(job, uid=uid))

    def change_job(self, job: Job, **spec: Any) -> Job:
        """A user changed these fields of the spec."""
        current = self.jobs[job.uid]
        return self._put_job(replace(current, generation=current.generation + 1, **spec))

    def delete_job(self, job: Job) -> None:
        """A user deleted it; its pods stay, as if the garbage collector had not come yet."""
        del self.jobs[job.uid]
        self._emit("forget_job", job.uid)

    def create_queue(self, queue: Queue) -> Queue:
        """An administrator made or changed a TaskQueue."""
        made = replace(queue, version=next(self._versions))
        self.queues[queue.name] = made
        self._emit("observe_queue", made)
        return made

    def delete_queue(self, name: QueueName) -> None:
        """An administrator deleted a TaskQueue."""
        del self.queues[name]
        self._emit("forget_queue", name)

    # ------------------------------------------------------------------ kubelet and scheduler
    def pod_of(self, job: str, attempt: int | None = None) -> Pod:
        """The pod of an attempt, by default of the latest, of the TaskJob of that name."""
        found = [pod for pod in self.pods.values() if pod.job_name == job]
        found = [pod for pod in found if attempt is None or pod.attempt.attempt == attempt]
        if not found:
            raise LookupError(
                f"no pod of {job} (attempt {attempt}); there are: {sorted(p.name for p in self.pods.values())}"
            )
        return max(found, key=lambda pod: (pod.attempt.run, pod.attempt.attempt))

    def schedule(self, pod: Pod, node: str = "node-1") -> Pod:
        """The scheduler chose a node."""
        return self.change_pod(pod, node=node)

    def start(self, pod: Pod, node: str = "node-1") -> Pod:
        """Its main container started."""
        started_at = whole(self.now())
        containers = (ContainerRun("main", started_at, ended=False, main=True),)
        return self.change_pod(pod, node=node, phase=PodPhase.RUNNING, started_at=started_at, containers=containers)

    def write(self, pod: Pod, *lines: bytes, container: str = "main", at: datetime | None = None) -> None:
        """A container writes; all these lines get the same time."""
        stamp = (at or self.now()).strftime("%Y-%m-%dT%H:%M:%S.%f").encode() + b"000Z "
        self.files.lines.setdefault((pod.uid, container), []).extend(stamp + line for line in lines)
        self.files.tell()

    def rotate(self, pod: Pod, container: str = "main") -> None:
        """The kubelet begins a new file."""
        key = (pod.uid, container)
        self.files.lines[key] = []
        self.files.turns[key] = self.files.turns.get(key, 0) + 1
        self.files.tell()

    def succeed(self, pod: Pod) -> Pod:
        """All its containers exited with 0."""
        return self.change_pod(self._started(pod), phase=PodPhase.SUCCEEDED, exit_code=0, finished_at=whole(self.now()))

    def fail(
        self, pod: Pod, exit_code: int | None = 1, failure: FailureClass = FailureClass.EXIT_CODE, message: str = ""
    ) -> Pod:
        """It failed."""
        return self.change_pod(
            self._started(pod),
            phase=PodPhase.FAILED,
            exit_code=exit_code,
            failure=failure,
            message=message or f'container "main" exited with code {exit_code}',
            finished_at=whole(self.now()),
        )

    def evict(self, pod: Pod) -> Pod:
        """The node took its place away."""
        return self.fail(pod, None, FailureClass.EVICTED, "Evicted: The node was low on resource: memory.")

    def change_pod(self, pod: Pod, **fields: Any) -> Pod:
        """The pod is observed with other fields."""
        changed = replace(self.pods[pod.uid], version=next(self._versions), **fields)
        if changed.phase.ended:
            changed = replace(changed, containers=tuple(replace(run, ended=True) for run in changed.containers))
        self.pods[pod.uid] = changed
        self.files.tell()
        self._emit("observe_pod", changed)
        return changed

    def remove(self, pod: Pod) -> None:
        """It is gone: deleted by a third party, or the kubelet has ended what was being deleted."""
        last = self.pods.pop(pod.uid)
        self.files.tell()
        self._emit("forget_pod", replace(last, version=next(self._versions)))

    # ------------------------------------------------------------------ the store
    def _put_job(self, job: Job) -> Job:
        stored = replace(job, version=next(self._versions))
        self.jobs[stored.uid] = stored
        self._emit("observe_job", stored)
        return stored

    def _started(self, pod: Pod) -> Pod:
        current = self.pods[pod.uid]
        return current if current.started_at is not None else self.start(current)

    def _emit(self, method: str, value: object) -> None:
        self._events.append((method, value))
        if not self._held:
            self.deliver_events()


def whole(instant: datetime) -> datetime:
    return instant.replace(microsecond=0)
