"""Total orders: who is admitted first."""

from __future__ import annotations

from taskjob.core.model import Job

AdmissionKey = tuple[int, float, str, str, str]


def admission_key(job: Job) -> AdmissionKey:
    """The order of admission within a queue; the smaller key starts first.

    1. the higher priority
    2. the earlier creation, to the second (what creationTimestamp tells)
    3. the namespace, then the name: so that names made in a sequence start in it
    4. the uid, which makes the order total
    """
    return (-job.priority, job.created_at.timestamp(), job.namespace, job.name, job.uid)
