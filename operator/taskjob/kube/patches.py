"""What the operator writes into statuses, as the bodies of its requests: core values to the CRDs' shape.

The way back of `schema`, which reads what stands here.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from taskjob.core import amounts
from taskjob.core.decisions import SetQueueStatus
from taskjob.core.model import Job, Status
from taskjob.core.phases import Phase
from taskjob.kube.fields import cut, rfc3339
from taskjob.kube.schema import GROUP, VERSION

_encode = msgspec.json.Encoder(order="deterministic").encode


def status_update(job: Job, status: Status, epoch: int) -> bytes:
    """What a PUT to `/status` says: the whole status, and of the object only what names it; the rest stays as it is.

    It carries the resourceVersion of `job`: the API server answers 409 if the object changed since. A merge patch does
    the same for more of the API server's CPU, which then decodes the whole object once more, the spec included.
    """
    message = cut(status.message)
    fields = {
        "phase": status.phase.value,
        "reason": status.reason.value,
        "message": message or None,
        "conditions": _conditions(job, status, message),
        "run": status.run,
        "runAt": rfc3339(status.run_at),
        "previousPhase": status.previous_phase.value if status.previous_phase is not None else None,
        "attempt": status.attempt,
        "retries": status.retries,
        "transition": status.transition,
        "epoch": epoch,
        "stopping": status.stopping.value if status.stopping is not None else None,
        "queuedAt": rfc3339(status.queued_at),
        "startedAt": rfc3339(status.started_at),
        "finishedAt": rfc3339(status.finished_at),
        "notBefore": rfc3339(status.not_before),
        "podName": status.pod_name,
        "nodeName": status.node_name,
        "exitCode": status.exit_code,
        "observedGeneration": status.observed_generation,
    }
    return _encode(
        {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "TaskJob",
            # Without the uid: with it, a job that is gone would be answered like one that has changed.
            "metadata": {"name": job.name, "namespace": job.namespace, "resourceVersion": str(job.version)},
            "status": {name: value for name, value in fields.items() if value is not None},
        }
    )


def _conditions(job: Job, status: Status, message: str) -> list[dict[str, object]]:
    queued_at = status.queued_at or job.created_at
    # Admission is told of the current attempt: it stays True when that attempt has ended, whatever its outcome.
    admitted = status.admitted_at if status.phase is not Phase.PENDING else None

    def condition(kind: str, true: bool, at: datetime, reason: str) -> dict[str, object]:
        return {
            "type": kind,
            "status": "True" if true else "False",
            "lastTransitionTime": rfc3339(at),
            "reason": reason,
            "message": message,
            "observedGeneration": status.observed_generation,
        }

    if admitted is not None:
        conditions = [condition("Admitted", True, admitted, "Admitted")]
        conditions[0]["message"] = ""
    else:
        conditions = [condition("Admitted", False, queued_at, status.reason.value)]
    if status.phase.terminal:
        finished_at = status.finished_at or queued_at
        if status.phase is Phase.SUCCEEDED:
            conditions.append(condition("Complete", True, finished_at, status.reason.value))
        elif status.phase is Phase.FAILED:
            conditions.append(condition("Failed", True, finished_at, status.reason.value))
        conditions.append(condition("Finished", True, finished_at, status.phase.value))
    return conditions


def queue_status_patch(decision: SetQueueStatus, now: datetime) -> bytes:
    """A JSON patch that replaces a TaskQueue's status, so that figures of resources no longer used go away.

    A resource of the quota that nobody uses is shown as 0. A condition keeps the instant since which it is as it is.
    """
    queue = decision.queue
    used = dict.fromkeys((resource for resource, _ in decision.quota), 0) | dict(decision.usage)
    since = {(each.type, each.holds): each.since for each in queue.conditions}
    status: dict[str, object] = {
        "pending": decision.pending,
        "admitted": decision.admitted,
        "quota": _quantities(decision.quota),
        "usage": _quantities(used.items()),
        "borrowed": _quantities(decision.borrowed),
        "conditions": [
            {
                "type": each.type,
                "status": "True" if each.holds else "False",
                "lastTransitionTime": rfc3339(since.get((each.type, each.holds), now)),
                "reason": each.reason,
                "message": cut(each.message),
                "observedGeneration": queue.generation,
            }
            for each in decision.conditions
        ],
        "observedGeneration": queue.generation,
    }
    return _encode([{"op": "add", "path": "/status", "value": status}])


def _quantities(of: Iterable[tuple[str, int]]) -> dict[str, str]:
    return {resource: amounts.show(resource, amount) for resource, amount in of}
