"""Names and closed sets of words of the TaskJob and TaskQueue resources, and the bounds that their schema sets.

The scheduling core has its own enums of the same words: neither package imports the other, and a test holds the two
together.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

GROUP: Final = "taskjobs.dev"
VERSION: Final = "v1beta1"
API_VERSION: Final = "taskjobs.dev/v1beta1"
TASKJOB: Final = "TaskJob"
TASKJOBS: Final = "taskjobs"
TASKQUEUE: Final = "TaskQueue"
TASKQUEUES: Final = "taskqueues"

ApiVersion = Literal["taskjobs.dev/v1beta1"]
TaskJobKind = Literal["TaskJob"]
TaskQueueKind = Literal["TaskQueue"]

NAME_MAX: Final = 200
"""Of a TaskJob: leaves room for what pods and their labels add."""
QUEUE_NAME_MAX: Final = 63
"""Of a TaskQueue: its name is the value of a label of every pod."""
DEFAULT_CONTROLLER: Final = "default"
"""The installation that serves the queues which name none."""
DEPENDENCIES_MAX: Final = 10_000
PRIORITY_MAX: Final = 1_000_000
"""Of a priority that is said as a number, either way of 0, which is Normal."""
RETRIES_MAX: Final = 1_000
RETRY_RULES_MAX: Final = 32
EXIT_CODES_MAX: Final = 256
SELECTOR_EXPRESSIONS_MAX: Final = 16
SELECTOR_VALUES_MAX: Final = 64
INT32_MAX: Final = 2_147_483_647
"""Of counts, and of seconds: the most that a pod's activeDeadlineSeconds may have."""
MESSAGE_MAX: Final = 32_768
"""Of a condition's message, in the Kubernetes API."""

DNS_SUBDOMAIN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
DNS_LABEL: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
KEY_NAME: Final = r"^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$"
"""Of a concurrency key."""
CAMEL_CASE: Final = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"
"""A reason, as the Kubernetes API has them."""


class Phase(StrEnum):
    """Where a TaskJob stands; what it waits for is the `reason` of `Pending`."""

    PENDING = "Pending"
    STARTING = "Starting"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    SKIPPED = "Skipped"


TERMINAL_PHASES: Final = (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED, Phase.SKIPPED)


class Priority(StrEnum):
    """How urgent a TaskJob is within its queue, most urgent first."""

    CRITICAL = "Critical"
    HIGH = "High"
    NORMAL = "Normal"
    LOW = "Low"


class DependencyCondition(StrEnum):
    """What a TaskJob asks of one that it depends on."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    FINISHED = "Finished"


class OnDependencyFailure(StrEnum):
    """What becomes of a TaskJob whose dependencies can no longer be satisfied."""

    SKIP = "Skip"
    FAIL = "Fail"
    WAIT = "Wait"


class ConcurrencyScope(StrEnum):
    """What a concurrency key belongs to."""

    NAMESPACE = "Namespace"
    QUEUE = "Queue"


class OnConflict(StrEnum):
    """What a job does whose concurrency key is full."""

    QUEUE = "Queue"
    REJECT = "Reject"


class PodRetention(StrEnum):
    """Which ended pods stay."""

    DELETE = "Delete"
    KEEP_FAILED = "KeepFailed"
    KEEP = "Keep"


class Preempt(StrEnum):
    """Whose attempts a TaskJob may have evicted in order to start."""

    NEVER = "Never"
    LOWER_PRIORITY = "LowerPriority"
    ANY = "Any"


class Strategy(StrEnum):
    """What becomes of those behind a TaskJob that does not fit."""

    STRICT_FIFO = "StrictFIFO"
    BEST_EFFORT_FIFO = "BestEffortFIFO"


class SelectorOperator(StrEnum):
    """How a requirement of a label selector compares."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class StopPolicy(StrEnum):
    """Whether a TaskQueue admits, and what becomes of what it runs."""

    NONE = "None"
    HOLD = "Hold"
    HOLD_AND_DRAIN = "HoldAndDrain"


class Stopping(StrEnum):
    """Why the current attempt is being stopped."""

    CANCELLED = "Cancelled"
    SUSPENDED = "Suspended"
    TIMEOUT = "Timeout"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    PREEMPTED = "Preempted"
    QUEUE_HELD = "QueueHeld"
    IMAGE_PULL = "ImagePull"
    UNSCHEDULABLE = "Unschedulable"
    START_ERROR = "StartError"


class FailureClass(StrEnum):
    """What kind of failure ended an attempt."""

    EXIT_CODE = "ExitCode"
    OOM_KILLED = "OOMKilled"
    TIMEOUT = "Timeout"
    EVICTED = "Evicted"
    PREEMPTED = "Preempted"
    NODE_LOST = "NodeLost"
    IMAGE_PULL = "ImagePull"
    UNSCHEDULABLE = "Unschedulable"
    POD_DELETED = "PodDeleted"
    POD_REFUSED = "PodRefused"
    START_ERROR = "StartError"


class RetryAction(StrEnum):
    """What follows an attempt that failed."""

    RETRY = "Retry"
    RETRY_FREE = "RetryFree"
    FAIL = "Fail"
    SUCCEED = "Succeed"


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"
