"""TaskQueue: a quota that TaskJobs share. Cluster-scoped, since quota is the administrator's."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from taskjob.resources.fields import (
    Amounts,
    Conditions,
    ControllerName,
    Count,
    Generation,
    Metadata,
    ObservedPart,
    Part,
    Seconds,
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


class TaskQueueStatus(ObservedPart):
    """What the operator last observed; brought up to date every few seconds."""

    pending: Count | None = Field(None, description="How many jobs wait in the queue.")
    admitted: Count | None = Field(None, description="How many jobs of the queue have a pod.")
    usage: Amounts | None = Field(None, description="By resource: what those pods request together.")
    conditions: Conditions | None = Field(None, description="Observations of the queue.")
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
