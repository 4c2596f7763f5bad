"""Pods in: what a pod tells, whatever it holds."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from odd_json import JSON
from pod_objects import a_launch, as_created, condition, ended, failed, instants, made, read
from taskjob.core.model import Job
from taskjob.core.phases import FailureClass, PodPhase
from taskjob.kube.pods import parse_pod, pod_name
from taskjob.kube.schema import UnusableObjectError


def at(second: int) -> datetime:
    return datetime(2026, 1, 1, 12, 0, second, tzinfo=UTC)


def test_a_pod_is_read_back_as_the_attempt_it_was_made_for() -> None:
    launch = a_launch(deadline=60, attempt=3)
    job: Job = launch.job
    pod = parse_pod(as_created(made(launch, epoch=7)))
    assert (pod.attempt, pod.epoch, pod.job_name, pod.queue) == (launch.attempt, 7, job.name, job.queue)
    assert (pod.name, pod.namespace) == (pod_name(job.name, launch.attempt), job.namespace)
    assert (pod.uid, pod.version, pod.created_at, pod.phase) == ("p-1", 9, at(0), PodPhase.PENDING)
    assert (pod.active_deadline_seconds, pod.grace_seconds, pod.deleting, pod.failure) == (60, 30, False, None)


def test_a_running_pod_tells_when_its_main_container_started() -> None:
    running = {"name": "main", "state": {"running": {"startedAt": "2026-01-01T12:00:04Z"}}}
    pod = read({"phase": "Running", "containerStatuses": [running]})
    assert (pod.phase, pod.started_at, pod.finished_at, pod.exit_code) == (PodPhase.RUNNING, at(4), None, None)


def test_a_pod_that_succeeded_has_exit_code_0_and_the_last_containers_end() -> None:
    status = {
        "phase": "Succeeded",
        "containerStatuses": [
            ended("main", 0, "Completed", **instants("01", "05")),
            ended("second", 0, "Completed", **instants("02", "08")),
        ],
    }
    pod = read(status)
    assert (pod.phase, pod.started_at, pod.finished_at, pod.exit_code) == (PodPhase.SUCCEEDED, at(1), at(8), 0)


def test_the_main_container_is_the_first_or_the_one_that_an_annotation_names() -> None:
    spec = {"containers": [{"name": "proxy", "image": "x"}, {"name": "main", "image": "x"}]}
    status = failed(ended("proxy", 1, **instants("01", "05")), ended("main", 2, **instants("02", "05")))
    first = parse_pod(as_created(made(a_launch({"spec": spec})), status))
    assert (first.started_at, first.exit_code) == (at(1), 1)
    named = {"metadata": {"annotations": {"kubectl.kubernetes.io/default-container": "main"}}, "spec": spec}
    second = parse_pod(as_created(made(a_launch(named)), status))
    assert (second.started_at, second.exit_code) == (at(2), 2)


def test_the_start_of_a_container_that_never_started_is_unknown() -> None:
    end = ended("main", 128, "StartError", startedAt="1970-01-01T00:00:00Z", finishedAt="2026-01-01T12:00:05Z")
    assert read(failed(end)).started_at is None


def test_the_end_of_a_pod_whose_containers_say_nothing_is_its_last_change() -> None:
    pod = read(failed(reason="Evicted", conditions=[condition("PodScheduled"), condition("DisruptionTarget")]))
    assert pod.finished_at == at(9)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ({"phase": "Pending"}, ""),
        ({"phase": "Pending", "containerStatuses": [{"name": "main", "state": {"waiting": {}}}]}, ""),
        (
            {
                "phase": "Pending",
                "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": "ContainerCreating"}}}],
            },
            "",
        ),
        (
            {
                "phase": "Pending",
                "containerStatuses": [
                    {"name": "main", "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}
                ],
            },
            'container "main" waits: ErrImagePull: not found',
        ),
        (
            {
                "phase": "Pending",
                "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}],
            },
            "not scheduled: 0/1 nodes are available",
        ),
    ],
)
def test_a_pending_pod_tells_what_is_known_against_it(status: dict[str, Any], message: str) -> None:
    assert read(status).message == message


def test_a_pod_of_an_unknown_phase_counts_as_running() -> None:
    assert read({"phase": "Unknown"}).phase is PodPhase.RUNNING


def test_a_pod_that_is_being_deleted_says_so() -> None:
    assert read({"phase": "Running"}, deletionTimestamp="2026-01-01T12:00:01Z").deleting


@pytest.mark.parametrize(("asked", "meant"), [(-5, 0), (0, 0), (600, 600), (2**62, 2**31 - 1)])
def test_a_grace_period_is_one_that_instants_can_be_moved_by(asked: int, meant: int) -> None:
    spec = {"containers": [{"name": "main", "image": "x"}], "terminationGracePeriodSeconds": asked}
    assert parse_pod(as_created(made(a_launch({"spec": spec})))).grace_seconds == meant


def test_a_pod_that_failed_while_it_was_deleted_with_any_grace_period_is_read() -> None:
    deleted = {"deletionTimestamp": "2026-01-01T12:00:01Z", "deletionGracePeriodSeconds": 2**62}
    assert read(failed(ended("main", 1)), **deleted).failure is FailureClass.POD_DELETED


def test_the_charge_follows_the_pod_as_created() -> None:
    spec = {"containers": [{"name": "main", "image": "x", "resources": {"requests": {"cpu": "2"}}}]}
    assert parse_pod(as_created(made(a_launch({"spec": spec})))).request == (("cpu", 2000), ("pods", 1))


@pytest.mark.parametrize(
    "label", ["taskjobs.dev/job-uid", "taskjobs.dev/run", "taskjobs.dev/member", "taskjobs.dev/attempt"]
)
def test_a_pod_whose_labels_do_not_say_which_attempt_it_is_cannot_be_used(label: str) -> None:
    pod = made(a_launch())
    del pod["metadata"]["labels"][label]
    with pytest.raises(UnusableObjectError, match=rf"team/{pod['metadata']['name']}.*{label}"):
        parse_pod(as_created(pod))


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"metadata": {"labels": 3}}', b"\xff"])
def test_what_is_no_pod_cannot_be_used(raw: bytes) -> None:
    with pytest.raises(UnusableObjectError):
        parse_pod(raw)


def test_a_pod_that_cannot_be_read_stays_charged_until_it_is_gone() -> None:
    pod = read({"phase": {"odd": True}})
    assert pod.phase is PodPhase.RUNNING
    assert dict(pod.request)["pods"] == 1
    assert "cannot be read" in pod.message


FIELDS = st.sampled_from(
    [
        *("phase", "reason", "message", "conditions", "containerStatuses", "initContainerStatuses", "name", "state"),
        *("running", "terminated", "waiting", "exitCode", "startedAt", "finishedAt", "containers", "initContainers"),
        *("resources", "requests", "limits", "overhead", "nodeName", "activeDeadlineSeconds", "cpu", "type", "status"),
    ]
)
ODD = st.recursive(JSON, lambda inner: st.dictionaries(FIELDS, inner, max_size=4) | st.lists(inner, max_size=2))


@settings(max_examples=300)
@given(st.dictionaries(FIELDS, ODD, max_size=5) | JSON, st.dictionaries(FIELDS, ODD, max_size=5) | JSON)
def test_no_content_however_odd_makes_reading_a_pod_fail(spec: Any, status: Any) -> None:
    pod = json.loads(as_created(made(a_launch())))
    found = parse_pod(json.dumps({**pod, "spec": spec, "status": status}).encode())
    assert found.uid == "p-1"
    assert (found.failure is not None) == (found.phase is PodPhase.FAILED)
    assert dict(found.request)["pods"] == 1
