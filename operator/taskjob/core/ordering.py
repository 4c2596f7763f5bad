"""Total orders: who is admitted first."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from operator import neg
from typing import Final

from taskjob.core.model import Job, Namespace, Uid

AdmissionKey = tuple[float, float, Namespace, str, Uid]

LEVEL: Final = 100
"""One level of priority: as far as Low is from Normal, and Normal from High."""


def admission_key(job: Job, aging_seconds: int = 0) -> AdmissionKey:
    """The order of admission within a queue; the smaller key starts first.

    1. the higher priority; in a queue with aging, one `LEVEL` higher for each `aging_seconds` of waiting. All of a
       queue age alike, so that their order never changes: by creation, for each level so many seconds earlier
    2. the earlier creation, to the second (what creationTimestamp tells); of a rerun, the earlier rerun
    3. the namespace, then the name: so that names made in a sequence start in it
    4. the uid, which makes the order total
    """
    created = _instant(job.since)
    first = created - job.priority * aging_seconds / LEVEL if aging_seconds else _negated(job.priority)
    return (first, created, job.namespace, job.name, job.uid)


# Equal parts of keys are one object, as far as possible: two that are one are compared without a look at them, and a
# hundred thousand jobs have their keys in less memory.
_instant: Final = lru_cache(maxsize=4096)(datetime.timestamp)
_negated: Final = lru_cache(maxsize=256)(neg)


def aged_priority(key: AdmissionKey, aging_seconds: int, now: datetime) -> float:
    """What the first criterion of a key is worth at `now`: comparable between queues, however they age."""
    return (now.timestamp() - key[0]) * LEVEL / aging_seconds if aging_seconds else -key[0]
