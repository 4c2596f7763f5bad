"""A cluster in memory: the fake of `ports.KubePort`, held to the real adapter's suite (contracts/test_kube_port.py).

    kube = FakeKube(now=clock.now)
    kube.tell(mirror)                            # watch events: observe_job, forget_job, observe_pod, ...
    job = kube.create_job(a_job("train").build())
    pod = kube.pod_of("train")                   # after the operator launched it
    kube.start(pod); kube.succeed(pod)           # what a kubelet would do; kube.fail(pod, 3), kube.evict(pod)
    kube.answer_next("launch", Unreachable("reset"))                # nothing is done, this is the answer
    kube.lose_next_answer("set_status")                             # it is done, and nobody hears of it
    kube.hold_events(); ...; kube.deliver_events()                  # a slow watch

The objects, and what users and kubelets do to them, are those of `fakes_cluster`.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

from fakes_cluster import FakeCluster, whole
from fakes_logs import FakeLogStream
from taskjob.core.decisions import EndBy, EndPod, Launch, RemoveJob, RemovePod, SetQueueStatus, SetStatus
from taskjob.core.model import AttemptId, Job, Pod, PodUid, QueueName, Status, Uid
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


@dataclass
class FakeKube(FakeCluster):
    """What the operator asks of an API server, carried out on the objects of a `FakeCluster`."""

    queue_figures: dict[QueueName, SetQueueStatus] = field(default_factory=dict)
    notices: dict[tuple[Uid, str, str], Notice] = field(default_factory=dict)  # by uid, reason and message
    created: list[AttemptId] = field(default_factory=list)  # one for each pod that was ever made
    calls: list[tuple[str, object]] = field(default_factory=list)  # (method, decision or pod), answered ones
    obeys_deadlines: bool = False  # whether lowering a running pod's deadline ends it at once
    fences_pods: bool = False  # whether an admission policy refuses the pods of an older epoch than the latest
    latest_epoch: int = 0
    silent_nodes: set[str] = field(default_factory=set)  # whose kubelets serve no log
    _strangers: set[tuple[str, str]] = field(default_factory=set)
    _answers: defaultdict[str, deque[Any]] = field(default_factory=lambda: defaultdict(deque))

    def told_of(self, name: str) -> list[str]:
        """The Events on the TaskJobs of that name: reason and message."""
        return [f"{told.reason}: {told.message}" for told in self.notices.values() if told.job.name == name]

    # ------------------------------------------------------------------ the test's side: failures
    def answer_next(self, method: str, *answers: object) -> None:
        """The next calls of a method do nothing and get these answers; an exception is raised."""
        self._answers[method].extend(answers)

    def lose_next_answer(self, method: str, message: str = "connection reset") -> None:
        """The next call of a method is carried out, but answered `Unreachable`."""
        self._answers[method].append(_Lost(message))

    def occupy(self, namespace: str, name: str) -> None:
        """A pod of somebody else has this name."""
        self._strangers.add((namespace, name))

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
        if pod.node in self.silent_nodes:
            self.calls.append(("open_log", pod))
            return Unreachable("remote error: tls: internal error")
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
            created_at=whole(self.now()),
            epoch=epoch,
            concurrency=job.concurrency,
            job_name=job.name,
            active_deadline_seconds=launch.active_deadline_seconds,
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
            pod = self.change_pod(pod, active_deadline_seconds=1)
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
            self.change_pod(pod, deleting=True)
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


@dataclass(frozen=True)
class _Lost:
    message: str


def _as_stored(status: Status) -> Status:
    """Whole seconds, as the API server's instants have them; a pending job has no admission."""
    fields = ("queued_at", "admitted_at", "started_at", "finished_at", "not_before")
    stored: dict[str, Any] = {name: whole(at) for name in fields if (at := getattr(status, name)) is not None}
    if not status.phase.active and not status.phase.terminal:
        stored["admitted_at"] = None
    return replace(status, **stored)
