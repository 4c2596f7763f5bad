"""Pods out: an attempt's manifest, and the names of pods."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pod_objects import TEMPLATE, a_launch, as_created, made
from taskjob.core.model import AttemptId, JobName, QueueName, Uid
from taskjob.kube.pods import manifest, parse_pod, pod_name

POD_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
JOB_NAMES = st.from_regex(
    r"[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?){0,3}", fullmatch=True
)


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
