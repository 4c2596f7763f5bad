"""TaskQueue: a quota that TaskJobs share. Cluster-scoped, since quota is the administrator's."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from pydantic import Field, StrictInt, model_validator

from taskjob.resources.fields import (
    Amounts,
    Conditions,
    ControllerName,
    Count,
    Generation,
    Metadata,
    NodeLabels,
    ObservedPart,
    Part,
    Seconds,
    raise_wrong,
    wrong_at,
)
from taskjob.resources.words import (
    API_VERSION,
    DEFAULT_CONTROLLER,
    TASKQUEUE,
    ApiVersion,
    Preempt,
    StopPolicy,
    TaskQueueKind,
)

ONE_QUOTA: Final = "say the quota in one way: 'quota' (amounts) or 'quotaFromNodes' (what the nodes give)"


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
    node_selector: NodeLabels = Field(
        default_factory=dict,
        description="The labels of the nodes that count; none: all nodes. Nodes count while they are ready and not "
        "cordoned; those with a taint that keeps pods away count only where a label is given here.",
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
    preemption: Preemption = Field(
        default_factory=Preemption,
        description="Whose attempts are evicted for a job of the queue that does not fit. Nobody's, unless it says so.",
    )
    stop_policy: StopPolicy = Field(
        StopPolicy.NONE,
        description="Hold: nothing more starts in the queue, what runs goes on. HoldAndDrain: what runs is ended with "
        "grace as well, and queued again, not charged a retry. None: neither.",
    )
    quota_from_nodes: QuotaFromNodes | None = Field(
        None,
        description="Instead of 'quota': a share of what the ready, schedulable nodes can allocate, less what pods "
        "that are not of TaskJobs request there. The operator needs the right to watch all nodes and pods.",
    )

    @model_validator(mode="after")
    def _one_quota(self) -> Self:
        """As the API server has it. With neither, nothing is limited."""
        if self.quota and self.quota_from_nodes is not None:
            raise_wrong(self, [wrong_at(("quotaFromNodes",), ONE_QUOTA)])
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
