"""TaskQueue: a quota that TaskJobs share. Cluster-scoped, since quota is the administrator's."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from pydantic import Field, StrictInt, model_validator

from taskjob.resources.fields import (
    Amounts,
    CohortName,
    Conditions,
    ControllerName,
    Count,
    Generation,
    LabelsToHave,
    Metadata,
    ObservedPart,
    Part,
    PositiveSeconds,
    Seconds,
    raise_wrong,
    wrong_at,
)
from taskjob.resources.taskjob import Retry
from taskjob.resources.words import (
    API_VERSION,
    DEFAULT_CONTROLLER,
    SELECTOR_EXPRESSIONS_MAX,
    SELECTOR_VALUES_MAX,
    TASKQUEUE,
    ApiVersion,
    PodRetention,
    Preempt,
    SelectorOperator,
    StopPolicy,
    Strategy,
    TaskQueueKind,
)

ONE_QUOTA: Final = "say the quota in one way: 'quota' (amounts) or 'quotaFromNodes' (what the nodes give)"
VALUES: Final = "In and NotIn need 'values', Exists and DoesNotExist take none"
IN_A_COHORT: Final = "is between the queues of a cohort: name one in 'cohort'"


class Preemption(Part):
    """Whose attempts are evicted for a job that does not fit; they are queued again, not charged a retry."""

    within_queue: Preempt = Field(
        Preempt.NEVER,
        description="Of the queue's own: LowerPriority: those of a lower priority; Any: whoever stands behind the job "
        "in the order of admission, and what is beyond a quota that was lowered. Never one that stands before it.",
    )
    reclaim_within_cohort: Preempt = Field(
        Preempt.NEVER,
        description="Of what other queues of the cohort borrow, as far as the job stays within the queue's own quota: "
        "LowerPriority: those of a lower priority; Any: whatever their priority.",
    )
    min_runtime_seconds: Seconds = Field(
        60, description="No attempt of the queue is evicted for another job before it has run so long."
    )


class QuotaFromNodes(Part):
    """A quota that follows the nodes."""

    percent: Annotated[StrictInt, Field(ge=1, le=100)] = Field(
        100, description="So much of what the nodes can allocate; of each resource it is rounded up to a whole unit."
    )
    node_selector: LabelsToHave = Field(
        default_factory=dict,
        description="The labels of the nodes that count; none: all nodes. Nodes count while they are ready and not "
        "cordoned; those with a taint that keeps pods away count only where a label is given here.",
    )


class Requirement(Part):
    """One requirement of a label selector."""

    key: Annotated[str, Field(min_length=1, max_length=317)] = Field(description="The label's key.")
    operator: SelectorOperator = Field(
        description="In, NotIn (also where the label is absent), Exists or DoesNotExist."
    )
    values: (
        Annotated[
            list[Annotated[str, Field(max_length=63)]],
            Field(max_length=SELECTOR_VALUES_MAX, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
        ]
        | None
    ) = Field(None, description="What In and NotIn compare with.")

    @model_validator(mode="after")
    def _values_where_they_belong(self) -> Self:
        if bool(self.values) is not (self.operator in (SelectorOperator.IN, SelectorOperator.NOT_IN)):
            raise_wrong(self, [wrong_at(("values",), VALUES)])
        return self


class NamespaceSelector(Part):
    """Which namespaces, by their labels: those for which all holds that it says."""

    match_labels: LabelsToHave | None = Field(None, description="Labels that the namespace must have.")
    match_expressions: (
        Annotated[
            list[Requirement],
            Field(max_length=SELECTOR_EXPRESSIONS_MAX, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
        ]
        | None
    ) = Field(None, description="Further requirements.")


class Defaults(Part):
    """What counts for the jobs of the queue that do not say it; a field that a job says is its own as a whole."""

    retry: Retry | None = Field(None, description="What happens when an attempt fails.")
    timeout_seconds: PositiveSeconds | None = Field(
        None, description="How long one attempt may take. An attempt keeps the one that it was launched with."
    )
    queue_timeout_seconds: PositiveSeconds | None = Field(
        None, description="How long a job may wait in the queue; then it has failed."
    )
    start_timeout_seconds: PositiveSeconds | None = Field(
        None, description="How long a pod may hang before its container starts; absent: 600."
    )
    ttl_seconds_after_finished: Seconds | None = Field(
        None, description="How long a finished TaskJob stays in the cluster; absent: as the operator is set."
    )
    pod_retention: PodRetention | None = Field(
        None, description="Which ended pods stay until their TaskJob goes; absent: Delete."
    )


class TaskQueueSpec(Part):
    """What the jobs of the queue may use together."""

    controller_name: ControllerName = Field(
        DEFAULT_CONTROLLER,
        description="The installation of Taskjobs that serves the queue, where there are several; it cannot change.",
    )
    quota: Amounts = Field(
        default_factory=dict,
        description="By resource: what the pods of the queue may request together, such as "
        '{cpu: "20", memory: 64Gi, pods: 100, nvidia.com/gpu: 4}. A resource that is not named is not limited.',
    )
    quota_from_nodes: QuotaFromNodes | None = Field(
        None,
        description="Instead of 'quota': a share of what the ready, schedulable nodes can allocate, less what pods "
        "that are not of TaskJobs request there. The operator needs the right to watch all nodes and pods.",
    )
    cohort: CohortName | None = Field(
        None, description="Queues that name the same cohort lend each other what they do not use of their quotas."
    )
    borrowing_limit: Amounts | None = Field(
        None,
        description="By resource: at most so much is borrowed from the cohort; a resource that is not named: as much "
        "as others lend. Only with 'cohort'.",
    )
    lending_limit: Amounts | None = Field(
        None,
        description="By resource: at most so much of the quota is lent to the cohort, the rest is kept; a resource "
        "that is not named: all of it. Only with 'cohort'.",
    )
    weight: Annotated[StrictInt, Field(ge=1, le=1_000_000)] = Field(
        1, description="Its share, against the other queues of the cohort that borrow, of what is lent."
    )
    strategy: Strategy = Field(
        Strategy.BEST_EFFORT_FIFO,
        description="What becomes of those behind a job that does not fit. StrictFIFO: they wait. BestEffortFIFO: what "
        "fits goes before it, until it has waited for reserveAfterSeconds.",
    )
    reserve_after_seconds: Seconds = Field(
        60,
        description="When the first job has not fit for so long, what it needs is kept for it: nothing is started in "
        "its place any more.",
    )
    aging_seconds: Seconds = Field(
        0, description="A waiting job rises by one level of priority each so many seconds; 0: never."
    )
    max_running: Count = Field(0, description="How many jobs of the queue may have a pod at once; 0: no limit.")
    max_starts_per_second: Count = Field(
        0, description="How many jobs of the queue may start within a second; 0: no limit."
    )
    preemption: Preemption = Field(
        default_factory=Preemption,
        description="Whose attempts are evicted for a job of the queue that does not fit. Nobody's, unless it says so.",
    )
    stop_policy: StopPolicy = Field(
        StopPolicy.NONE,
        description="Hold: nothing more starts in the queue, what runs goes on. HoldAndDrain: what runs is ended with "
        "grace as well, and queued again, not charged a retry. None: neither.",
    )

    namespace_selector: NamespaceSelector | None = Field(
        None,
        description="Whose jobs the queue takes: those of namespaces with such labels; absent or empty: of all. What "
        "runs goes on when a namespace loses its label. The operator needs the right to watch namespaces.",
    )
    defaults: Defaults | None = Field(
        None, description="What counts for the jobs of the queue that do not say it themselves."
    )

    @model_validator(mode="after")
    def _as_the_api_server_has_it(self) -> Self:
        """One quota at most (with none, nothing is limited), and limits of a cohort only within one."""
        wrong = []
        if self.quota and self.quota_from_nodes is not None:
            wrong.append(wrong_at(("quotaFromNodes",), ONE_QUOTA))
        if self.cohort is None:
            limits = {"borrowingLimit": self.borrowing_limit, "lendingLimit": self.lending_limit}
            wrong.extend(wrong_at((name,), IN_A_COHORT) for name, limit in limits.items() if limit is not None)
        raise_wrong(self, wrong)
        return self


class TaskQueueStatus(ObservedPart):
    """What the operator last observed; brought up to date every few seconds."""

    pending: Count | None = Field(None, description="How many jobs wait in the queue.")
    admitted: Count | None = Field(None, description="How many jobs of the queue have a pod.")
    quota: Amounts | None = Field(None, description="By resource: the quota that counts now.")
    usage: Amounts | None = Field(None, description="By resource: what those pods request together.")
    borrowed: Amounts | None = Field(None, description="By resource: what of it is borrowed from the cohort.")
    conditions: Conditions | None = Field(
        None,
        description="Active: whether the queue admits, and why not. OverQuota: whether more is in use than may be, "
        "after the quota fell.",
    )
    observed_generation: Generation | None = Field(
        None, description="The metadata.generation that this was observed from."
    )


class TaskQueue(Part):
    """A queue of TaskJobs and the quota that they share; TaskJobs of any namespace name it."""

    api_version: ApiVersion = Field(API_VERSION, description="taskjobs.dev/v1beta1")
    kind: TaskQueueKind = Field(TASKQUEUE, description="TaskQueue")
    metadata: Metadata = Field(description="Standard object metadata.")
    spec: TaskQueueSpec = Field(description="What the jobs of the queue may use together.")
    status: TaskQueueStatus | None = Field(
        None, description="What the operator last observed; written by the operator alone."
    )

    def manifest(self) -> dict[str, Any]:
        """The object as JSON for the API server: only what was said."""
        said = self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True, exclude={"status"})
        return {"apiVersion": self.api_version, "kind": self.kind, **said}
