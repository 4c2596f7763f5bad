"""Objects for tests, built by saying what matters: `a_job("train").in_queue("a").asking(cpu=2).build()`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from taskjob.core.decisions import Launch, SetStatus, Urgency
from taskjob.core.model import (
    Amounts,
    AttemptId,
    Concurrency,
    Dependency,
    Job,
    JobName,
    Namespace,
    Pod,
    PodTemplate,
    PodUid,
    Queue,
    QueueName,
    Retry,
    RetryRule,
    Status,
    Uid,
)
from taskjob.core.phases import (
    PRIORITIES,
    ConcurrencyScope,
    Condition,
    FailureClass,
    OnConflict,
    OnDependencyFailure,
    Phase,
    PodPhase,
    PodRetention,
    Reason,
)

NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
NAMESPACE = Namespace("team")


def at(seconds: float) -> datetime:
    """So many seconds after noon, when the world of the tests begins."""
    return NOON + timedelta(seconds=seconds)


def amounts(cpu: float = 0, memory: int = 0, pods: int = 1, **others: int) -> Amounts:
    """CPU in cores, memory in bytes."""
    named = {"cpu": round(cpu * 1000), "memory": memory, "pods": pods, **others}
    return tuple(sorted((name, amount) for name, amount in named.items() if amount))


@dataclass
class JobBuilder:
    name: str
    fields: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)

    def _with(self, **fields: Any) -> Self:
        return replace(self, fields={**self.fields, **fields})

    def with_uid(self, uid: str) -> Self:
        return self._with(uid=Uid(uid))

    def in_namespace(self, namespace: str) -> Self:
        return self._with(namespace=Namespace(namespace))

    def in_queue(self, queue: str) -> Self:
        return self._with(queue=QueueName(queue))

    def of_priority(self, priority: str | int) -> Self:
        return self._with(priority=PRIORITIES[priority] if isinstance(priority, str) else priority)

    def asking(self, cpu: float = 0, memory: int = 0, **others: int) -> Self:
        return self._with(request=amounts(cpu, memory, **others))

    def created(self, seconds: float) -> Self:
        return self._with(created_at=at(seconds))

    def after(self, *names: str, condition: Condition = Condition.SUCCEEDED) -> Self:
        added = tuple(Dependency(JobName(name), condition) for name in names)
        return self._with(depends_on=(*self.fields.get("depends_on", ()), *added))

    def on_dependency_failure(self, policy: OnDependencyFailure) -> Self:
        return self._with(on_dependency_failure=policy)

    def retrying(self, limit: int, **backoff: Any) -> Self:
        return self._with(retry=replace(Retry(limit=limit, jitter_percent=0), **backoff))

    def ruled(self, *rules: RetryRule) -> Self:
        return self._with(retry=replace(self.fields.get("retry", Retry()), rules=rules))

    def waiting_at_most(self, seconds: int) -> Self:
        return self._with(queue_timeout_seconds=seconds)

    def overlapping(self) -> Self:
        return self._with(retry=replace(self.fields.get("retry", Retry()), allow_overlap=True))

    def starting_within(self, seconds: int) -> Self:
        return self._with(start_timeout_seconds=seconds)

    def timing_out(self, attempt: int | None = None, job: int | None = None) -> Self:
        return self._with(timeout_seconds=attempt, deadline_seconds=job)

    def suspended(self, suspend: bool = True) -> Self:
        return self._with(suspend=suspend)

    def cancelled(self) -> Self:
        return self._with(cancel=True)

    def holding(
        self,
        key: str,
        limit: int = 1,
        on_conflict: OnConflict = OnConflict.QUEUE,
        scope: ConcurrencyScope = ConcurrencyScope.NAMESPACE,
    ) -> Self:
        return self._with(concurrency=Concurrency(key, limit, on_conflict, scope))

    def to_run_again(self, run: int) -> Self:
        return self._with(rerun=run)

    def kept_for(self, ttl: int, pods: PodRetention = PodRetention.DELETE) -> Self:
        return self._with(ttl_seconds=ttl, pod_retention=pods)

    def with_problem(self, problem: str) -> Self:
        return self._with(problem=problem)

    def at_version(self, version: int) -> Self:
        return self._with(version=version)

    def being(self, phase: Phase, **status: Any) -> Self:
        return replace(self, status={**self.status, "phase": phase, **status})

    def build(self) -> Job:
        fields: dict[str, Any] = {
            "uid": Uid(f"uid-{self.name}"),
            "namespace": NAMESPACE,
            "name": JobName(self.name),
            "version": 1,
            "generation": 1,
            "created_at": NOON,
            "queue": QueueName("default"),
            "priority": 0,
            "request": amounts(cpu=1),
            "template": PodTemplate(b"{}"),
            "status": Status(**self.status),
        }
        return Job(**{**fields, **self.fields})


def a_job(name: str) -> JobBuilder:
    return JobBuilder(name)


def a_queue(name: str = "default", quota: Mapping[str, float] | None = None, version: int = 1, **terms: Any) -> Queue:
    """A queue; `quota` in cores, bytes and pieces, none: unlimited. `terms` are fields of `Queue`."""
    return Queue(QueueName(name), version=version, generation=version, quota=limits(**(quota or {})), **terms)


def limits(**amounts: float) -> Amounts:
    """A quota or a limit, in cores, bytes and pieces; what is 0 is 0, not left out."""
    return tuple(sorted((key, round(value * 1000) if key == "cpu" else int(value)) for key, value in amounts.items()))


@dataclass
class PodBuilder:
    job: Job
    attempt: int = 1
    fields: dict[str, Any] = field(default_factory=dict)

    def _with(self, **fields: Any) -> Self:
        return replace(self, fields={**self.fields, **fields})

    def created(self, seconds: float) -> Self:
        return self._with(created_at=at(seconds))

    def on_node(self, node: str | None) -> Self:
        return self._with(node=node)

    def running(self, since: float = 1) -> Self:
        return self._with(phase=PodPhase.RUNNING, node="node", started_at=at(since))

    def succeeded(self, when: float = 2, since: float = 1) -> Self:
        return self.running(since)._with(phase=PodPhase.SUCCEEDED, finished_at=at(when), exit_code=0)

    def failed(
        self, code: int | None = 1, when: float = 2, since: float = 1, failure: FailureClass = FailureClass.EXIT_CODE
    ) -> Self:
        message = f'container "main" exited with code {code}' if code is not None else f"{failure}"
        return self.running(since)._with(
            phase=PodPhase.FAILED, finished_at=at(when), exit_code=code, failure=failure, message=message
        )

    def deleting(self) -> Self:
        return self._with(deleting=True)

    def at_version(self, version: int) -> Self:
        return self._with(version=version)

    def but(self, **fields: Any) -> Self:
        return self._with(**fields)

    def build(self) -> Pod:
        identity = AttemptId(self.job.uid, self.job.status.run, 0, self.attempt)
        fields: dict[str, Any] = {
            "uid": PodUid(f"pod-{self.job.uid}-{self.attempt}"),
            "name": f"{self.job.name}-{self.attempt}",
            "namespace": self.job.namespace,
            "version": 1,
            "attempt": identity,
            "queue": self.job.queue,
            "request": self.job.request,
            "phase": PodPhase.PENDING,
            "created_at": at(0.5).replace(microsecond=0),
            "job_name": self.job.name,
        }
        return Pod(**{**fields, **self.fields})


def a_pod(job: Job, attempt: int = 1) -> PodBuilder:
    return PodBuilder(job, attempt)


def launch_of(job: Job, attempt: int = 1, deadline: int | None = None) -> Launch:
    return Launch(job, AttemptId(job.uid, 0, 0, attempt), deadline)


def starting(job: Job, **status: Any) -> SetStatus:
    """The status that says that its first attempt was launched."""
    instants = {"queued_at": job.created_at, "admitted_at": job.created_at}
    terms = {"phase": Phase.STARTING, "reason": Reason.LAUNCHED, "attempt": 1, "transition": 1, **instants, **status}
    return SetStatus(job, Status(**terms), Urgency.PROGRESS)
