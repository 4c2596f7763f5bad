"""Statuses that are written, and read back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from task_objects import STATUS_FIELDS, an_object
from taskjob.core.decisions import QueueCondition, SetQueueStatus
from taskjob.core.model import (
    Job,
    ObservedCondition,
    Queue,
    QueueName,
    Status,
)
from taskjob.core.pending import hold
from taskjob.core.phases import (
    Phase,
    Reason,
    Stopping,
)
from taskjob.kube.fields import LONGEST_MESSAGE, instant, rfc3339
from taskjob.kube.patches import queue_status_patch, status_update
from taskjob.kube.schema import parse_job, parse_queue
from taskjob.resources.generate import taskjob_crd
from taskjob.resources.structural import at

NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def test_the_default_of_the_crd_is_read_as_a_status_that_nobody_has_written() -> None:
    (version,) = taskjob_crd()["spec"]["versions"]
    default = at(version["schema"]["openAPIV3Schema"], ("status",))["default"]
    job = parse_job(an_object(status=default))
    assert (job.status, job.problem) == (parse_job(an_object()).status, None)
    held = hold(job, Reason.QUEUED, "waits for its turn")
    assert held.status.queued_at == job.created_at, "the first explanation is still to be written"


INSTANTS = st.none() | st.integers(0, 2**32).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
COUNTS = st.integers(0, 2**31 - 1)
STATUSES = st.builds(
    Status,
    phase=st.sampled_from(Phase),
    reason=st.sampled_from(Reason),
    message=st.text(max_size=50),
    run=COUNTS,
    run_at=INSTANTS,
    previous_phase=st.none() | st.sampled_from(Phase),
    attempt=COUNTS,
    retries=COUNTS,
    transition=COUNTS,
    epoch=st.just(9),
    stopping=st.none() | st.sampled_from(Stopping),
    queued_at=INSTANTS,
    admitted_at=INSTANTS,
    started_at=INSTANTS,
    finished_at=INSTANTS,
    not_before=INSTANTS,
    pod_name=st.none() | st.just("train-1"),
    node_name=st.none() | st.just("node-1"),
    exit_code=st.none() | st.integers(-1, 255),
    observed_generation=COUNTS,
)


def written(status: Status, job: Job | None = None) -> dict[str, Any]:
    body = json.loads(status_update(job or parse_job(an_object()), status, 9))
    assert isinstance(body, dict)
    return body


@given(STATUSES)
def test_a_status_that_is_written_is_read_back(status: Status) -> None:
    expected = replace(status, admitted_at=None) if status.phase is Phase.PENDING else status
    assert parse_job(an_object(status=written(status)["status"])).status == expected


@given(STATUSES)
def test_a_status_is_written_whole_without_what_it_does_not_say(status: Status) -> None:
    fields = written(status)["status"]
    assert fields.keys() <= set(STATUS_FIELDS)
    assert None not in fields.values()


def test_a_write_names_the_version_it_was_decided_from_and_the_writers_epoch() -> None:
    body = written(Status(epoch=3))
    assert body["metadata"] == {"name": "train", "namespace": "team-a", "resourceVersion": "42"}
    assert body["status"]["epoch"] == 9
    assert body.keys() == {"apiVersion", "kind", "metadata", "status"}


LATER = NOON + timedelta(minutes=1)
DONE = {"queued_at": NOON, "admitted_at": NOON, "finished_at": LATER, "observed_generation": 3}


@pytest.mark.parametrize(
    ("status", "conditions"),
    [
        (
            Status(reason=Reason.WAITING_FOR_QUOTA, message="asks 2, 1 is free", queued_at=LATER),
            {"Admitted": ("False", LATER, "WaitingForQuota")},
        ),
        (Status(reason=Reason.QUEUED), {"Admitted": ("False", NOON, "Queued")}),  # since its creation
        (
            Status(Phase.RUNNING, Reason.STARTED, queued_at=NOON, admitted_at=LATER),
            {"Admitted": ("True", LATER, "Admitted")},
        ),
        (
            Status(Phase.SUCCEEDED, Reason.COMPLETED, **DONE),  # type: ignore[arg-type]  # fields of Status
            {
                "Admitted": ("True", NOON, "Admitted"),
                "Complete": ("True", LATER, "Completed"),
                "Finished": ("True", LATER, "Succeeded"),
            },
        ),
        (
            Status(Phase.FAILED, Reason.ATTEMPT_FAILED, **DONE),  # type: ignore[arg-type]  # fields of Status
            {
                "Admitted": ("True", NOON, "Admitted"),
                "Failed": ("True", LATER, "AttemptFailed"),
                "Finished": ("True", LATER, "Failed"),
            },
        ),
        (
            Status(Phase.SKIPPED, Reason.DEPENDENCY_NOT_SATISFIED, queued_at=NOON, finished_at=LATER),
            {
                "Admitted": ("False", NOON, "DependencyNotSatisfied"),
                "Finished": ("True", LATER, "Skipped"),
            },
        ),
        (
            Status(Phase.CANCELLED, Reason.CANCELLED_BY_USER, queued_at=NOON, finished_at=LATER),
            {
                "Admitted": ("False", NOON, "CancelledByUser"),
                "Finished": ("True", LATER, "Cancelled"),
            },
        ),
    ],
    ids=lambda value: value.phase.value if isinstance(value, Status) else "",
)
def test_conditions_follow_from_the_phase(status: Status, conditions: dict[str, tuple[str, datetime, str]]) -> None:
    shown = written(status)["status"]["conditions"]
    found = {c["type"]: (c["status"], instant(c["lastTransitionTime"]), c["reason"]) for c in shown}
    assert found == conditions
    assert all(c["observedGeneration"] == status.observed_generation for c in shown)


def test_a_reason_of_a_newer_version_is_read_as_the_ordinary_one() -> None:
    job = parse_job(an_object(status={"phase": "Failed", "reason": "AteByWolves"}))
    assert (job.status.reason, job.problem) == (Reason.ATTEMPT_FAILED, None)


def test_an_endless_message_is_cut() -> None:
    status = written(Status(message="x" * 5000))["status"]
    assert len(status["message"]) == len(status["conditions"][0]["message"]) == LONGEST_MESSAGE
    assert status["message"].endswith("…")


def test_a_queues_status_shows_quantities_and_what_nobody_uses() -> None:
    queue = Queue(QueueName("q"), 1, 4)
    quota, usage = (("cpu", 4000), ("pods", 10)), (("cpu", 1500), ("memory", 2**30))
    patch = json.loads(queue_status_patch(SetQueueStatus(queue, 3, 2, usage, quota), NOON))
    assert patch == [
        {
            "op": "add",
            "path": "/status",
            "value": {
                "pending": 3,
                "admitted": 2,
                "quota": {"cpu": "4", "pods": "10"},
                "usage": {"cpu": "1500m", "memory": "1Gi", "pods": "0"},
                "borrowed": {},
                "conditions": [],
                "observedGeneration": 4,
            },
        }
    ]


def test_a_queues_condition_keeps_its_instant_until_it_changes() -> None:
    def since(queue: Queue, holds: bool, now: datetime) -> str:
        told = SetQueueStatus(queue, 0, 0, (), conditions=(QueueCondition("Active", holds, "Ready"),))
        (patch,) = json.loads(queue_status_patch(told, now))
        written = patch["value"]["conditions"][0]
        read = parse_queue({"metadata": {"name": "q", "uid": "u"}, "status": patch["value"]})
        assert read.conditions == (("Active", holds, instant(written["lastTransitionTime"])),)
        assert isinstance(written["lastTransitionTime"], str)
        return written["lastTransitionTime"]

    held = Queue(QueueName("q"), conditions=(ObservedCondition("Active", True, NOON),))
    assert since(held, True, LATER) == rfc3339(NOON)
    assert since(held, False, LATER) == rfc3339(LATER)
    assert held == replace(held, conditions=()), "what was written into its status changes nothing about a queue"
