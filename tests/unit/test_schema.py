"""TaskJobs and TaskQueues as JSON to core values and back; whatever stands in the JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskjob.core.decisions import QueueCondition, SetQueueStatus
from taskjob.core.model import (
    CohortName,
    Dependency,
    Job,
    JobName,
    ObservedCondition,
    Queue,
    QueueName,
    QuotaFromNodes,
    Retry,
    RetryRule,
    Status,
)
from taskjob.core.pending import hold
from taskjob.core.phases import (
    Condition,
    FailureClass,
    OnDependencyFailure,
    Phase,
    PodRetention,
    Preempt,
    Reason,
    RetryAction,
    Stopping,
    StopPolicy,
    Strategy,
)
from taskjob.kube import templates
from taskjob.kube.fields import LONGEST_MESSAGE, instant, rfc3339
from taskjob.kube.schema import (
    UnusableObjectError,
    parse_job,
    parse_queue,
    queue_status_patch,
    status_patch,
)
from taskjob.resources.generate import taskjob_crd
from taskjob.resources.structural import at

NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def an_object(spec: Any = None, status: Any = None, **meta: Any) -> dict[str, Any]:
    obj: dict[str, Any] = {
        "apiVersion": "taskjobs.dev/v1beta1",
        "kind": "TaskJob",
        "metadata": {
            "name": "train",
            "namespace": "team-a",
            "uid": "u-1",
            "resourceVersion": "42",
            "generation": 3,
            "creationTimestamp": "2026-01-01T12:00:00Z",
            **meta,
        },
        "spec": {"image": "busybox"} if spec is None else spec,
    }
    if status is not None:
        obj["status"] = status
    return obj


def with_rule(**rule: Any) -> dict[str, Any]:
    return with_spec(retry={"rules": [{"action": "Fail", **rule}]})


def with_spec(**spec: Any) -> dict[str, Any]:
    return an_object({"image": "busybox", **spec})


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
        grace_seconds=5,
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
    assert (job.request, job.grace_seconds) == ((("pods", 1),), 30)
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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
SPEC_FIELDS = [
    *("queue", "priority", "dependsOn", "onDependencyFailure", "template", "image", "command", "args", "env"),
    *("resources", "retry", "startTimeoutSeconds", "timeoutSeconds", "deadlineSeconds", "suspend", "cancel", "rerun"),
    *("ttlSecondsAfterFinished", "podRetention", "concurrency", "queueTimeoutSeconds"),
]
STATUS_FIELDS = [
    *("phase", "reason", "message", "conditions", "run", "attempt", "retries", "epoch", "transition", "stopping"),
    *("queuedAt", "startedAt", "finishedAt", "notBefore", "podName", "nodeName", "exitCode", "observedGeneration"),
    *("runAt", "previousPhase"),
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
    assert json.loads(status_patch(job, job.status, 1))["status"]["phase"] == job.status.phase


@given(JSON, JSON)
def test_no_queue_however_odd_makes_reading_fail(spec: Any, quota: Any) -> None:
    for odd in (spec, {"quota": quota}):
        queue = parse_queue({"metadata": {"name": "q", "uid": "u"}, "spec": odd})
        assert all(amount >= 0 for _, amount in queue.quota)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"quotaFromNodes": []}, "spec.quotaFromNodes: a list is not an object"),
        ({"quotaFromNodes": {"percent": "90"}}, 'spec.quotaFromNodes.percent: "90" is not an integer'),
        ({"quotaFromNodes": {"percent": 101}}, "spec.quotaFromNodes.percent: 101 is more than 100"),
        ({"quotaFromNodes": {"nodeSelector": {"a": 1}}}, "spec.quotaFromNodes.nodeSelector[a]: 1 is not a text"),
        ({"quotaFromNodes": {}, "quota": {"cpu": 1}}, "spec.quotaFromNodes: stands beside spec.quota"),
    ],
)
def test_a_quota_from_nodes_that_cannot_be_used_is_complained_of(spec: Any, problem: str) -> None:
    assert (parse_queue({"metadata": {"name": "q", "uid": "u"}, "spec": spec}).problem or "").startswith(problem)


def test_a_quota_from_nodes_is_read() -> None:
    spec = {"quotaFromNodes": {"percent": 90, "nodeSelector": {"pool": "gpu"}}}
    queue = parse_queue({"metadata": {"name": "q", "uid": "u"}, "spec": spec})
    assert queue.quota_from_nodes == QuotaFromNodes(90, (("pool", "gpu"),))
    assert parse_queue({"metadata": {"name": "q", "uid": "u"}, "spec": {"quotaFromNodes": {}}}).quota_from_nodes == (
        QuotaFromNodes(100)
    )


def test_a_queue_is_read_with_all_that_it_says_of_its_cohort_and_its_order() -> None:
    spec = {
        "cohort": "research",
        "borrowingLimit": {"cpu": "10"},
        "lendingLimit": {},
        "weight": 3,
        "strategy": "StrictFIFO",
        "reserveAfterSeconds": 5,
        "agingSeconds": 600,
        "maxRunning": 7,
        "maxStartsPerSecond": 2,
    }
    assert parse_queue({"metadata": {"name": "q", "uid": "u"}, "spec": spec}) == Queue(
        QueueName("q"),
        cohort=CohortName("research"),
        borrowing_limit=(("cpu", 10_000),),
        lending_limit=(),
        weight=3,
        strategy=Strategy.STRICT_FIFO,
        reserve_after_seconds=5,
        aging_seconds=600,
        max_running=7,
        max_starts_per_second=2,
    )


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("cohort", 7, "spec.cohort: 7 is not a text"),
        ("borrowingLimit", {"cpu": "lots"}, 'spec.borrowingLimit[cpu]: "lots" is not a quantity'),
        ("lendingLimit", [], "spec.lendingLimit: a list is not an object"),
        ("weight", 0, "spec.weight: 0 is not between 1 and 2147483647"),
        ("strategy", "LIFO", 'spec.strategy: "LIFO" is not one of StrictFIFO, BestEffortFIFO'),
        ("maxRunning", -1, "spec.maxRunning: -1 is not between 0 and 2147483647"),
    ],
)
def test_a_queues_field_that_cannot_be_used_is_named(field: str, value: Any, problem: str) -> None:
    assert parse_queue({"metadata": {"name": "q", "uid": "u"}, "spec": {field: value}}).problem == problem


@pytest.mark.parametrize(("said", "priority"), [("High", 100), (250, 250), (-1_000_000, -1_000_000), (None, 0)])
def test_a_priority_is_a_name_or_a_number_on_the_same_scale(said: object, priority: int) -> None:
    job = parse_job(with_spec(priority=said))
    assert (job.priority, job.problem) == (priority, None)


@pytest.mark.parametrize("said", [1_000_001, -1_000_001, True, 1.5, "100"])
def test_a_priority_that_is_neither_is_complained_of(said: object) -> None:
    assert (parse_job(with_spec(priority=said)).problem or "").startswith("spec.priority: ")


def test_a_queue_is_read_with_its_quota() -> None:
    queue = parse_queue(
        {
            "metadata": {"name": "default", "uid": "u", "resourceVersion": "7", "generation": 2},
            "spec": {"quota": {"memory": "64Gi", "cpu": "20", "pods": 100}},
        }
    )
    assert queue == Queue(QueueName("default"), 7, 2, (("cpu", 20_000), ("memory", 64 * 2**30), ("pods", 100)))


def test_a_quota_that_cannot_be_used_is_named() -> None:
    queue = parse_queue({"metadata": {"name": "q", "uid": "u"}, "spec": {"quota": {"cpu": "lots", "pods": 1}}})
    assert queue.problem == 'spec.quota[cpu]: "lots" is not a quantity'
    assert queue.quota == (("pods", 1),)


def test_a_queue_is_read_with_its_stop_policy() -> None:
    queue = parse_queue({"metadata": {"name": "q", "uid": "u"}, "spec": {"stopPolicy": "HoldAndDrain"}})
    assert queue.stop_policy is StopPolicy.HOLD_AND_DRAIN


def test_a_queue_is_read_with_its_rules_of_preemption() -> None:
    rules = {"withinQueue": "LowerPriority", "reclaimWithinCohort": "Any", "minRuntimeSeconds": 5}
    queue = parse_queue({"metadata": {"name": "q", "uid": "u"}, "spec": {"preemption": rules}})
    assert (queue.preemption_within_queue, queue.preemption_reclaim) == (Preempt.LOWER_PRIORITY, Preempt.ANY)
    assert (queue.min_runtime_seconds, queue.problem) == (5, None)


@pytest.mark.parametrize(
    ("rules", "problem"),
    [
        ({"withinQueue": "Always"}, 'spec.preemption.withinQueue: "Always" is not one of Never, LowerPriority, Any'),
        ({"minRuntimeSeconds": -1}, "spec.preemption.minRuntimeSeconds: -1 is not between 0 and 2147483647"),
        (7, "spec.preemption: 7 is not an object"),
    ],
)
def test_a_rule_of_preemption_that_cannot_be_used_is_named(rules: Any, problem: str) -> None:
    queue = parse_queue({"metadata": {"name": "q", "uid": "u"}, "spec": {"preemption": rules}})
    assert queue.problem == problem


def test_a_queue_with_an_unknown_stop_policy_says_so() -> None:
    queue = parse_queue({"metadata": {"name": "q", "uid": "u"}, "spec": {"stopPolicy": "Halt"}})
    assert queue.problem == 'spec.stopPolicy: "Halt" is not one of None, Hold, HoldAndDrain'


# ---------------------------------------------------------------- status, out and in
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


def patched(status: Status, job: Job | None = None) -> dict[str, Any]:
    patch = json.loads(status_patch(job or parse_job(an_object()), status, 9))
    assert isinstance(patch, dict)
    return patch


@given(STATUSES)
def test_a_status_that_is_written_is_read_back(status: Status) -> None:
    written = {name: value for name, value in patched(status)["status"].items() if value is not None}
    expected = replace(status, admitted_at=None) if status.phase is Phase.PENDING else status
    assert parse_job(an_object(status=written)).status == expected


@given(STATUSES, STATUSES)
def test_a_patch_leaves_nothing_of_the_status_before(before: Status, after: Status) -> None:
    assert patched(before)["status"].keys() == patched(after)["status"].keys() == set(STATUS_FIELDS)


def test_a_patch_names_the_version_it_was_decided_from_and_the_writers_epoch() -> None:
    patch = patched(Status(epoch=3))
    assert patch["metadata"] == {"resourceVersion": "42"}
    assert patch["status"]["epoch"] == 9


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
    written = patched(status)["status"]["conditions"]
    found = {c["type"]: (c["status"], instant(c["lastTransitionTime"]), c["reason"]) for c in written}
    assert found == conditions
    assert all(c["observedGeneration"] == status.observed_generation for c in written)


def test_a_reason_of_a_newer_version_is_read_as_the_ordinary_one() -> None:
    job = parse_job(an_object(status={"phase": "Failed", "reason": "AteByWolves"}))
    assert (job.status.reason, job.problem) == (Reason.ATTEMPT_FAILED, None)


def test_an_endless_message_is_cut() -> None:
    status = patched(Status(message="x" * 5000))["status"]
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


# ---------------------------------------------------------------- instants
@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-01-01T12:00:00Z", NOON),
        ("2026-01-01T13:00:00+01:00", NOON),
        ("2026-01-01T12:00:00.250000Z", NOON + timedelta(milliseconds=250)),
        ("2026-01-01T12:00:00", None),  # of which place?
        ("0001-01-01T00:00:00+05:00", None),  # before all time
        ("noon", None),
        ("", None),
        (12, None),
        (None, None),
    ],
)
def test_an_instant_is_read_or_unknown(text: object, at: datetime | None) -> None:
    found = instant(text)
    assert found == at
    assert found is None or found.tzinfo is UTC


def test_an_instant_is_written_in_whole_seconds_and_utc() -> None:
    assert rfc3339(NOON + timedelta(milliseconds=999)) == "2026-01-01T12:00:00Z"
    assert rfc3339(None) is None
