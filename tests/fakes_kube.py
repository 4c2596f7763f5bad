"""A cluster in memory: the fake of `ports.KubePort`, held to the real adapter's suite (contracts/test_kube_port.py).

    kube = FakeKube(now=clock.now)
    kube.tell(mirror)                            # watch events: observe_job, forget_job, observe_pod, ...
    job = kube.create_job(a_job("train").build())
    pod = kube.pod_of("train")                   # after the operator launched it
    kube.start(pod); kube.succeed(pod)           # what a kubelet would do; kube.fail(pod, 3), kube.evict(pod)
    kube.answer_next("launch", Unreachable("reset"))                # nothing is done, this is the answer
    kube.lose_next_answer("set_status")                             # it is done, and nobody hears of it
    kube.hold_events(); ...; kube.deliver_events()                  # a slow watch

Every change gives the object a greater version, uids are never used twice, events come in the order of versions.
"""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar, cast

from fakes_logs import FakeLogStream, LogFiles
from taskjob.core.decisions import EndBy, EndPod, Launch, RemoveJob, RemovePod, SetQueueStatus, SetStatus
from taskjob.core.model import AttemptId, ContainerRun, Job, Pod, PodUid, Queue, QueueName, Status, Uid
from taskjob.core.notices import Notice
from taskjob.core.phases import FailureClass, PodPhase
from taskjob.kube.pods import pod_name
from taskjob.ports import (
    Changed,
    Deposed,
    Done,
    Gone,
    Launched,
    LogStream,
    NoLog,
    Refused,
    Stale,
    Unreachable,
    Written,
)

_Answer = TypeVar("_Answer")


class Watcher(Protocol):
    """Who is told of changes; `control.mirror.Mirror` is one."""

    def observe_job(self, job: Job) -> object: ...
    def forget_job(self, uid: Uid) -> object: ...
    def observe_pod(self, pod: Pod) -> object: ...
    def forget_pod(self, pod: Pod) -> object: ...
    def observe_queue(self, queue: Queue) -> object: ...
    def forget_queue(self, name: QueueName) -> object: ...


@dataclass
class FakeKube:
    """An API server and its store; what a kubelet does is done by the test."""

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    jobs: dict[Uid, Job] = field(default_factory=dict)
    pods: dict[PodUid, Pod] = field(default_factory=dict)
    queues: dict[QueueName, Queue] = field(default_factory=dict)
    queue_figures: dict[QueueName, SetQueueStatus] = field(default_factory=dict)
    notices: dict[tuple[Uid, str, str], Notice] = field(default_factory=dict)  # by uid, reason and message
    files: LogFiles = field(default_factory=LogFiles)
    created: list[AttemptId] = field(default_factory=list)  # one for each pod that was ever made
    calls: list[tuple[str, object]] = field(default_factory=list)  # (method, decision or pod), answered ones
    obeys_deadlines: bool = False  # whether lowering a running pod's deadline ends it at once
    fences_pods: bool = False  # whether an admission policy refuses the pods of an older epoch than the latest
    latest_epoch: int = 0
    _used_uids: set[Uid] = field(default_factory=set)
    _strangers: set[tuple[str, str]] = field(default_factory=set)
    _watchers: list[Watcher] = field(default_factory=list)
    _versions: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _uids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _answers: defaultdict[str, deque[Any]] = field(default_factory=lambda: defaultdict(deque))
    _events: deque[tuple[str, Any]] = field(default_factory=deque)
    _held: bool = False

    # ------------------------------------------------------------------ the test's side: watching
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

    # ------------------------------------------------------------------ the test's side: failures
    def answer_next(self, method: str, *answers: object) -> None:
        """The next calls of a method do nothing and get these answers; an exception is raised."""
        self._answers[method].extend(answers)

    def lose_next_answer(self, method: str, message: str = "connection reset") -> None:
        """The next call of a method is carried out, but answered `Unreachable`."""
        self._answers[method].append(_Lost(message))

    # ------------------------------------------------------------------ the test's side: users
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

    def occupy(self, namespace: str, name: str) -> None:
        """A pod of somebody else has this name."""
        self._strangers.add((namespace, name))

    # ------------------------------------------------------------------ the test's side: kubelet and scheduler
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
        return self._change_pod(pod, node=node)

    def start(self, pod: Pod, node: str = "node-1") -> Pod:
        """Its main container started."""
        started_at = _whole(self.now())
        containers = (ContainerRun("main", started_at, ended=False, main=True),)
        return self._change_pod(pod, node=node, phase=PodPhase.RUNNING, started_at=started_at, containers=containers)

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

    def succeed(self, pod: Pod) -> Pod:
        """All its containers exited with 0."""
        return self._change_pod(
            self._started(pod), phase=PodPhase.SUCCEEDED, exit_code=0, finished_at=_whole(self.now())
        )

    def fail(
        self, pod: Pod, exit_code: int | None = 1, failure: FailureClass = FailureClass.EXIT_CODE, message: str = ""
    ) -> Pod:
        """It failed."""
        return self._change_pod(
            self._started(pod),
            phase=PodPhase.FAILED,
            exit_code=exit_code,
            failure=failure,
            message=message or f'container "main" exited with code {exit_code}',
            finished_at=_whole(self.now()),
        )

    def evict(self, pod: Pod) -> Pod:
        """The node took its place away."""
        return self.fail(pod, None, FailureClass.EVICTED, "Evicted: The node was low on resource: memory.")

    def change_pod(self, pod: Pod, **fields: Any) -> Pod:
        """The pod is observed with other fields."""
        return self._change_pod(pod, **fields)

    def remove(self, pod: Pod) -> None:
        """It is gone: deleted by a third party, or the kubelet has ended what was being deleted."""
        last = self.pods.pop(pod.uid)
        self.files.tell()
        self._emit("forget_pod", replace(last, version=next(self._versions)))

    # ------------------------------------------------------------------ ports.KubePort
    async def launch(self, launch: Launch, epoch: int) -> Launched | Refused | Gone | Unreachable:
        return self._answer("launch", launch, lambda: self._launch(launch, epoch))

    async def set_status(
        self, decision: SetStatus, epoch: int
    ) -> Written | Stale | Deposed | Refused | Gone | Unreachable:
        return self._answer("set_status", decision, lambda: self._set_status(decision, epoch))

    async def end_pod(self, decision: EndPod) -> Done | Changed | Gone | Refused | Unreachable:
        return self._answer("end_pod", decision, lambda: self._end_pod(decision))

    async def remove_pod(self, decision: RemovePod) -> Done | Gone | Refused | Unreachable:
        return self._answer("remove_pod", decision, lambda: self._delete_pod(decision.pod))

    async def remove_job(self, decision: RemoveJob) -> Done | Gone | Stale | Refused | Unreachable:
        return self._answer("remove_job", decision, lambda: self._remove_job(decision.job))

    async def announce(self, notice: Notice) -> Done | Refused | Unreachable:
        return self._answer("announce", notice, lambda: self._announce(notice))

    async def set_queue_status(self, decision: SetQueueStatus) -> Done | Gone | Refused | Unreachable:
        return self._answer("set_queue_status", decision, lambda: self._set_queue_status(decision))

    async def open_log(
        self, pod: Pod, container: str, *, since: str | None, follow: bool
    ) -> LogStream | NoLog | Gone | Unreachable:
        return self._answer("open_log", pod, lambda: self._open_log(pod, container, since, follow))

    # ------------------------------------------------------------------ what they do
    def _answer(self, method: str, asked: object, act: Callable[[], _Answer]) -> _Answer:
        injected = self._answers[method].popleft() if self._answers[method] else None
        if isinstance(injected, BaseException):
            raise injected
        self.calls.append((method, asked))
        if injected is None:
            return act()
        if isinstance(injected, _Lost):
            act()
            return cast(_Answer, Unreachable(injected.message))
        return cast(_Answer, injected)

    def _launch(self, launch: Launch, epoch: int) -> Launched | Refused:
        job, name = launch.job, pod_name(launch.job.name, launch.attempt)
        if self.fences_pods and epoch < self.latest_epoch:
            return Refused(422, f"epoch {epoch} is over")
        for pod in self.pods.values():
            if (pod.namespace, pod.name) == (job.namespace, name):
                return Launched(pod) if pod.attempt == launch.attempt else Refused(409, f"pod {name} is not ours")
        if (job.namespace, name) in self._strangers:
            return Refused(409, f"pod {name} is not ours")
        made = Pod(
            uid=PodUid(f"pod-{next(self._uids)}"),
            name=name,
            namespace=job.namespace,
            version=next(self._versions),
            attempt=launch.attempt,
            queue=job.queue,
            request=job.request,
            phase=PodPhase.PENDING,
            created_at=_whole(self.now()),
            epoch=epoch,
            concurrency=job.concurrency,
            job_name=job.name,
            active_deadline_seconds=launch.active_deadline_seconds,
            grace_seconds=job.grace_seconds,
        )
        self.created.append(launch.attempt)
        self.pods[made.uid] = made
        self._emit("observe_pod", made)
        return Launched(made)

    def _set_status(self, decision: SetStatus, epoch: int) -> Written | Stale | Deposed | Refused | Gone:
        asked, status = decision.job, decision.status
        current = self.jobs.get(asked.uid)
        if current is None:
            same_name = any(job.key == asked.key for job in self.jobs.values())
            return Stale(None) if same_name else Gone()
        if current.status.epoch > epoch:
            return Deposed(f"epoch {current.status.epoch} has written here")
        if current.version != asked.version:
            return Stale(current)
        if (
            current.status.phase.terminal
            and current.status.phase is not status.phase
            and status.run <= current.status.run
        ):
            return Refused(422, "status.phase: the job has ended: its phase changes only with a greater run")
        return Written(self._put_job(replace(current, status=_as_stored(replace(status, epoch=epoch)))))

    def _end_pod(self, decision: EndPod) -> Done | Changed | Gone:
        if decision.by is EndBy.DELETE:
            current = self.pods.get(decision.pod.uid)
            if current is not None and current.version != decision.pod.version:
                return Changed(current)
            return self._delete_pod(decision.pod)
        pod = self.pods.get(decision.pod.uid)
        if pod is None:
            return Gone()
        if pod.active_deadline_seconds != 1:
            pod = self._change_pod(pod, active_deadline_seconds=1)
        if self.obeys_deadlines and not pod.phase.ended:
            done = Done(pod)
            self.fail(pod, 143, FailureClass.TIMEOUT, "Pod was active on the node longer than the specified deadline")
            return done
        return Done(pod)

    def _delete_pod(self, asked: Pod) -> Done | Gone:
        pod = self.pods.get(asked.uid)
        if pod is None:
            return Gone()
        if pod.node is None or pod.phase.ended:
            self.remove(pod)  # nobody has to end anything first
        elif not pod.deleting:
            self._change_pod(pod, deleting=True)
        return Done()

    def _remove_job(self, asked: Job) -> Done | Gone | Stale:
        current = self.jobs.get(asked.uid)
        if current is None:
            return Gone()
        if current.version != asked.version:
            return Stale(current)
        self.delete_job(current)
        return Done()

    def _announce(self, notice: Notice) -> Done:
        self.notices[notice.job.uid, notice.reason, notice.message] = notice
        return Done()

    def job_named(self, name: str) -> Job:
        """The TaskJob of that name."""
        return next(job for job in self.jobs.values() if job.name == name)

    def told_of(self, name: str) -> list[str]:
        """The Events on the TaskJobs of that name: reason and message."""
        return [f"{told.reason}: {told.message}" for told in self.notices.values() if told.job.name == name]

    def _set_queue_status(self, decision: SetQueueStatus) -> Done | Gone:
        if decision.queue.name not in self.queues:
            return Gone()
        self.queue_figures[decision.queue.name] = decision
        return Done()

    def _open_log(self, pod: Pod, container: str, since: str | None, follow: bool) -> LogStream | NoLog | Gone:
        found = self.pods.get(pod.uid)
        if found is None:
            return Gone()
        if all(run.name != container for run in found.containers):
            return NoLog(f'container "{container}" in pod "{pod.name}" is waiting to start: ContainerCreating')
        return FakeLogStream(self, pod.uid, container, since or "", follow=follow)

    # ------------------------------------------------------------------ the store
    def _put_job(self, job: Job) -> Job:
        stored = replace(job, version=next(self._versions))
        self.jobs[stored.uid] = stored
        self._emit("observe_job", stored)
        return stored

    def _change_pod(self, pod: Pod, **fields: Any) -> Pod:
        changed = replace(self.pods[pod.uid], version=next(self._versions), **fields)
        if changed.phase.ended:
            changed = replace(changed, containers=tuple(replace(run, ended=True) for run in changed.containers))
        self.pods[pod.uid] = changed
        self.files.tell()
        self._emit("observe_pod", changed)
        return changed

    def _started(self, pod: Pod) -> Pod:
        current = self.pods[pod.uid]
        return current if current.started_at is not None else self.start(current)

    def _emit(self, method: str, value: object) -> None:
        self._events.append((method, value))
        if not self._held:
            self.deliver_events()


@dataclass(frozen=True)
class _Lost:
    message: str


def _whole(instant: datetime) -> datetime:
    return instant.replace(microsecond=0)


def _as_stored(status: Status) -> Status:
    """Whole seconds, as the API server's instants have them; a pending job has no admission."""
    fields = ("queued_at", "admitted_at", "started_at", "finished_at", "not_before")
    stored: dict[str, Any] = {name: _whole(at) for name in fields if (at := getattr(status, name)) is not None}
    if not status.phase.active and not status.phase.terminal:
        stored["admitted_at"] = None
    return replace(status, **stored)
