"""The models as the API uses them: what is accepted, and how a refusal names the field."""

from __future__ import annotations

import copy
import re
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from taskjob.core import phases
from taskjob.core.amounts import QuantityError, parse
from taskjob.kube.schema import parse_job
from taskjob.resources import Condition, TaskJob, TaskJobStatus, TaskQueue, words
from taskjob.resources.pod_template import QUANTITY_PATTERN

EXAMPLES = Path(__file__).parents[2] / "examples"


def a_job(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "taskjobs.dev/v1beta1",
        "kind": "TaskJob",
        "metadata": {"name": "train", "namespace": "team"},
        "spec": {"image": "busybox"} | spec,
    }


def a_queue(**quota: Any) -> dict[str, Any]:
    return {
        "apiVersion": "taskjobs.dev/v1beta1",
        "kind": "TaskQueue",
        "metadata": {"name": "default"},
        "spec": {"quota": quota},
    }


def pod(**spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "main", "image": "busybox"}]} | spec}


def refusals(manifest: dict[str, Any], kind: type[TaskJob | TaskQueue] = TaskJob) -> dict[str, str]:
    """What is said about each field, by its path."""
    with pytest.raises(ValidationError) as refused:
        kind.model_validate(manifest)
    return {".".join(map(str, error["loc"])): error["msg"] for error in refused.value.errors()}


def test_what_is_not_said_has_its_default() -> None:
    spec = TaskJob.model_validate(a_job()).spec

    assert (spec.queue, spec.priority, spec.on_dependency_failure, spec.pod_retention) == (
        "default",
        words.Priority.NORMAL,
        words.OnDependencyFailure.SKIP,
        None,
    )
    assert (spec.retry.limit, spec.retry.backoff.initial_seconds, spec.retry.backoff.factor) == (0, 10, 2)
    assert (spec.retry.backoff.max_seconds, spec.retry.backoff.jitter_percent) == (600, 10)
    assert (spec.suspend, spec.cancel, spec.depends_on) == (False, False, [])
    assert spec.timeout_seconds is spec.deadline_seconds is spec.ttl_seconds_after_finished is None


def test_a_dependency_must_succeed_unless_it_says_otherwise() -> None:
    spec = TaskJob.model_validate(a_job(dependsOn=[{"name": "a"}, {"name": "b", "condition": "Finished"}])).spec

    assert [(one.name, one.condition) for one in spec.depends_on] == [
        ("a", words.DependencyCondition.SUCCEEDED),
        ("b", words.DependencyCondition.FINISHED),
    ]


@pytest.mark.parametrize(
    ("spec", "path", "message"),
    [
        ({"retries": 3}, "spec.retries", "Extra inputs are not permitted"),
        ({"retry": {"rules": [{}]}}, "spec.retry.rules.0.action", "Field required"),
        ({"retry": {"rules": [{"action": "Fail", "classes": []}]}}, "spec.retry.rules.0.classes", "at least 1"),
        ({"retry": {"rules": [{"action": "Fail", "classes": ["Oops"]}]}}, "spec.retry.rules.0.classes.0", "ExitCode"),
        ({"retry": {"rules": [{"action": "Fail", "exitCodes": {}}]}}, "spec.retry.rules.0.exitCodes", "either 'in'"),
        (
            {"retry": {"rules": [{"action": "Fail", "exitCodes": {"in": [0]}}]}},
            "spec.retry.rules.0.exitCodes.in.0",
            "greater than or equal to 1",
        ),
        ({"retry": {"limit": 1001}}, "spec.retry.limit", "less than or equal to 1000"),
        ({"retry": {"backoff": {"factor": 0}}}, "spec.retry.backoff.factor", "greater than or equal to 1"),
        ({"retry": {"backoff": {"factor": 1.5}}}, "spec.retry.backoff.factor", "valid integer"),
        ({"timeoutSeconds": "30"}, "spec.timeoutSeconds", "valid integer"),
        ({"timeoutSeconds": 0}, "spec.timeoutSeconds", "greater than or equal to 1"),
        ({"deadlineSeconds": 2**31}, "spec.deadlineSeconds", "less than or equal to 2147483647"),
        ({"cancel": "true"}, "spec.cancel", "valid boolean"),
        ({"priority": "Urgent"}, "spec.priority", "Critical, High, Normal, Low, or a whole number"),
        ({"priority": 1_000_001}, "spec.priority", "a whole number between -1000000 and 1000000"),
        ({"priority": True}, "spec.priority", "a whole number"),
        ({"queue": "Not A Name"}, "spec.queue", "match pattern"),
        ({"queue": "q" * 64}, "spec.queue", "at most 63 characters"),
        ({"dependsOn": [{"name": "a"}, {"condition": "Failed"}]}, "spec.dependsOn.1.name", "Field required"),
        ({"dependsOn": [{"name": "a" * 201}]}, "spec.dependsOn.0.name", "at most 200 characters"),
        ({"dependsOn": [{"name": "train"}]}, "spec.dependsOn.0.name", "cannot depend on itself"),
        ({"dependsOn": [{"name": "a"}, {"name": "a"}]}, "spec.dependsOn.1.name", "'a' is named twice"),
        ({"image": ""}, "spec.image", "at least 1 character"),
        ({"image": None}, "spec", "in exactly one way"),
        ({"template": pod()}, "spec", "in exactly one way"),
        ({"image": None, "template": pod(), "args": ["x"]}, "spec.args", "belongs to the short form"),
        ({"image": None, "template": pod(), "env": []}, "spec.env", "belongs to the short form"),
        (
            {"image": None, "template": pod(restartPolicy="OnFailure")},
            "spec.template.spec.restartPolicy",
            "must be Never",
        ),
        ({"resources": {"requests": {"cpu": 0.5}}}, "spec.resources.requests.cpu", "write a quantity"),
        ({"resources": {"limits": {"memory": "64 MB"}}}, "spec.resources.limits.memory", "write a quantity"),
        ({"resources": {"requests": {"cpu": -1}}}, "spec.resources.requests.cpu", "not negative"),
        ({"resources": {"requests": {"cpu": "1\n"}}}, "spec.resources.requests.cpu", "write a quantity"),
        ({"resources": {"requests": {"cpu": True}}}, "spec.resources.requests.cpu", "write a quantity"),
        ({"resources": {"requests": {"": 1}}}, "spec.resources.requests", "not the name of a resource"),
        ({"env": [{"name": "A", "from": "x"}]}, "spec.env.0.from", "Extra inputs are not permitted"),
    ],
)
def test_a_refusal_names_the_field(spec: dict[str, Any], path: str, message: str) -> None:
    said = refusals(a_job(**spec))

    assert message in said.get(path, ""), f"{path} should be blamed with {message!r}, but: {said}"


def test_all_that_is_wrong_with_a_spec_is_said_at_once() -> None:
    said = refusals(a_job(priority="Urgent", retry={"limit": -1}, colour="red"))

    assert set(said) == {"spec.priority", "spec.retry.limit", "spec.colour"}


def test_a_name_that_is_too_long_is_refused() -> None:
    manifest = a_job()
    manifest["metadata"]["name"] = "n" * 201

    assert "at most 200 characters" in refusals(manifest)["metadata.name"]


def test_another_kind_or_version_is_refused() -> None:
    said = refusals(a_job() | {"kind": "Job", "apiVersion": "batch/v1"})

    assert set(said) == {"kind", "apiVersion"}


def test_a_quota_takes_any_resource_and_refuses_what_is_no_quantity() -> None:
    queue = TaskQueue.model_validate(a_queue(**{"cpu": "1.5", "memory": "64Gi", "pods": 100, "nvidia.com/gpu": 4}))

    assert queue.spec.quota["nvidia.com/gpu"] == 4
    assert "write a quantity" in refusals(a_queue(cpu="many"), TaskQueue)["spec.quota.cpu"]
    assert "Extra inputs" in refusals(a_queue() | {"spec": {"cohorts": "x"}}, TaskQueue)["spec.cohorts"]


def test_the_manifest_is_what_was_said_and_no_more() -> None:
    manifest = a_job(dependsOn=[{"name": "a"}], resources={"requests": {"cpu": "10m"}}, timeoutSeconds=5)
    manifest["metadata"] |= {"labels": {"taskjobs.dev/group": "g"}, "finalizers": ["kept.example/by-others"]}

    assert TaskJob.model_validate(manifest | {"status": {"phase": "Running"}}).manifest() == manifest


def test_a_status_of_a_newer_operator_is_read_as_far_as_it_is_known() -> None:
    status = TaskJobStatus.model_validate({"phase": "Running", "startedAt": "2026-01-01T12:00:00Z", "shards": 3})

    assert status.phase is words.Phase.RUNNING
    assert status.started_at is not None
    assert status.started_at.utcoffset() is not None


def test_an_instant_without_an_offset_is_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        Condition.model_validate(
            {
                "type": "Complete",
                "status": "True",
                "reason": "Completed",
                "message": "",
                "lastTransitionTime": "2026-01-01T12:00:00",
            }
        )


names = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
quantities = st.one_of(
    st.integers(0, 2**40), st.from_regex(r"[0-9]{1,5}(\.[0-9]{1,3})?(m|k|Ki|Mi|Gi)?", fullmatch=True)
)
amounts = st.dictionaries(st.sampled_from(["cpu", "memory", "example.com/gpu"]), quantities)
seconds = st.integers(1, 2**31 - 1)
specs = st.fixed_dictionaries(
    {"image": st.text(min_size=1, max_size=20)},
    optional={
        "queue": names,
        "priority": st.sampled_from([*map(str, words.Priority), 0, -1_000_000, 1_000_000]),
        "dependsOn": st.lists(
            st.fixed_dictionaries(
                {"name": names}, optional={"condition": st.sampled_from(["Succeeded", "Failed", "Finished"])}
            ),
            unique_by=lambda one: str(one["name"]),
            max_size=5,
        ),
        "command": st.lists(st.text(max_size=10), max_size=3),
        "resources": st.fixed_dictionaries({}, optional={"requests": amounts, "limits": amounts}),
        "retry": st.fixed_dictionaries({}, optional={"limit": st.integers(0, 1000)}),
        "timeoutSeconds": seconds,
        "deadlineSeconds": seconds,
        "suspend": st.booleans(),
        "cancel": st.booleans(),
    },
)


@given(spec=specs)
def test_a_valid_manifest_comes_out_as_it_went_in(spec: dict[str, Any]) -> None:
    manifest = a_job(**spec)
    manifest["metadata"]["name"] = "0"  # no generated dependency begins with a figure
    before = copy.deepcopy(manifest)

    assert TaskJob.model_validate(manifest).manifest() == before


@given(spec=specs)
def test_the_operator_reads_a_valid_manifest_as_the_models_do(spec: dict[str, Any]) -> None:
    manifest = a_job(**spec)
    manifest["metadata"] |= {"name": "0", "uid": "u", "resourceVersion": "1", "generation": 1}

    job, said = parse_job(manifest), TaskJob.model_validate(manifest).spec

    assert job.problem is None
    priority = said.priority if isinstance(said.priority, int) else phases.PRIORITIES[said.priority]
    assert (job.queue, job.priority) == (said.queue, priority)
    assert [(one.name, str(one.condition)) for one in job.depends_on] == [
        (one.name, str(one.condition)) for one in said.depends_on
    ]
    assert (job.retrying.limit, job.retrying.initial_seconds, job.retrying.factor) == (
        said.retry.limit,
        said.retry.backoff.initial_seconds,
        said.retry.backoff.factor,
    )
    assert (job.retrying.max_seconds, job.retrying.jitter_percent) == (
        said.retry.backoff.max_seconds,
        said.retry.backoff.jitter_percent,
    )
    assert (job.timeout_seconds, job.deadline_seconds) == (said.timeout_seconds, said.deadline_seconds)
    assert (job.suspend, job.cancel, job.pod_retention) == (said.suspend, said.cancel, said.pod_retention)
    assert str(job.on_dependency_failure) == said.on_dependency_failure


@given(text=st.text("0123456789.+-eEKMGTPimnuk ", max_size=8) | st.from_regex(QUANTITY_PATTERN, fullmatch=True))
def test_the_schema_takes_the_quantities_that_the_core_can_read(text: str) -> None:
    assume(len(text) <= 64)
    accepted = re.fullmatch(QUANTITY_PATTERN, text) is not None
    refusal = ""
    try:
        parse("example.com/gpu", text)
    except QuantityError as error:
        refusal = str(error)

    if accepted:  # the schema cannot know how large is too large
        assert not refusal or "large" in refusal, f"the schema takes {text!r}, the core: {refusal}"
    else:  # -0 is nothing, and nobody writes it
        assert refusal or text.startswith("-"), f"the core reads {text!r}, the schema refuses it"


@pytest.mark.parametrize(
    ("of_the_resource", "of_the_core"),
    [
        (words.Phase, phases.Phase),
        (words.DependencyCondition, phases.Condition),
        (words.OnDependencyFailure, phases.OnDependencyFailure),
        (words.PodRetention, phases.PodRetention),
        (words.Stopping, phases.Stopping),
        (words.StopPolicy, phases.StopPolicy),
        (words.SelectorOperator, phases.SelectorOperator),
        (words.Preempt, phases.Preempt),
        (words.FailureClass, phases.FailureClass),
        (words.RetryAction, phases.RetryAction),
    ],
)
def test_the_schema_and_the_core_have_the_same_words(
    of_the_resource: type[StrEnum], of_the_core: type[StrEnum]
) -> None:
    assert list(map(str, of_the_resource)) == list(map(str, of_the_core))


def test_the_schema_and_the_core_agree_on_priorities_and_terminal_phases() -> None:
    assert list(map(str, words.Priority)) == sorted(phases.PRIORITIES, key=lambda name: -phases.PRIORITIES[name])
    assert set(map(str, words.TERMINAL_PHASES)) == set(map(str, phases.TERMINAL))


def documents() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{path.name}: {document['kind']} {document['metadata']['name']}", document)
        for path in sorted(EXAMPLES.glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
    ]


@pytest.mark.parametrize("document", [pytest.param(one, id=title) for title, one in documents()])
def test_each_example_is_valid(document: dict[str, Any]) -> None:
    kinds: dict[str, type[TaskJob | TaskQueue]] = {"TaskJob": TaskJob, "TaskQueue": TaskQueue}
    kind = kinds[document["kind"]]

    assert kind.model_validate(document).manifest() == document


def test_no_two_examples_have_the_same_name() -> None:
    names = [(one["kind"], one["metadata"]["name"]) for _, one in documents()]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_each_example_begins_with_a_comment_and_says_how_its_jobs_end(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("# "), "the first line should say what the example shows"

    promised = dict(
        one.split() for line in text.splitlines() if line.startswith("# Ends: ") for one in line[8:].split(", ")
    )
    jobs = {one["metadata"]["name"] for one in yaml.safe_load_all(text) if one["kind"] == "TaskJob"}

    assert promised.keys() == jobs
    assert set(promised.values()) <= set(map(str, words.Phase))
