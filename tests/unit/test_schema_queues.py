"""TaskQueues as JSON to core values, whatever stands in the JSON."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from odd_json import JSON
from taskjob.core.model import (
    CohortName,
    Queue,
    QueueName,
    QuotaFromNodes,
    Requirement,
)
from taskjob.core.phases import (
    Preempt,
    SelectorOperator,
    StopPolicy,
    Strategy,
)
from taskjob.kube.schema import (
    parse_queue,
)


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


@pytest.mark.parametrize(
    ("selector", "problem"),
    [
        ([], "spec.namespaceSelector: a list is not an object"),
        ({"matchLabels": {"a": 1}}, "spec.namespaceSelector.matchLabels[a]: 1 is not a text"),
        ({"matchExpressions": [1]}, "spec.namespaceSelector.matchExpressions[0]: 1 is not an object"),
        (
            {"matchExpressions": [{"key": "a"}]},
            "spec.namespaceSelector.matchExpressions[0]: needs 'key' and 'operator'",
        ),
        (
            {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]},
            'spec.namespaceSelector.matchExpressions[0].operator: "Gt" is not one of In, NotIn, Exists, DoesNotExist',
        ),
        (
            {"matchExpressions": [{"key": "a", "operator": "In", "values": [1]}]},
            "spec.namespaceSelector.matchExpressions[0].values: is not a list of texts",
        ),
        (
            {"matchExpressions": [{"key": "a", "operator": "NotIn"}]},
            "spec.namespaceSelector.matchExpressions[0].values: is missing for NotIn",
        ),
        (
            {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]},
            "spec.namespaceSelector.matchExpressions[0].values: must be absent for Exists",
        ),
    ],
)
def test_a_namespace_selector_that_cannot_be_used_is_complained_of(selector: Any, problem: str) -> None:
    queue = parse_queue({"metadata": {"name": "q", "uid": "u"}, "spec": {"namespaceSelector": selector}})
    assert (queue.problem or "").startswith(problem)


def test_a_namespace_selector_is_read() -> None:
    selector = {
        "matchLabels": {"team": "a", "env": "prod"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["1", "2"]},
            {"key": "frozen", "operator": "DoesNotExist"},
        ],
    }
    queue = parse_queue({"metadata": {"name": "q", "uid": "u"}, "spec": {"namespaceSelector": selector}})
    assert (queue.problem, queue.namespace_selector) == (
        None,
        (
            Requirement("env", SelectorOperator.IN, ("prod",)),
            Requirement("team", SelectorOperator.IN, ("a",)),
            Requirement("tier", SelectorOperator.IN, ("1", "2")),
            Requirement("frozen", SelectorOperator.DOES_NOT_EXIST),
        ),
    )


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
