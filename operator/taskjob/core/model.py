"""What the core knows of a job, a pod and a queue: frozen values, as last observed in the cluster.

Made by `taskjob.kube.schema` (TaskJobs, TaskQueues) and `taskjob.kube.pods` (pods), kept by `state.State`.
Instants are aware UTC datetimes, durations end in `_seconds`, amounts are integers (see `amounts`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple, NewType

from taskjob.core.phases import (
    ConcurrencyScope,
    Condition,
    FailureClass,
    OnConflict,
    OnDependencyFailure,
    Phase,
    PodPhase,
    PodRetention,
    Preempt,
    Reason,
    RetryAction,
    SelectorOperator,
    Stopping,
    StopPolicy,
    Strategy,
)
from taskjob.core.values import value

Uid = NewType("Uid", str)
PodUid = NewType("PodUid", str)
Namespace = NewType("Namespace", str)
JobName = NewType("JobName", str)
QueueName = NewType("QueueName", str)
CohortName = NewType("CohortName", str)

DEFAULT_CONTROLLER: Final = "default"
"""The installation that serves the queues which name none, and tells of those that do not exist."""

Amounts = tuple[tuple[str, int], ...]
"""Resource amounts as pairs sorted by resource name: milli-CPU for `cpu`, otherwise bytes or whole units."""

Labels = tuple[tuple[str, str], ...]
"""Labels as pairs sorted by key."""

PodTemplate = NewType("PodTemplate", bytes)
"""The pod template as compact JSON, `{"metadata": ..., "spec": ...}`; the core carries it and never looks in."""


class JobKey(NamedTuple):
    """A TaskJob by name: what dependencies refer to."""

    namespace: Namespace
    name: JobName


class AttemptId(NamedTuple):
    """The identity of one attempt, and so of one pod: `run` grows with a rerun, `attempt` counts from 1."""

    uid: Uid
    run: int
    member: int  # of an array; 0 for a job that is none
    attempt: int


@value
@dataclass(frozen=True, slots=True)
class Dependency:
    """One edge: the job waits until the job of that name, in its namespace, satisfies the condition."""

    name: JobName
    condition: Condition = Condition.SUCCEEDED


@value
@dataclass(frozen=True, slots=True)
class RetryRule:
    """What follows a failure that this rule matches: by all that it names of class, exit code and container.

    Exit codes are those of class `ExitCode`, unless `classes` names others: an OOM kill's 137 is no program's word.
    """

    action: RetryAction
    classes: tuple[FailureClass, ...] = ()
    exit_codes: tuple[int, ...] | None = None
    exit_codes_excluded: bool = False  # matches the codes that are not listed
    container: str | None = None  # the one that failed


@value
@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how soon a failed attempt is followed by another; `limit` counts retries, not attempts."""

    limit: int = 0
    initial_seconds: int = 10
    factor: int = 2
    max_seconds: int = 600
    jitter_percent: int = 10
    rules: tuple[RetryRule, ...] = ()  # the first that matches decides
    allow_overlap: bool = False  # the next attempt may start while a lost node may still run the last one


NO_RETRY: Final = Retry()


@value
@dataclass(frozen=True, slots=True)
class Defaults:
    """What a TaskQueue says for jobs that do not say it; None: nothing. See `defaults.settled`."""

    retry: Retry | None = None
    timeout_seconds: int | None = None
    queue_timeout_seconds: int | None = None
    start_timeout_seconds: int | None = None
    ttl_seconds: int | None = None
    pod_retention: PodRetention | None = None


@value
@dataclass(frozen=True, slots=True)
class Concurrency:
    """At most `limit` attempts at a time under that key, of a namespace or of a queue."""

    key: str
    limit: int = 1
    on_conflict: OnConflict = OnConflict.QUEUE
    scope: ConcurrencyScope = ConcurrencyScope.NAMESPACE


class KeyId(NamedTuple):
    """A concurrency key: `of` is the namespace or the queue that it belongs to."""

    scope: ConcurrencyScope
    of: str
    name: str


@value
@dataclass(frozen=True, slots=True)
class Hold:
    """What an attempt holds: the key and limit that it was created with, and whose it is."""

    key: KeyId
    limit: int
    job: JobName


@value
@dataclass(frozen=True, slots=True)
class Status:
    """`status` of a TaskJob, as observed or as it should become. `epoch` is stamped by the writer."""

    phase: Phase = Phase.PENDING
    reason: Reason = Reason.QUEUED
    message: str = ""
    run: int = 0
    run_at: datetime | None = None  # when this run was begun by spec.rerun; None: the first, which counts from creation
    previous_phase: Phase | None = None  # how the run before ended
    attempt: int = 0  # the current or last attempt of this run, 0 before the first
    retries: int = 0  # charged retries of this run
    transition: int = 0  # how many transitions so far
    epoch: int = 0
    stopping: Stopping | None = None
    queued_at: datetime | None = None  # when it last became Pending
    admitted_at: datetime | None = None  # when the current attempt was admitted; kept as a condition
    started_at: datetime | None = None  # when the container of the current or last attempt started
    finished_at: datetime | None = None  # when it became terminal
    not_before: datetime | None = None  # backing off until
    pod_name: str | None = None
    node_name: str | None = None
    exit_code: int | None = None
    observed_generation: int = 0


@value
@dataclass(frozen=True, slots=True)
class Job:
    """A TaskJob as last observed. `problem` says in a sentence why it cannot be used, if it cannot.

    The fields of `Defaults` are None where the TaskJob says nothing: its queue may.
    """

    uid: Uid
    namespace: Namespace
    name: JobName
    version: int  # resourceVersion; comparable
    generation: int
    created_at: datetime
    queue: QueueName
    priority: int
    request: Amounts  # the pod's effective request, `pods: 1` included
    template: PodTemplate
    labels: Labels = ()
    depends_on: tuple[Dependency, ...] = ()
    on_dependency_failure: OnDependencyFailure = OnDependencyFailure.SKIP
    retry: Retry | None = None
    concurrency: Concurrency | None = None
    timeout_seconds: int | None = None
    deadline_seconds: int | None = None
    queue_timeout_seconds: int | None = None  # how long it may wait in its queue
    start_timeout_seconds: int | None = None  # how long its pod may hang before its start; None: `deadlines` says
    suspend: bool = False
    cancel: bool = False
    rerun: int = 0  # the run that is wanted: begun when a lesser one has ended
    ttl_seconds: int | None = None  # None: the installation's default
    pod_retention: PodRetention | None = None  # None: ended pods are deleted
    deleting: bool = False  # has a deletionTimestamp
    problem: str | None = None
    status: Status = field(default_factory=Status)
    by_queue: tuple[str, ...] = ()  # which of the fields are its queue's word; by `defaults.settled` alone

    @property
    def retrying(self) -> Retry:
        """What follows its failures: nothing, where nobody says it."""
        return self.retry if self.retry is not None else NO_RETRY

    @property
    def key(self) -> JobKey:
        """Its name as dependents know it."""
        return JobKey(self.namespace, self.name)

    @property
    def since(self) -> datetime:
        """When this run was asked for: its place in the queue and its deadline count from it."""
        return self.status.run_at or self.created_at

    @property
    def wants_rerun(self) -> bool:
        """Whether a later run than the one of the status is wanted."""
        return self.rerun > self.status.run and not self.deleting

    @property
    def outcome(self) -> Phase | None:
        """The terminal phase that dependents see; None while there is more to come, a rerun that is asked for too."""
        return self.status.phase if self.status.phase.terminal and not self.wants_rerun else None


@value
@dataclass(frozen=True, slots=True)
class ContainerRun:
    """One container of a pod that has started, init containers and sidecars included."""

    name: str
    started_at: datetime | None  # None: it ended, and nobody can say when it started
    ended: bool
    main: bool = False  # the one whose exit code is the attempt's


@value
@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of ours as last observed: what its labels say it is, and what became of it."""

    uid: PodUid
    name: str
    namespace: Namespace
    version: int
    attempt: AttemptId
    queue: QueueName  # by its label, so that it stays charged when its TaskJob is gone
    request: Amounts  # of the pod as created: admission may have changed it
    phase: PodPhase
    created_at: datetime
    epoch: int = 0
    concurrency: Concurrency | None = None  # the key that it holds until it ends, by its annotation
    job_name: JobName = JobName("")  # by its label; for messages about pods whose TaskJob is gone
    node: str | None = None
    started_at: datetime | None = None  # the main container's start
    finished_at: datetime | None = None
    exit_code: int | None = None
    failure: FailureClass | None = None  # set if and only if the phase is FAILED; in history: as it was judged
    container: str = ""  # the one that failed
    trouble: FailureClass | None = None  # of a pod that has not ended: why it does not start, or what is to end it
    message: str = ""  # why it failed, or does not start; for people
    deleting: bool = False
    gone_by: datetime | None = None  # of one that is being deleted: when its grace period ends
    active_deadline_seconds: int | None = None
    grace_seconds: int = 30  # its terminationGracePeriodSeconds
    containers: tuple[ContainerRun, ...] = ()  # those that have started, init containers first

    @property
    def unplaced(self) -> bool:
        """It waits for a node. (Of one that cannot be read nobody knows the node; it counts as running.)"""
        return self.node is None and self.phase is PodPhase.PENDING


@value
@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement of a label selector; `values` is empty where the operator takes none."""

    key: str
    operator: SelectorOperator
    values: tuple[str, ...] = ()


Selector = tuple[Requirement, ...]
"""A label selector: all requirements must hold, so that none matches everything. See `selectors.matches`."""


@value
@dataclass(frozen=True, slots=True)
class QuotaFromNodes:
    """A quota that follows the nodes: so much of what those with these labels can allocate to us."""

    percent: int
    node_selector: Labels = ()


class ObservedCondition(NamedTuple):
    """A condition of a TaskQueue's status as last written: whether it holds, and since when."""

    type: str
    holds: bool
    since: datetime


@value
@dataclass(frozen=True, slots=True)
class Queue:
    """A TaskQueue. A resource that `quota` does not name is not limited.

    Limits of 0 and None mean: none. `quota` is what the spec says; what counts is the ledger's, which follows the nodes
    where `quota_from_nodes` says so (`queues.Queues.follow_nodes`).
    """

    name: QueueName
    version: int = 0
    generation: int = 0
    quota: Amounts = ()
    quota_from_nodes: QuotaFromNodes | None = None
    cohort: CohortName | None = None  # queues of one cohort lend each other what is idle of their quotas
    borrowing_limit: Amounts | None = None  # at most so much beyond the quota; a resource not named: no limit
    lending_limit: Amounts | None = None  # at most so much of the quota to others; a resource not named: no limit
    weight: int = 1  # its share among the borrowers of its cohort; at least 1
    strategy: Strategy = Strategy.BEST_EFFORT_FIFO
    reserve_after_seconds: int = 60
    preemption_within_queue: Preempt = Preempt.NEVER
    preemption_reclaim: Preempt = Preempt.NEVER  # of its quota, from the borrowers of its cohort
    min_runtime_seconds: int = 60  # who has run shorter is no victim
    aging_seconds: int = 0  # one level of priority for so much waiting
    max_running: int = 0
    max_starts_per_second: int = 0
    stop_policy: StopPolicy = StopPolicy.NONE
    namespace_selector: Selector = ()
    defaults: Defaults | None = None  # for jobs that do not say it
    controller: str = DEFAULT_CONTROLLER  # the installation that serves it
    problem: str | None = None  # why its spec cannot be used; its jobs wait
    # of its status; what was written there changes nothing about the queue
    conditions: tuple[ObservedCondition, ...] = field(default=(), compare=False)


@value
@dataclass(frozen=True, slots=True)
class Transition:
    """One row of history: the `n`-th transition of a job.

    (uid, run, member, attempt, from_phase, to_phase, n) is its key: told twice it changes nothing. `from_phase`
    is None for the first, when the TaskJob appeared. `pod` is the attempt's pod as known then, if there is one.
    """

    attempt: AttemptId
    from_phase: Phase | None
    to_phase: Phase
    n: int
    at: datetime
    reason: Reason
    message: str = ""
    pod: Pod | None = None


@value
@dataclass(frozen=True, slots=True)
class Entry:
    """What history is told of a job: the job as it now stands and what newly happened, oldest first.

    `gone_at` is set once the TaskJob has left the cluster. An entry without transitions refreshes the job's row
    (reason and message of a waiting job).
    """

    job: Job
    transitions: tuple[Transition, ...] = ()
    gone_at: datetime | None = None
