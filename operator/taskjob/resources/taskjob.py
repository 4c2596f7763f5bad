"""TaskJob: one containerized job. The single source of its CRD and of the API's request bodies."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from pydantic import Field, StrictInt, model_validator
from pydantic_core import InitErrorDetails

from taskjob.resources.fields import (
    Amounts,
    Conditions,
    Count,
    ExitCode,
    Generation,
    Instant,
    JobName,
    Message,
    Metadata,
    ObservedPart,
    Part,
    PositiveSeconds,
    PriorityOrNumber,
    QueueName,
    Reason,
    Seconds,
    Switch,
    raise_wrong,
    wrong_at,
)
from taskjob.resources.words import (
    API_VERSION,
    DEPENDENCIES_MAX,
    EXIT_CODES_MAX,
    INT32_MAX,
    KEY_NAME,
    NAME_MAX,
    RETRIES_MAX,
    RETRY_RULES_MAX,
    TASKJOB,
    ApiVersion,
    ConcurrencyScope,
    DependencyCondition,
    FailureClass,
    OnConflict,
    OnDependencyFailure,
    Phase,
    PodRetention,
    Priority,
    RetryAction,
    Stopping,
    TaskJobKind,
)

ONE_POD: Final = "say what to run in exactly one way: 'template' (a pod template) or 'image' (the short form)"
NOT_BESIDE_TEMPLATE: Final = "belongs to the short form, beside 'image'; with 'template' it stands in a container there"
RESTART_NEVER: Final = "must be Never: a new attempt is a new pod, see 'retry'"
EITHER_IN_OR_NOT_IN: Final = "say either 'in' or 'notIn'"
NOT_ITSELF: Final = "a job cannot depend on itself"
NAME_LENGTH: Final = f"a TaskJob's name has at most {NAME_MAX} characters"

_WORD_MAX = 131_072  # the longest single argument that Linux passes to a program


class Dependency(Part):
    """A TaskJob of the same namespace that this one waits for."""

    name: JobName = Field(description="The TaskJob's name; it may not exist yet.")
    # No default in the schema, as inside no list: the API server would write it into the stored list, which then
    # differs from the manifest, and every `kubectl apply` would patch again and say "configured".
    condition: DependencyCondition = Field(
        default_factory=lambda: DependencyCondition.SUCCEEDED,
        description="What it must come to: Succeeded (also when nothing is said), Failed, or Finished in whatever way.",
    )


class EnvVar(Part):
    """One environment variable, as in a container."""

    name: Annotated[str, Field(min_length=1, max_length=1024)] = Field(description="The variable's name.")
    value: Annotated[str, Field(max_length=_WORD_MAX)] | None = Field(
        None, description="Its value; $(NAME) refers to an earlier variable."
    )
    value_from: dict[str, Any] | None = Field(
        None, description="Where its value comes from: a Secret, a ConfigMap, a field of the pod; as in a container."
    )


class Resources(Part):
    """What the container asks for and may use, as in a container."""

    requests: Amounts | None = Field(
        None, description="What the queue is charged and a node must have free, such as {cpu: 500m, memory: 64Mi}."
    )
    limits: Amounts | None = Field(None, description="What the container may use at most.")


_Words = Annotated[
    list[Annotated[str, Field(max_length=_WORD_MAX)]],
    Field(max_length=1000, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
]
_Env = Annotated[
    list[EnvVar],
    Field(
        max_length=1000,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    ),
]


class Backoff(Part):
    """How long to wait before a retry: the first delay, multiplied each time, up to the longest."""

    initial_seconds: Seconds = Field(10, description="The delay before the first retry.")
    factor: Annotated[StrictInt, Field(ge=1, le=100)] = Field(2, description="Each delay is the last one times this.")
    max_seconds: Seconds = Field(600, description="No delay is longer than this, jitter apart.")
    jitter_percent: Annotated[StrictInt, Field(ge=0, le=100)] = Field(
        10, description="Each delay grows at random by up to this share, so that retries do not come all at once."
    )


_ATOMIC: Final = {"x-kubernetes-list-type": "atomic"}
_Codes = Annotated[
    list[Annotated[StrictInt, Field(ge=1, le=INT32_MAX)]],
    Field(min_length=1, max_length=EXIT_CODES_MAX, json_schema_extra=_ATOMIC),
]


class ExitCodes(Part):
    """Exit codes by which a rule matches: those listed, or all others."""

    in_: _Codes | None = Field(None, alias="in", description="It matches these exit codes.")
    not_in: _Codes | None = Field(None, description="It matches all exit codes but these.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.in_ is None) == (self.not_in is None):
            raise_wrong(self, [wrong_at((), EITHER_IN_OR_NOT_IN)])
        return self


class RetryRule(Part):
    """What follows a failure of a certain kind. It matches by all that it names; one that names nothing matches all."""

    action: RetryAction = Field(
        description="Retry (charged to the limit), RetryFree (not charged), Fail (no other attempt) or Succeed (the "
        "job counts as done)."
    )
    classes: (
        Annotated[
            list[FailureClass],
            Field(min_length=1, max_length=len(FailureClass), json_schema_extra=_ATOMIC),
        ]
        | None
    ) = Field(None, description="The classes of failure that it matches.")
    exit_codes: ExitCodes | None = Field(
        None,
        description="The exit codes that it matches: of class ExitCode, unless 'classes' names others (an OOM kill is "
        "not ExitCode 137).",
    )
    container: Annotated[str, Field(min_length=1, max_length=63)] | None = Field(
        None, description="The container whose failure it matches, init containers included."
    )


class Retry(Part):
    """What happens when an attempt fails."""

    limit: Annotated[StrictInt, Field(ge=0, le=RETRIES_MAX)] = Field(
        0, description="How many times a failed attempt is followed by another; 0: never."
    )
    backoff: Backoff = Field(default_factory=Backoff, description="How long to wait before each retry.")
    rules: Annotated[list[RetryRule], Field(max_length=RETRY_RULES_MAX, json_schema_extra=_ATOMIC)] | None = Field(
        None,
        description="What follows which failure; the first rule that matches decides. Without one, a fault of the "
        "cluster (Evicted, NodeLost, PodDeleted, Preempted, Unschedulable) is RetryFree, any other failure Retry.",
    )
    allow_overlap: Switch | None = Field(
        None,
        description="When a node is lost, start the next attempt although the last may still run there; absent or "
        "false: wait until its pod is gone.",
    )


class Concurrency(Part):
    """How many attempts may run at a time under one key: 1 is mutual exclusion, more is a semaphore."""

    key: Annotated[str, Field(min_length=1, max_length=63, pattern=KEY_NAME)] = Field(
        description="The key's name; jobs that name the same one exclude each other."
    )
    limit: Annotated[StrictInt, Field(ge=1, le=INT32_MAX)] = Field(
        1, description="How many may hold the key at a time; where jobs of one key differ, the least of them counts."
    )
    on_conflict: OnConflict = Field(
        OnConflict.QUEUE,
        description="When the key is full: Queue, wait for it; Reject, end as Skipped.",
    )
    scope: ConcurrencyScope = Field(
        ConcurrencyScope.NAMESPACE,
        description="Whose key it is: the Namespace's own, or shared by all who use the Queue.",
    )


class TaskJobSpec(Part):
    """What to run, when, and what to do if it fails."""

    queue: QueueName = Field("default", description="The TaskQueue whose quota the job is charged to.")
    priority: PriorityOrNumber = Field(
        Priority.NORMAL,
        description="Which jobs of the queue start first: Critical (1000), High (100), Normal (0), Low (-100), or a "
        "whole number on the same scale.",
    )
    depends_on: Annotated[
        list[Dependency],
        Field(
            max_length=DEPENDENCIES_MAX,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = Field(
        default_factory=list, description="TaskJobs of the same namespace that must end first; each is named once."
    )
    on_dependency_failure: OnDependencyFailure = Field(
        OnDependencyFailure.SKIP,
        description="When a dependency can no longer be satisfied: Skip the job, Fail it, or Wait.",
    )
    template: dict[str, Any] | None = Field(
        None,
        description="The pod to run, as a pod template (labels, annotations and a pod's spec). Give this, or 'image'.",
    )
    image: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        None, description="Short form, instead of 'template': the image of the pod's only container."
    )
    command: _Words | None = Field(None, description="Short form: the program, instead of the image's entrypoint.")
    args: _Words | None = Field(None, description="Short form: the program's arguments.")
    env: _Env | None = Field(None, description="Short form: environment variables.")
    resources: Resources | None = Field(None, description="Short form: what the container asks for and may use.")
    concurrency: Concurrency | None = Field(
        None, description="A key that only so many jobs hold at a time, from their admission until their pod has ended."
    )
    retry: Retry = Field(
        default_factory=Retry, description="What happens when an attempt fails; absent: what the queue says."
    )
    timeout_seconds: PositiveSeconds | None = Field(
        None,
        description="How long one attempt may take, the pulling of its image included; a longer one is stopped and "
        "counts as failed. Absent: as the queue says, else without end.",
    )
    deadline_seconds: PositiveSeconds | None = Field(
        None, description="How long the whole job may take from its creation, waiting and retries included."
    )
    queue_timeout_seconds: PositiveSeconds | None = Field(
        None,
        description="How long the job may wait in its queue; then it has failed. It counts from when nothing else "
        "held it back: from its creation, the end of its last dependency, of an attempt before and of the backoff "
        "after it, or of its suspension. "
        "Absent: as the queue says, else without end.",
    )
    start_timeout_seconds: PositiveSeconds | None = Field(
        None,
        description="How long a pod may hang before its container starts, for want of a node, of its image or of what "
        "it mounts; then it is ended and gives its quota back: a failure of class Unschedulable, ImagePull or "
        "StartError. Absent: as the queue says, else 600.",
    )
    suspend: Switch = Field(
        False, description="Hold the job: it does not start, and a running attempt is stopped; false lets it go on."
    )
    cancel: Switch = Field(
        False, description="End the job as Cancelled. It cannot be taken back, but for a rerun in the same change."
    )
    rerun: Count = Field(
        0,
        description="The run that is wanted: raising it starts the finished job again, or once more when it ends; it "
        "never falls.",
    )
    ttl_seconds_after_finished: Seconds | None = Field(
        None,
        description="How long the finished object stays in the cluster; absent: as the queue says, else as the "
        "operator is set, by default an hour. Its history stays.",
    )
    pod_retention: PodRetention | None = Field(
        None,
        description="Which ended pods stay until the object goes: none (Delete), failed ones (KeepFailed), all (Keep); "
        "absent: as the queue says, else Delete. Logs are kept in history in any case.",
    )

    @model_validator(mode="after")
    def _one_way_to_run(self) -> Self:
        """The rules of one spec, as the API server has them too, each with the path of its field."""
        wrong: list[InitErrorDetails] = []
        if (self.template is None) == (self.image is None):
            wrong.append(wrong_at((), ONE_POD))
        if self.template is not None:
            for field in ("command", "args", "env", "resources"):
                if getattr(self, field) is not None:
                    wrong.append(wrong_at((field,), NOT_BESIDE_TEMPLATE))
            pod = self.template.get("spec")
            if isinstance(pod, dict) and pod.get("restartPolicy", "Never") != "Never":
                wrong.append(wrong_at(("template", "spec", "restartPolicy"), RESTART_NEVER))
        raise_wrong(self, wrong)
        return self


class TaskJobStatus(ObservedPart):
    """What the operator last observed; written by the operator alone."""

    phase: Phase | None = Field(
        None, description="Where the job stands: Pending, Starting, Running, Succeeded, Failed, Cancelled or Skipped."
    )
    reason: Reason | None = Field(
        None, description="Why, as one word for programs; for Pending: what the job waits for."
    )
    message: Message | None = Field(None, description="Why, as a sentence for people.")
    conditions: Conditions | None = Field(
        None, description="Admitted, Complete, Failed and Finished, for kubectl wait --for=condition=..."
    )
    run: Count | None = Field(None, description="Which run of the job this is, from 0; it follows spec.rerun.")
    run_at: Instant | None = Field(None, description="When this run was begun by spec.rerun; absent for the first.")
    previous_phase: Phase | None = Field(None, description="How the run before this one ended.")
    attempt: Count | None = Field(None, description="The current or last attempt, from 1; 0 before the first.")
    retries: Count | None = Field(None, description="How many retries were used.")
    epoch: Count | None = Field(None, description="The leadership of the operator that wrote this; it never falls.")
    transition: Count | None = Field(None, description="How many changes of phase there were so far.")
    stopping: Stopping | None = Field(
        None,
        description="Why the current attempt is being stopped: Cancelled, Suspended, Timeout, DeadlineExceeded; or, "
        "where it does not start, ImagePull, Unschedulable, StartError.",
    )
    queued_at: Instant | None = Field(None, description="When the job last became Pending.")
    started_at: Instant | None = Field(None, description="When the container of the current or last attempt started.")
    finished_at: Instant | None = Field(None, description="When the job came to its end.")
    not_before: Instant | None = Field(None, description="The next attempt does not start before this instant.")
    pod_name: Annotated[str, Field(max_length=253)] | None = Field(
        None, description="The pod of the current or last attempt."
    )
    node_name: Annotated[str, Field(max_length=253)] | None = Field(None, description="The node that it was placed on.")
    exit_code: ExitCode | None = Field(None, description="The exit code of the last attempt's container.")
    observed_generation: Generation | None = Field(
        None, description="The metadata.generation that this was observed from."
    )


class TaskJob(Part):
    """A job that runs in a pod when its dependencies are satisfied and its queue has room for it."""

    api_version: ApiVersion = Field(API_VERSION, description="taskjobs.dev/v1beta1")
    kind: TaskJobKind = Field(TASKJOB, description="TaskJob")
    metadata: Metadata = Field(description="Standard object metadata.")
    spec: TaskJobSpec = Field(description="What to run, when, and what to do if it fails.")
    status: TaskJobStatus | None = Field(
        None, description="What the operator last observed; written by the operator alone."
    )

    @model_validator(mode="after")
    def _name_and_dependencies(self) -> Self:
        """The rules that need the object's name and the spec."""
        name, wrong = self.metadata.name, []
        if name is not None and len(name) > NAME_MAX:
            wrong.append(wrong_at(("metadata", "name"), NAME_LENGTH))
        seen: set[str] = set()
        for index, dependency in enumerate(self.spec.depends_on):
            where = ("spec", "dependsOn", index, "name")
            if dependency.name == name:
                wrong.append(wrong_at(where, NOT_ITSELF))
            if dependency.name in seen:
                wrong.append(wrong_at(where, f"{dependency.name!r} is named twice"))
            seen.add(dependency.name)
        raise_wrong(self, wrong)
        return self

    def manifest(self) -> dict[str, Any]:
        """The object as JSON for the API server: only what was said, so that the server's defaults apply."""
        said = self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True, exclude={"status"})
        return {"apiVersion": self.api_version, "kind": self.kind, **said}
