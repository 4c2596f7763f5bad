"""Kubernetes Events: the last resort for telling people of an object whose status cannot be written."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from zlib import crc32

from taskjob.core.model import Job
from taskjob.core.phases import Reason
from taskjob.kube.schema import GROUP, VERSION

LONGEST_NOTE: Final = 1024
"""Characters of an Event's message that the API server takes."""


def warning(job: Job, reason: Reason, message: str, now: datetime) -> dict[str, Any]:
    """An Event on a TaskJob. Its name says what it says of which spec, so that telling it twice makes no second one."""
    instant = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    said = crc32(f"{job.uid}/{job.generation}/{reason}/{message}".encode(errors="replace"))
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{job.name}.{said:08x}", "namespace": job.namespace},
        "involvedObject": {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "TaskJob",
            "namespace": job.namespace,
            "name": job.name,
            "uid": job.uid,
            "resourceVersion": str(job.version),
        },
        "type": "Warning",
        "reason": str(reason),
        "message": message[:LONGEST_NOTE],
        "source": {"component": "taskjobs"},
        "firstTimestamp": instant,
        "lastTimestamp": instant,
        "count": 1,
    }
