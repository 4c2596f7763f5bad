"""Pods: an attempt's manifest, and what became of a pod."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import a_job
from taskjob.core.decisions import Launch
from taskjob.core.model import AttemptId, Job, JobName, PodTemplate, QueueName, Uid
from taskjob.core.phases import FailureClass, PodPhase
from taskjob.kube.pods import manifest, parse_pod, pod_name
from taskjob.kube.schema import UnusableObjectError

POD_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
JOB_NAMES = st.from_regex(
    r"[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?){0,3}", fullmatch=True
)
TEMPLATE = {"spec": {"containers": [{"name": "main", "image": "busybox"}]}}


def a_launch(template: Any = TEMPLATE, deadline: int | None = None, attempt: int = 1, **job: Any) -> Launch:
    body = PodTemplate(json.dumps(template).encode())
    made = replace(a_job("train").build(), template=body, **job)
    return Launch(made, AttemptId(made.uid, 2, 0, attempt), deadline)


def made(launch: Launch, epoch: int = 7) -> dict[str, Any]:
    body = json.loads(manifest(launch, epoch))
    assert isinstance(body, dict)
    return body


# ---------------------------------------------------------------- names
def test_a_pods_name_shows_its_job_and_attempt() -> None:
    name = pod_name("train", AttemptId(Uid("u"), 0, 0, 12))
    assert re.fullmatch(r"train-[a-z0-9]{5}-12", name)


@given(JOB_NAMES, st.text(min_size=1, max_size=36), st.integers(0, 10**9), st.integers(0, 10**6), st.integers(1, 10**9))
def test_a_pods_name_is_a_valid_hostname_and_depends_on_nothing_else(
    job: str, uid: str, run: int, member: int, attempt: int
) -> None:
    identity = AttemptId(Uid(uid), run, member, attempt)
    name = pod_name(job, identity)
    assert POD_NAME.fullmatch(name)
    assert name.endswith(f"-{attempt}")
    assert name == pod_name(job, identity)


def test_jobs_runs_members_and_attempts_have_different_names() -> None:
    identities = [
        AttemptId(Uid(uid), run, member, attempt)
        for uid in ("a", "b")
        for run in (0, 1)
        for member in (0, 1)
        for attempt in (1, 2)
    ]
    assert len({pod_name("train", identity) for identity in identities}) == len(identities)


# ---------------------------------------------------------------- the manifest
def test_a_manifest_carries_the_identity_in_clear() -> None:
    pod = made(a_launch(attempt=3), epoch=7)
    meta = pod["metadata"]
    assert (pod["apiVersion"], pod["kind"]) == ("v1", "Pod")
    assert meta["namespace"] == "team"
    assert meta["labels"] == {
        "taskjobs.dev/job-uid": "uid-train",
        "taskjobs.dev/job-name": "train",
        "taskjobs.dev/run": "2",
        "taskjobs.dev/member": "0",
        "taskjobs.dev/attempt": "3",
        "taskjobs.dev/queue": "default",
    }
    assert meta["annotations"] == {"taskjobs.dev/epoch": "7"}
    assert meta["ownerReferences"] == [
        {
            "apiVersion": "taskjobs.dev/v1beta1",
            "kind": "TaskJob",
            "name": "train",
            "uid": "uid-train",
            "controller": True,
            "blockOwnerDeletion": False,
        }
    ]


def test_labels_of_the_template_stay_but_not_over_ours() -> None:
    template = {
        **TEMPLATE,
        "metadata": {
            "labels": {"app": "x", "taskjobs.dev/attempt": "99"},
            "annotations": {"note": "y", "taskjobs.dev/epoch": "99"},
        },
    }
    meta = made(a_launch(template))["metadata"]
    assert meta["labels"]["app"] == "x"
    assert meta["labels"]["taskjobs.dev/attempt"] == "1"
    assert meta["annotations"] == {"note": "y", "taskjobs.dev/epoch": "7"}


def test_the_group_of_a_job_is_the_group_of_its_pods() -> None:
    launch = a_launch(labels=(("taskjobs.dev/group", "nightly"), ("other", "x")))
    labels = made(launch)["metadata"]["labels"]
    assert labels["taskjobs.dev/group"] == "nightly"
    assert "other" not in labels


def test_a_name_too_long_for_a_label_stands_as_an_annotation_and_is_read_back() -> None:
    long = JobName("a" * 100 + "." + "b" * 99)
    pod = made(a_launch(name=long, queue=QueueName("q" * 100)))
    assert all(LABEL_VALUE.fullmatch(value) for value in pod["metadata"]["labels"].values())
    found = parse_pod(as_created(pod))
    assert (found.job_name, found.queue) == (long, "q" * 100)


def test_a_pod_is_never_restarted_by_the_kubelet() -> None:
    template = {"spec": {**TEMPLATE["spec"], "restartPolicy": "Always"}}
    assert made(a_launch(template))["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize(
    ("template", "launch", "least"), [(None, None, None), (60, None, 60), (None, 90, 90), (60, 90, 60), (90, 60, 60)]
)
def test_of_two_deadlines_the_earlier_counts(template: int | None, launch: int | None, least: int | None) -> None:
    spec: dict[str, Any] = {**TEMPLATE["spec"]}
    if template is not None:
        spec["activeDeadlineSeconds"] = template
    assert made(a_launch({"spec": spec}, launch))["spec"].get("activeDeadlineSeconds") == least


def test_every_container_learns_what_it_belongs_to_unless_it_defines_it_itself() -> None:
    spec = {
        "initContainers": [{"name": "init", "image": "x"}],
        "containers": [
            {"name": "main", "image": "x", "env": [{"name": "ME", "value": "$(TASKJOB_NAME)"}]},
            {"name": "own", "image": "x", "env": [{"name": "TASKJOB_ATTEMPT", "value": "mine"}]},
        ],
    }
    pod = made(a_launch({"spec": spec}, attempt=4))["spec"]
    ours = {
        "TASKJOB_NAME": "train",
        "TASKJOB_NAMESPACE": "team",
        "TASKJOB_UID": "uid-train",
        "TASKJOB_RUN": "2",
        "TASKJOB_ATTEMPT": "4",
    }
    variables = [
        {item["name"]: item["value"] for item in container["env"]}
        for container in (*pod["initContainers"], *pod["containers"])
    ]
    assert variables == [ours, {**ours, "ME": "$(TASKJOB_NAME)"}, {**ours, "TASKJOB_ATTEMPT": "mine"}]
    assert list(variables[1])[-1] == "ME", "a variable may refer only to those before it"


def test_a_template_that_is_none_cannot_be_launched() -> None:
    with pytest.raises(ValueError, match="no containers"):
        manifest(a_launch({}), 7)


# ---------------------------------------------------------------- what became of a pod
def as_created(pod: dict[str, Any], status: Any = None) -> bytes:
    meta = {**pod["metadata"], "uid": "p-1", "resourceVersion": "9", "creationTimestamp": "2026-01-01T12:00:00Z"}
    return json.dumps({**pod, "metadata": meta, "status": status or {"phase": "Pending"}}).encode()


def instants(started: str, finished: str) -> dict[str, Any]:
    at = "2026-01-01T12:00:"
    return {"startedAt": f"{at}{started}Z", "finishedAt": f"{at}{finished}Z"}


def ended(name: str, code: int, reason: str = "Error", message: str | None = None, **at: Any) -> dict[str, Any]:
    end = {"exitCode": code, "reason": reason, "message": message, **(at or instants("01", "05"))}
    return {"name": name, "state": {"terminated": end}}


def failed(*containers: dict[str, Any], init: tuple[dict[str, Any], ...] = (), **status: Any) -> dict[str, Any]:
    return {
        "phase": "Failed",
        "containerStatuses": list(containers),
        "initContainerStatuses": list(init),
        **status,
    }


def condition(kind: str, **fields: str) -> dict[str, str]:
    return {"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T12:00:09Z", **fields}


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


def waiting(reason: str) -> dict[str, Any]:
    return {"phase": "Pending", "containerStatuses": [{"name": "main", "state": {"waiting": {"reason": reason}}}]}


def read(status: Any, **meta: Any) -> Any:
    pod = made(a_launch())
    pod["metadata"].update(meta)
    return parse_pod(as_created(pod, status))


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


@pytest.mark.parametrize(
    ("grace", "asked_at", "failure"),
    [
        (30, "2026-01-01T12:00:36Z", FailureClass.EXIT_CODE),  # asked a second after its end
        (30, "2026-01-01T12:00:34Z", FailureClass.POD_DELETED),
        (0, "2026-01-01T12:00:03Z", FailureClass.POD_DELETED),
    ],
)
def test_a_pod_that_was_deleted_before_its_end_failed_of_that_and_not_of_its_exit_code(
    grace: int, asked_at: str, failure: FailureClass
) -> None:
    pod = read(failed(ended("main", 143)), deletionTimestamp=asked_at, deletionGracePeriodSeconds=grace)
    assert (pod.failure, pod.exit_code) == (failure, 143)


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


def test_a_pod_of_an_unknown_phase_counts_as_running() -> None:
    assert read({"phase": "Unknown"}).phase is PodPhase.RUNNING


def test_a_pod_that_is_being_deleted_says_so() -> None:
    assert read({"phase": "Running"}, deletionTimestamp="2026-01-01T12:00:01Z").deleting


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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
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
