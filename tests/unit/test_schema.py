"""TaskJobs as JSON to core values, whatever stands in the JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from odd_json import JSON
from task_objects import STATUS_FIELDS, an_object, with_rule, with_spec
from taskjob.core.model import (
    Dependency,
    Job,
    JobName,
    QueueName,
    Retry,
    RetryRule,
    Status,
)
from taskjob.core.phases import (
    Condition,
    FailureClass,
    OnDependencyFailure,
    PodRetention,
    RetryAction,
)
from taskjob.kube import templates
from taskjob.kube.patches import status_update
from taskjob.kube.schema import UnusableObjectError, parse_job

NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


# ---------------------------------------------------------------- reading what is right
def test_a_full_spec_is_read() -> None:
    job = parse_job(
        an_object(
            {
                "queue": "research",
                "priority": "High",
                "dependsOn": [{"name": "extract"}, {"name": "check", "condition": "Failed"}],
                "onDependencyFailure": "Wait",
                "template": {
                    "metadata": {"labels": {"a": "b"}},
                    "spec": {
                        "terminationGracePeriodSeconds": 5,
                        "containers": [{"name": "m", "image": "x", "resources": {"requests": {"cpu": "100m"}}}],
                    },
                },
                "retry": {
                    "limit": 3,
                    "backoff": {"initialSeconds": 1, "factor": 3, "maxSeconds": 9, "jitterPercent": 0},
                    "rules": [
                        {"action": "Fail", "exitCodes": {"in": [2, 3]}, "container": "m"},
                        {"action": "Retry", "classes": ["ExitCode", "OOMKilled"], "exitCodes": {"notIn": [4]}},
                        {"action": "Succeed"},
                    ],
                    "allowOverlap": True,
                },
                "timeoutSeconds": 60,
                "deadlineSeconds": 600,
                "queueTimeoutSeconds": 45,
                "startTimeoutSeconds": 30,
                "suspend": True,
                "cancel": True,
                "rerun": 2,
                "ttlSecondsAfterFinished": 0,
                "podRetention": "KeepFailed",
            },
            labels={"z": "1", "a": "2"},
            deletionTimestamp="2026-01-01T12:00:01Z",
        )
    )
    assert job == Job(
        uid=job.uid,
        namespace=job.namespace,
        name=JobName("train"),
        version=42,
        generation=3,
        created_at=NOON,
        queue=QueueName("research"),
        priority=100,
        request=(("cpu", 100), ("pods", 1)),
        template=job.template,
        labels=(("a", "2"), ("z", "1")),
        depends_on=(Dependency(JobName("extract")), Dependency(JobName("check"), Condition.FAILED)),
        on_dependency_failure=OnDependencyFailure.WAIT,
        retry=Retry(
            *(3, 1, 3, 9, 0),
            rules=(
                RetryRule(RetryAction.FAIL, exit_codes=(2, 3), container="m"),
                RetryRule(RetryAction.RETRY, (FailureClass.EXIT_CODE, FailureClass.OOM_KILLED), (4,), True),
                RetryRule(RetryAction.SUCCEED),
            ),
            allow_overlap=True,
        ),
        timeout_seconds=60,
        deadline_seconds=600,
        queue_timeout_seconds=45,
        start_timeout_seconds=30,
        suspend=True,
        cancel=True,
        rerun=2,
        ttl_seconds=0,
        pod_retention=PodRetention.KEEP_FAILED,
        deleting=True,
        problem=None,
        status=Status(),
    )
    assert (job.uid, job.namespace) == ("u-1", "team-a")


def test_what_is_not_said_has_its_default() -> None:
    job = parse_job(an_object())
    assert (job.queue, job.priority, job.retry) == ("default", 0, None)
    assert (job.timeout_seconds, job.deadline_seconds, job.ttl_seconds) == (None, None, None)
    assert (job.suspend, job.cancel, job.deleting) == (False, False, False)
    assert (job.on_dependency_failure, job.pod_retention) == (OnDependencyFailure.SKIP, None)
    assert job.request == (("pods", 1),)
    assert job.problem is None


def test_the_short_form_becomes_a_template_with_one_container() -> None:
    job = parse_job(
        with_spec(
            command=["sh"],
            args=["-c", "true"],
            env=[{"name": "A", "value": "1"}],
            resources={"limits": {"cpu": "1"}},
        )
    )
    assert json.loads(job.template) == {
        "spec": {
            "containers": [
                {
                    "name": "main",
                    "image": "busybox",
                    "command": ["sh"],
                    "args": ["-c", "true"],
                    "env": [{"name": "A", "value": "1"}],
                    "resources": {"limits": {"cpu": "1"}},
                }
            ]
        }
    }
    assert job.request == (("cpu", 1000), ("pods", 1))


def test_equal_templates_are_one_object() -> None:
    one, other = (parse_job(with_spec(command=["true"])) for _ in range(2))
    assert one.template is other.template


def test_the_templates_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "TEMPLATES_KEPT", 3)
    templates._templates.clear()
    kept = parse_job(with_spec(command=["kept"])).template
    for n in range(10):
        parse_job(with_spec(command=[str(n)]))
        assert parse_job(with_spec(command=["kept"])).template is kept, "what is used stays"
    assert len(templates._templates) == 3


def test_a_dependency_that_is_named_twice_counts_once() -> None:
    job = parse_job(with_spec(dependsOn=[{"name": "a"}, {"name": "a", "condition": "Succeeded"}]))
    assert job.depends_on == (Dependency(JobName("a")),)


@pytest.mark.parametrize(("said", "priority"), [("High", 100), (250, 250), (-1_000_000, -1_000_000), (None, 0)])
def test_a_priority_is_a_name_or_a_number_on_the_same_scale(said: object, priority: int) -> None:
    job = parse_job(with_spec(priority=said))
    assert (job.priority, job.problem) == (priority, None)


@pytest.mark.parametrize("said", [1_000_001, -1_000_001, True, 1.5, "100"])
def test_a_priority_that_is_neither_is_complained_of(said: object) -> None:
    assert (parse_job(with_spec(priority=said)).problem or "").startswith("spec.priority: ")


# ---------------------------------------------------------------- reading what is wrong
@pytest.mark.parametrize(
    ("obj", "problem"),
    [
        (an_object("x"), 'spec: "x" is not an object'),
        (an_object({}), "spec.image: is missing"),
        (an_object({"image": 3}), "spec.image: 3 is not an image"),
        (an_object({"image": "a", "template": {}}), "spec.template: is given beside spec.image: one of both is needed"),
        (an_object({"template": []}), "spec.template: a list is not an object"),
        (an_object({"template": {}}), "spec.template.spec.containers: is missing"),
        (an_object({"template": {"spec": {"containers": []}}}), "spec.template.spec.containers: is missing"),
        (
            an_object({"template": {"spec": {"containers": [7]}}}),
            "spec.template.spec.containers[0]: Expected `object`, got `int`",
        ),
        (
            an_object({"template": {"metadata": {"labels": {"a": 1}}, "spec": {"containers": [{}]}}}),
            "spec.template.metadata.labels[...]: Expected `str`, got `int`",
        ),
        (
            an_object({"template": {"spec": {"containers": [{"resources": {"requests": {"cpu": "much"}}}]}}}),
            'spec.template.spec.containers[0].resources.requests[cpu]: "much" is not a quantity',
        ),
        (with_spec(resources={"limits": {"cpu": "-1"}}), 'spec.resources.limits[cpu]: "-1" is negative'),
        (with_spec(resources=5), "spec.resources: Expected `object | null`, got `int`"),
        (with_spec(queue=7), "spec.queue: 7 is not a text"),
        (with_spec(queue=""), 'spec.queue: "" is not a text'),
        (
            with_spec(priority="Urgent"),
            'spec.priority: "Urgent" is not one of Critical, High, Normal, Low, nor a whole number up to 1000000',
        ),
        (
            with_spec(priority=["High"]),
            "spec.priority: a list is not one of Critical, High, Normal, Low, nor a whole number up to 1000000",
        ),
        (with_spec(dependsOn={}), "spec.dependsOn: an object is not a list"),
        (with_spec(dependsOn=["a"]), 'spec.dependsOn[0]: "a" is not an object'),
        (with_spec(dependsOn=[{"name": "a"}, {}]), "spec.dependsOn[1].name: is missing"),
        (
            with_spec(dependsOn=[{"name": "a", "condition": "Won"}]),
            'spec.dependsOn[0].condition: "Won" is not one of Succeeded, Failed, Finished',
        ),
        (with_spec(onDependencyFailure=1), "spec.onDependencyFailure: 1 is not one of Skip, Fail, Wait"),
        (with_spec(retry={"limit": "x"}), 'spec.retry.limit: "x" is not an integer'),
        (with_spec(retry={"limit": True}), "spec.retry.limit: true is not an integer"),
        (with_spec(retry={"limit": -1}), "spec.retry.limit: -1 is not between 0 and 2147483647"),
        (with_spec(retry={"backoff": {"factor": 0}}), "spec.retry.backoff.factor: 0 is not between 1 and 2147483647"),
        (with_spec(retry={"rules": {}}), "spec.retry.rules: an object is not a list"),
        (with_spec(retry={"rules": [{}, 1]}), "spec.retry.rules[0].action: is missing"),
        (with_spec(retry={"rules": [1]}), "spec.retry.rules[0]: 1 is not an object"),
        (with_rule(action="Hope"), 'spec.retry.rules[0].action: "Hope" is not one of Retry, RetryFree, Fail, Succeed'),
        (with_rule(classes="Evicted"), 'spec.retry.rules[0].classes: "Evicted" is not a list'),
        (with_rule(exitCodes={"in": [1], "notIn": [1]}), "spec.retry.rules[0].exitCodes: needs either 'in' or 'notIn'"),
        (with_rule(exitCodes={"in": ["1"]}), "spec.retry.rules[0].exitCodes.in: is not a list of integers"),
        (with_rule(container=[]), "spec.retry.rules[0].container: a list is not a text"),
        (with_spec(timeoutSeconds=1.5), "spec.timeoutSeconds: 1.5 is not an integer"),
        (with_spec(deadlineSeconds=0), "spec.deadlineSeconds: 0 is not between 1 and 2147483647"),
        (with_spec(suspend="yes"), 'spec.suspend: "yes" is not true or false'),
        (with_spec(podRetention="Never"), 'spec.podRetention: "Never" is not one of Delete, KeepFailed, Keep'),
        (an_object(status={"phase": "Flying"}), 'status.phase: "Flying" is not a phase'),
        (an_object(status={"attempt": "2"}), 'status.attempt: "2" is not an integer'),
    ],
)
def test_a_field_that_cannot_be_used_is_named(obj: dict[str, Any], problem: str) -> None:
    assert parse_job(obj).problem == problem


def test_the_first_of_several_problems_is_told_and_the_rest_has_safe_values() -> None:
    job = parse_job(with_spec(queue=7, suspend="yes", retry="often", timeoutSeconds=90))
    assert job.problem == 'spec.retry: "often" is not an object'
    assert (job.queue, job.suspend, job.retry, job.timeout_seconds) == ("default", False, Retry(), 90)


@pytest.mark.parametrize("meta", [{"uid": ""}, {"uid": None}, {"name": 3}, {"namespace": None}, {"namespace": ""}])
def test_an_object_that_cannot_even_be_reported_on_raises(meta: dict[str, Any]) -> None:
    with pytest.raises(UnusableObjectError):
        parse_job(an_object(**meta))


SPEC_FIELDS = [
    *("queue", "priority", "dependsOn", "onDependencyFailure", "template", "image", "command", "args", "env"),
    *("resources", "retry", "startTimeoutSeconds", "timeoutSeconds", "deadlineSeconds", "suspend", "cancel", "rerun"),
    *("ttlSecondsAfterFinished", "podRetention", "concurrency", "queueTimeoutSeconds"),
]
INNER_FIELDS = st.sampled_from(
    [*SPEC_FIELDS, *STATUS_FIELDS, "spec", "containers", "initContainers", "requests", "limits", "backoff", "limit"]
)
NESTED = st.recursive(
    JSON, lambda inner: st.dictionaries(INNER_FIELDS, inner, max_size=4) | st.lists(inner, max_size=2), max_leaves=12
)


@settings(max_examples=400)
@given(
    st.dictionaries(st.sampled_from(SPEC_FIELDS), NESTED, max_size=6) | JSON,
    st.dictionaries(st.sampled_from(STATUS_FIELDS), NESTED, max_size=6) | JSON,
    st.dictionaries(
        st.sampled_from(["labels", "resourceVersion", "generation", "creationTimestamp"]), NESTED, max_size=3
    ),
)
def test_no_content_however_odd_makes_reading_fail(spec: Any, status: Any, meta: dict[str, Any]) -> None:
    job = parse_job(an_object(spec, status, **meta))
    assert job.uid == "u-1"
    assert hash(job) == hash(job), "every part is frozen"
    assert dict(job.request)["pods"] == 1
    assert min(job.version, job.generation, job.status.run, job.status.attempt, job.retrying.limit) >= 0
    assert json.loads(status_update(job, job.status, 1))["status"]["phase"] == job.status.phase
