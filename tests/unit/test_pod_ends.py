"""What a pod failed of, or would."""

from __future__ import annotations

from typing import Any

import pytest

from pod_objects import a_launch, as_created, condition, ended, failed, made, read, waiting
from taskjob.acting import pod_reader
from taskjob.config import OperatorSettings
from taskjob.core.phases import FailureClass, PodPhase
from taskjob.kube.pods import parse_pod

DISRUPTED = condition("DisruptionTarget", reason="PreemptionByScheduler", message="preempting to accommodate a pod")


@pytest.mark.parametrize(
    ("case", "status", "failure", "code", "message"),
    [
        (
            "an exit code",
            failed(ended("main", 3)),
            FailureClass.EXIT_CODE,
            3,
            'container "main" exited with code 3',
        ),
        (
            "with the first line of its own message",
            failed(ended("main", 1, message="disk full\nTraceback ...")),
            FailureClass.EXIT_CODE,
            1,
            'container "main" exited with code 1: disk full',
        ),
        (
            "a helper beside a successful main container",
            failed(ended("main", 0, "Completed"), ended("helper", 2)),
            FailureClass.EXIT_CODE,
            2,
            'container "helper" exited with code 2',
        ),
        (
            "the main container goes before one that stands first",
            failed(ended("helper", 2), ended("main", 3)),
            FailureClass.EXIT_CODE,
            3,
            'container "main" exited with code 3',
        ),
        (
            "an init container",
            failed({"name": "main", "state": {"waiting": {"reason": "PodInitializing"}}}, init=(ended("fetch", 9),)),
            FailureClass.EXIT_CODE,
            9,
            'init container "fetch" exited with code 9',
        ),
        (
            "a sidecar's end is no failure of its own",
            failed(ended("main", 3), init=(ended("sidecar", 137),)),
            FailureClass.EXIT_CODE,
            3,
            'container "main" exited with code 3',
        ),
        (
            "out of memory",
            failed(ended("main", 137, "OOMKilled")),
            FailureClass.OOM_KILLED,
            137,
            'container "main" ran out of memory',
        ),
        (
            "could not be started",
            failed(ended("main", 128, "StartError", "exec: no such file", startedAt="1970-01-01T00:00:00Z")),
            FailureClass.START_ERROR,
            128,
            'container "main" could not be started (StartError): exec: no such file',
        ),
        (
            "never let in by its node",
            failed(reason="UnexpectedAdmissionError", message="no devices left"),
            FailureClass.EVICTED,
            None,
            "UnexpectedAdmissionError: no devices left",
        ),
        ("never ran, and nobody says why", failed(), FailureClass.START_ERROR, None, "failed before any container ran"),
        (
            "its deadline, whatever the container made of it",
            failed(ended("main", 7), reason="DeadlineExceeded", message="Pod was active too long"),
            FailureClass.TIMEOUT,
            7,
            "Pod was active too long",
        ),
        (
            "its deadline, and it exited well within its grace",
            failed(ended("main", 0, "Completed"), reason="DeadlineExceeded"),
            FailureClass.TIMEOUT,
            0,
            "ran longer than its activeDeadlineSeconds",
        ),
        (
            "evicted by the kubelet",
            failed(ended("main", 137), reason="Evicted", message="The node was low on resource: memory."),
            FailureClass.EVICTED,
            137,
            "Evicted: The node was low on resource: memory.",
        ),
        (
            "preempted by the scheduler",
            failed(ended("main", 143), conditions=[DISRUPTED]),
            FailureClass.EVICTED,
            143,
            "PreemptionByScheduler: preempting to accommodate a pod",
        ),
        (
            "no room on the node after all",
            failed(reason="OutOfcpu", message="Node didn't have enough resource: cpu"),
            FailureClass.EVICTED,
            None,
            "OutOfcpu: Node didn't have enough resource: cpu",
        ),
        (
            "drained",
            failed(
                ended("main", 143),
                conditions=[condition("DisruptionTarget", reason="EvictionByEvictionAPI", message="evicting")],
            ),
            FailureClass.EVICTED,
            143,
            "EvictionByEvictionAPI: evicting",
        ),
        (
            "collected because its node is gone",
            failed(conditions=[condition("DisruptionTarget", reason="DeletionByPodGC", message="node not found")]),
            FailureClass.NODE_LOST,
            None,
            "its node was lost: node not found",
        ),
        (
            "called failed while its container runs, so not by a kubelet",
            failed({"name": "main", "state": {"running": {"startedAt": "2026-01-01T12:00:01Z"}}}),
            FailureClass.NODE_LOST,
            None,
            "its node was lost before it told of the end",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and not value[:1].isupper() else "",
)
def test_a_failure_is_classified(
    case: str, status: dict[str, Any], failure: FailureClass, code: int | None, message: str
) -> None:
    spec = {
        "initContainers": [
            {"name": "fetch", "image": "x"},
            {"name": "sidecar", "image": "x", "restartPolicy": "Always"},
        ],
        "containers": [{"name": "main", "image": "x"}, {"name": "helper", "image": "x"}],
    }
    pod = parse_pod(as_created(made(a_launch({"spec": spec})), status))
    assert (pod.phase, pod.failure, pod.exit_code, pod.message) == (PodPhase.FAILED, failure, code, message), case


@pytest.mark.parametrize(
    ("code", "grace", "asked_at", "failure"),
    [
        (1, 30, "2026-01-01T12:00:36Z", FailureClass.EXIT_CODE),  # asked a second after its end
        (1, 30, "2026-01-01T12:00:34Z", FailureClass.POD_DELETED),
        (1, 0, "2026-01-01T12:00:03Z", FailureClass.POD_DELETED),
        (143, 30, "2026-01-01T12:00:36Z", FailureClass.POD_DELETED),  # the node's clock is behind
        (137, 30, "2026-01-01T12:00:36Z", FailureClass.POD_DELETED),
        (143, 30, "2026-01-01T12:02:00Z", FailureClass.EXIT_CODE),  # killed by somebody long before
    ],
)
def test_a_pod_that_was_deleted_before_its_end_failed_of_that_and_not_of_its_exit_code(
    code: int, grace: int, asked_at: str, failure: FailureClass
) -> None:
    pod = read(failed(ended("main", code)), deletionTimestamp=asked_at, deletionGracePeriodSeconds=grace)
    assert (pod.failure, pod.exit_code) == (failure, code)


def test_a_container_that_ran_out_of_memory_before_its_pod_was_deleted_did_so() -> None:
    oom = failed(ended("main", 137, reason="OOMKilled"))
    pod = read(oom, deletionTimestamp="2026-01-01T12:00:36Z", deletionGracePeriodSeconds=30)
    assert pod.failure is FailureClass.OOM_KILLED


@pytest.mark.parametrize(
    ("status", "trouble"),
    [
        ({"phase": "Pending"}, None),
        (waiting("ContainerCreating"), None),
        (waiting("ErrImagePull"), FailureClass.IMAGE_PULL),
        (waiting("ImagePullBackOff"), FailureClass.IMAGE_PULL),
        (waiting("InvalidImageName"), FailureClass.IMAGE_PULL),
        (waiting("CreateContainerConfigError"), FailureClass.START_ERROR),
        ({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False"}]}, FailureClass.UNSCHEDULABLE),
    ],
)
def test_a_pod_that_has_not_ended_tells_what_it_would_fail_of(
    status: dict[str, Any], trouble: FailureClass | None
) -> None:
    assert read(status).trouble is trouble


def test_a_running_pod_that_is_being_evicted_says_so_before_it_ends() -> None:
    assert read({"phase": "Running", "conditions": [DISRUPTED]}).trouble is FailureClass.EVICTED


def test_what_is_taken_out_of_logs_stands_in_no_containers_last_words_either() -> None:
    settings = OperatorSettings(database_url="postgresql://x", log_redact=("^token: .*", "hunter[0-9]"))
    parse = pod_reader(settings)
    said = [
        parse(as_created(made(a_launch()), failed(ended("main", 1, message=message)))).message
        for message in ("token: abc\nand more", "a ÿ hunter2 " + "x" * 2000)
    ]
    begin = 'container "main" exited with code 1: '
    assert said[0] == begin + "[redacted]"
    assert said[1].startswith(begin + "a ÿ [redacted] xxx")
