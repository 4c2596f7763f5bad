"""What a TaskQueue says for jobs that do not say it themselves (`spec.defaults`)."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Final

from taskjob.core.model import Defaults, Job, Pod

_FIELDS: Final = tuple(each.name for each in fields(Defaults))


def settled(job: Job, defaults: Defaults | None, pod: Pod | None = None) -> Job:
    """The job with what its queue says where it says nothing; a field that it says is its own as a whole.

    `pod` is that of the attempt under way, if there is one. It keeps the timeout that it was launched with, by its own
    activeDeadlineSeconds: where the queue says another by now, that is none of its. All else counts as it is when it
    is asked.
    """
    if defaults is None:
        return job
    by_queue: dict[str, Any] = {
        name: value for name in _FIELDS if (value := getattr(defaults, name)) is not None and getattr(job, name) is None
    }
    if pod is not None and by_queue.get("timeout_seconds") != pod.active_deadline_seconds:
        by_queue.pop("timeout_seconds", None)
    return replace(job, by_queue=tuple(by_queue), **by_queue) if by_queue else job


def field_of(job: Job, name: str) -> str:
    """Where the field of a manifest stands that decides, for people; `name` is the core's name of it."""
    if name in job.by_queue:
        return f'spec.defaults.{_IN_MANIFESTS[name]} of queue "{job.queue}"'
    return f"spec.{_IN_MANIFESTS[name]}"


_IN_MANIFESTS: Final = {
    "retry": "retry",
    "timeout_seconds": "timeoutSeconds",
    "queue_timeout_seconds": "queueTimeoutSeconds",
    "start_timeout_seconds": "startTimeoutSeconds",
    "ttl_seconds": "ttlSecondsAfterFinished",
    "pod_retention": "podRetention",
}
