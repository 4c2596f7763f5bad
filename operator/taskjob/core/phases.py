"""The closed sets of words about a job, and the legal transitions as a table.

`docs/architecture.md` draws `TRANSITIONS` as a picture; a test holds the two together.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Phase(StrEnum):
    """Where a job stands. What it waits for is a `Reason` of `PENDING`, not a phase of its own."""

    PENDING = "Pending"
    STARTING = "Starting"  # the attempt's pod exists, its container has not started
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    SKIPPED = "Skipped"

    def __init__(self, word: str) -> None:
        # Attributes and not properties: a plan asks ten times for each job.
        self.active: Final = word in {"Starting", "Running"}  # an attempt is under way
        self.terminal: Final = word not in {"Pending", "Starting", "Running"}  # the run is over


TERMINAL: Final = frozenset(phase for phase in Phase if phase.terminal)

# A path is canonical: an attempt always goes through STARTING, and through RUNNING if its container ever
# started, however late the operator looks. So a replay after a crash counts the same transitions.
TRANSITIONS: Final[dict[Phase, frozenset[Phase]]] = {
    Phase.PENDING: frozenset({Phase.STARTING, Phase.FAILED, Phase.CANCELLED, Phase.SKIPPED}),
    Phase.STARTING: frozenset({Phase.RUNNING, Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.PENDING}),
    Phase.RUNNING: frozenset({Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.PENDING}),
    # a rerun: the next run begins
    Phase.SUCCEEDED: frozenset({Phase.PENDING}),
    Phase.FAILED: frozenset({Phase.PENDING}),
    Phase.CANCELLED: frozenset({Phase.PENDING}),
    Phase.SKIPPED: frozenset({Phase.PENDING}),
}


class Reason(StrEnum):
    """Why a job is in its phase: `status.reason`, one typed word; the figures stand in the message."""

    # Pending: what it waits for
    QUEUED = "Queued"  # nothing is known against it: the next cycle looks at it
    WAITING_FOR_DEPENDENCIES = "WaitingForDependencies"
    WAITING_FOR_QUOTA = "WaitingForQuota"
    EXCEEDS_QUOTA = "ExceedsQuota"  # can never fit its queue as the queue is now
    QUEUE_NOT_FOUND = "QueueNotFound"
    QUEUE_HELD = "QueueHeld"  # the queue's stopPolicy
    NAMESPACE_NOT_ALLOWED = "NamespaceNotAllowed"  # the queue's namespaceSelector
    RATE_LIMITED = "RateLimited"  # the queue's maxStartsPerSecond
    CONCURRENCY_LIMIT = "ConcurrencyLimit"  # others hold its concurrency key
    BACKING_OFF = "BackingOff"
    SUSPENDED = "Suspended"
    PREEMPTED = "Preempted"  # its attempt made room for another job; it waits its turn again
    POD_REFUSED = "PodRefused"  # the API server refused the pod; tried again with backoff, up to a cap
    INVALID_SPEC = "InvalidSpec"  # written past the schema; waits for the spec to be corrected
    # active
    LAUNCHED = "Launched"
    STARTED = "Started"
    STOPPING = "Stopping"
    NODE_LOST = "NodeLost"  # its node does not confirm the end of its pod
    # terminal
    COMPLETED = "Completed"
    ATTEMPT_FAILED = "AttemptFailed"  # the last allowed attempt failed
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    CONCURRENCY_CONFLICT = "ConcurrencyConflict"  # others hold its key, and it does not want to wait
    QUEUE_TIMEOUT_EXCEEDED = "QueueTimeoutExceeded"
    DEPENDENCY_CYCLE = "DependencyCycle"
    DEPENDENCY_NOT_SATISFIED = "DependencyNotSatisfied"
    CANCELLED_BY_USER = "CancelledByUser"
    DELETED = "Deleted"  # the TaskJob was deleted before its end
    OUTCOME_UNKNOWN = "OutcomeUnknown"  # a third party removed pod or TaskJob before any operator saw the end


class FailureClass(StrEnum):
    """What kind of failure ended an attempt, read from its pod. `docs/lifecycle.md` has them as a table."""

    EXIT_CODE = "ExitCode"  # a container exited with another code than 0
    OOM_KILLED = "OOMKilled"  # a container ran out of the memory that it may use
    TIMEOUT = "Timeout"
    EVICTED = (
        "Evicted"  # node or scheduler took its place away: drain, node pressure, taint, preemption by the scheduler
    )
    PREEMPTED = "Preempted"  # by us, for a job that goes first
    NODE_LOST = "NodeLost"  # its node is gone, or never told of its end
    IMAGE_PULL = "ImagePull"  # its image did not come within the time allowed for its start
    UNSCHEDULABLE = "Unschedulable"  # no node took it within that time
    POD_DELETED = "PodDeleted"  # somebody deleted it
    POD_REFUSED = "PodRefused"  # the API server refused to create it: no attempt came of it
    START_ERROR = "StartError"  # its container could not be started

    @property
    def fault_of_the_cluster(self) -> bool:
        """Not the job's: unless its rules say otherwise, another attempt costs no retry."""
        return self in _FAULTS_OF_THE_CLUSTER


_FAULTS_OF_THE_CLUSTER: Final = frozenset(
    {
        FailureClass.EVICTED,
        FailureClass.PREEMPTED,
        FailureClass.NODE_LOST,
        FailureClass.UNSCHEDULABLE,
        FailureClass.POD_DELETED,
        FailureClass.POD_REFUSED,
    }
)


class RetryAction(StrEnum):
    """What follows an attempt that failed."""

    RETRY = "Retry"  # another, as long as `retry.limit` allows it
    RETRY_FREE = "RetryFree"  # another, not charged to the limit
    FAIL = "Fail"  # none: the job has failed
    SUCCEED = "Succeed"  # none: the job counts as done


class Stopping(StrEnum):
    """Why the current attempt is being stopped: `status.stopping`, written before the pod is touched."""

    CANCELLED = "Cancelled"
    SUSPENDED = "Suspended"
    TIMEOUT = "Timeout"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    PREEMPTED = "Preempted"  # to make room for another job
    QUEUE_HELD = "QueueHeld"  # its queue is held and drained
    IMAGE_PULL = "ImagePull"  # these three: it hangs before its start, and gives its quota back
    UNSCHEDULABLE = "Unschedulable"
    START_ERROR = "StartError"

    @property
    def evicts(self) -> bool:
        """Whether it is the system's doing: the job is queued again, not charged a retry."""
        return self in EVICTIONS

    @property
    def failure(self) -> FailureClass | None:
        """What an attempt that was stopped so has failed of; None where stopping it was somebody's wish."""
        return FailureClass.PREEMPTED if self in EVICTIONS else _FAILURES.get(self.value)


EVICTIONS: Final = frozenset({Stopping.PREEMPTED, Stopping.QUEUE_HELD})
_FAILURES: Final = {member.value: member for member in FailureClass}


class Condition(StrEnum):
    """What a dependent asks of a dependency."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    FINISHED = "Finished"


class ConcurrencyScope(StrEnum):
    """What a concurrency key belongs to: keys of one name in another have nothing to do with it."""

    NAMESPACE = "Namespace"
    QUEUE = "Queue"


class OnConflict(StrEnum):
    """What a job does whose concurrency key is full when it could start."""

    QUEUE = "Queue"
    REJECT = "Reject"


class OnDependencyFailure(StrEnum):
    """What becomes of a job whose dependency can no longer satisfy its condition."""

    SKIP = "Skip"
    FAIL = "Fail"
    WAIT = "Wait"


class Strategy(StrEnum):
    """What becomes of those behind a job that does not fit its queue."""

    STRICT_FIFO = "StrictFIFO"  # they wait as well
    BEST_EFFORT_FIFO = "BestEffortFIFO"  # what fits may pass it, until it has a reservation


class StopPolicy(StrEnum):
    """Whether a queue admits, and what becomes of what it runs."""

    NONE = "None"
    HOLD = "Hold"  # nothing more is admitted, what runs goes on
    HOLD_AND_DRAIN = "HoldAndDrain"  # and what runs is evicted


class Preempt(StrEnum):
    """Whose attempts a job may have evicted in order to start."""

    NEVER = "Never"
    LOWER_PRIORITY = "LowerPriority"
    ANY = "Any"


class SelectorOperator(StrEnum):
    """How a requirement of a label selector compares."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class PodRetention(StrEnum):
    """Which ended pods stay."""

    DELETE = "Delete"
    KEEP_FAILED = "KeepFailed"
    KEEP = "Keep"


class PodPhase(StrEnum):
    """The phase of a pod; Kubernetes' `Unknown` is read as `RUNNING`: it is charged until it is gone."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def ended(self) -> bool:
        """All containers are done: the pod no longer counts against a quota."""
        return self in (PodPhase.SUCCEEDED, PodPhase.FAILED)


PRIORITIES: Final[dict[str, int]] = {"Critical": 1000, "High": 100, "Normal": 0, "Low": -100}
"""The named priorities; larger starts first. The gaps leave room for integers between them."""
