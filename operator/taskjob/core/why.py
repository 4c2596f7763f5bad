"""Why a job waits in its queue: the answer as a value. `waiting` finds it, `explain` puts it into words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from taskjob.core.model import QueueName, Uid
from taskjob.core.phases import Reason

RUNNING = "running jobs"
"""What `max_running` limits, where a resource is named."""


@dataclass(frozen=True, slots=True)
class Why:
    """The reason, and of the figures those that belong to it.

    `WAITING_FOR_QUOTA`, `EXCEEDS_QUOTA`: of `resource`, `asked` is more than `available`, out of `limit`. Where
    nothing lacks, `behind` is the job whose place or claim comes before; with neither, the quota is not known yet.
    `RATE_LIMITED`: `until` then. `QUEUE_NOT_FOUND`: `problem`, if there is a queue and it cannot be used.
    """

    reason: Reason
    queue: QueueName
    resource: str = ""
    asked: int = 0
    available: int = 0
    limit: int = 0
    behind: Uid | None = None
    until: datetime | None = None
    problem: str | None = None
    from_nodes: bool = False  # the limit is what the nodes give now
