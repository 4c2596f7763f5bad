"""pydantic models of TaskJob and TaskQueue: the single source of the CRDs and of the API's request bodies.

Imports pydantic and the standard library, nothing of ours. `generate` writes `crds/`; `rules` has what only the API
server can judge; `words` has the names, enums and bounds.
"""

from taskjob.resources.fields import Condition, Metadata, Quantity
from taskjob.resources.taskjob import (
    Backoff,
    Dependency,
    EnvVar,
    Resources,
    Retry,
    TaskJob,
    TaskJobSpec,
    TaskJobStatus,
)
from taskjob.resources.taskqueue import TaskQueue, TaskQueueSpec, TaskQueueStatus

__all__ = [
    "Backoff",
    "Condition",
    "Dependency",
    "EnvVar",
    "Metadata",
    "Quantity",
    "Resources",
    "Retry",
    "TaskJob",
    "TaskJobSpec",
    "TaskJobStatus",
    "TaskQueue",
    "TaskQueueSpec",
    "TaskQueueStatus",
]
