"""What history calls the failure of an attempt: as it was judged, not as its pod alone would be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builders import a_job, a_pod
from taskjob.core.failures import told, told_of
from taskjob.core.model import Status
from taskjob.core.phases import FailureClass, PodPhase, Reason

PAST_ITS_DEADLINE = replace(a_pod(a_job("load").build()).build(), phase=PodPhase.FAILED, failure=FailureClass.TIMEOUT)
"""As every pod looks that the operator has told to end."""


@pytest.mark.parametrize("failure", FailureClass)
def test_the_class_that_a_status_tells_is_read_from_it_again(failure: FailureClass) -> None:
    status = Status(reason=Reason.BACKING_OFF, message=told(3, failure, "so it was; retry 1 of 2"))
    assert told_of(status, PAST_ITS_DEADLINE) is failure


@pytest.mark.parametrize(
    ("reason", "failure"),
    [
        (Reason.PREEMPTED, FailureClass.PREEMPTED),
        (Reason.QUEUE_HELD, FailureClass.PREEMPTED),
        (Reason.SUSPENDED, None),
        (Reason.CANCELLED_BY_USER, None),
        (Reason.WAITING_FOR_QUOTA, FailureClass.TIMEOUT),  # the status has gone on: only the pod still tells
    ],
)
def test_a_pod_that_was_told_to_end_failed_of_what_it_was_ended_for(
    reason: Reason, failure: FailureClass | None
) -> None:
    assert told_of(Status(reason=reason), PAST_ITS_DEADLINE) is failure
