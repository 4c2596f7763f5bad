"""What `lifecycle` and `pending` answer about one job, and the answers that both give."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from taskjob.core.decisions import EndBy, Urgency
from taskjob.core.model import Status
from taskjob.core.phases import Phase, Reason
from taskjob.core.values import replace, value


@value
@dataclass(frozen=True, slots=True)
class Step:
    """What should become of the job. `status` is what should be written; `shown` is what is already a fact and
    what history shows: an attempt's progress is one when its pod shows it, an end when the API server holds it."""

    status: Status
    shown: Status
    urgency: Urgency = Urgency.HOLD
    eligible: bool = False
    end: EndBy | None = None
    why: str = ""
    wake_at: datetime | None = None


def stay(status: Status, wake_at: datetime | None = None) -> Step:
    """Nothing to write."""
    return Step(status=status, shown=status, wake_at=wake_at)


def terminal(ended: Status, phase: Phase, reason: Reason, message: str, *, at: datetime, shown: Status) -> Step:
    """The job is over."""
    end = replace(ended, phase=phase, reason=reason, message=message, finished_at=at, not_before=None)
    return Step(end, shown, Urgency.TERMINAL)


def whole_second(instant: datetime) -> datetime:
    """What the API server can keep of it."""
    return instant.replace(microsecond=0)
