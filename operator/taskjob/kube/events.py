"""Kubernetes Events on TaskJobs, as `kubectl describe` shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from zlib import crc32

from taskjob.core.notices import Notice
from taskjob.kube.schema import GROUP, VERSION

LONGEST_NOTE: Final = 1024
"""Characters of an Event's message that the API server takes."""


def event(notice: Notice, now: datetime) -> dict[str, Any]:
    """An Event on a TaskJob. Its name says what it says of which spec, so that telling it twice makes no second one."""
    job, status = notice.job, notice.job.status
    instant = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    of_what = f"{job.uid}/{job.generation}/{status.run}/{status.attempt}/{notice.reason}/{notice.message}"
    said = crc32(of_what.encode(errors="replace"))
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
        "type": "Warning" if notice.warning else "Normal",
        "reason": notice.reason,
        "message": notice.message[:LONGEST_NOTE],
        "source": {"component": "taskjobs"},
        "firstTimestamp": instant,
        "lastTimestamp": instant,
        "count": 1,
    }
