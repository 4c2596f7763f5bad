"""What a TaskQueue may be, in a real API server: each rule and bound with what breaks it, and what is said about which
field."""

from __future__ import annotations

import pytest

from api_server import Object, RefusedError, Server, a_taskqueue

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize(
    ("name", "spec", "message", "field"),
    [
        ("q" * 64, {}, "at most 63 characters", "metadata.name"),
        ("q", {"quota": {"cpu": "many"}}, "should match", "spec.quota.cpu"),
        ("q", {"quota": {"pods": -1}}, "greater than or equal to 0", "spec.quota.pods"),
        ("q", {"quota": {f"r{n}.example/x": 1 for n in range(65)}}, "at most 64", "spec.quota"),
        ("q", {"cohorts": "research"}, 'unknown field "spec.cohorts"', ""),
        ("q", {"controllerName": "Not A Name"}, "should match", "spec.controllerName"),
        ("q", {"controllerName": "c" * 64}, "Too long", "spec.controllerName"),
        ("q", {"quotaFromNodes": {}, "quota": {"cpu": 1}}, "say the quota in one way", "spec.quotaFromNodes"),
        ("q", {"quotaFromNodes": {"percent": 0}}, "greater than or equal to 1", "spec.quotaFromNodes.percent"),
        ("q", {"quotaFromNodes": {"percent": 101}}, "less than or equal to 100", "spec.quotaFromNodes.percent"),
        ("q", {"quotaFromNodes": {"nodeSelector": {"a": "v" * 64}}}, "Too long", "spec.quotaFromNodes.nodeSelector.a"),
        ("q", {"defaults": {"retries": 3}}, 'unknown field "spec.defaults.retries"', ""),
        ("q", {"defaults": {"timeoutSeconds": 0}}, "greater than or equal to 1", "spec.defaults.timeoutSeconds"),
        ("q", {"defaults": {"podRetention": "Never"}}, "Unsupported value", "spec.defaults.podRetention"),
        ("q", {"defaults": {"retry": {"limit": 1001}}}, "less than or equal to 1000", "spec.defaults.retry.limit"),
        (
            "q",
            {"defaults": {"retry": {"rules": [{"action": "Fail", "exitCodes": {}}]}}},
            "say either 'in' or 'notIn'",
            "spec.defaults.retry.rules[0].exitCodes",
        ),
        (
            "q",
            {"namespaceSelector": {"matchLabels": {"a": "v" * 64}}},
            "Too long",
            "spec.namespaceSelector.matchLabels.a",
        ),
        (
            "q",
            {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
            "In and NotIn need 'values'",
            "spec.namespaceSelector.matchExpressions[0].values",
        ),
        (
            "q",
            {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}},
            "Exists and DoesNotExist take none",
            "spec.namespaceSelector.matchExpressions[0].values",
        ),
        (
            "q",
            {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]}},
            "Unsupported value",
            "spec.namespaceSelector.matchExpressions[0].operator",
        ),
        ("q", {"cohort": "Not A Name"}, "should match", "spec.cohort"),
        ("q", {"borrowingLimit": {"cpu": 1}}, "name one in 'cohort'", "spec.borrowingLimit"),
        ("q", {"lendingLimit": {"cpu": 1}}, "name one in 'cohort'", "spec.lendingLimit"),
        ("q", {"cohort": "c", "lendingLimit": {"cpu": "some"}}, "should match", "spec.lendingLimit.cpu"),
        ("q", {"weight": 0}, "greater than or equal to 1", "spec.weight"),
        ("q", {"strategy": "LIFO"}, "Unsupported value", "spec.strategy"),
        ("q", {"reserveAfterSeconds": -1}, "greater than or equal to 0", "spec.reserveAfterSeconds"),
        ("q", {"agingSeconds": -1}, "greater than or equal to 0", "spec.agingSeconds"),
        ("q", {"maxRunning": -1}, "greater than or equal to 0", "spec.maxRunning"),
        ("q", {"maxStartsPerSecond": 0.5}, "type int32", "spec.maxStartsPerSecond"),
        ("q", {"stopPolicy": "Halt"}, "Unsupported value", "spec.stopPolicy"),
        ("q", {"preemption": {"withinQueue": "Always"}}, "Unsupported value", "spec.preemption.withinQueue"),
        ("q", {"preemption": {"minRuntimeSeconds": -1}}, "greater than", "spec.preemption.minRuntimeSeconds"),
    ],
)
def test_a_taskqueue_is_refused_with_the_field_named(
    server: Server, name: str, spec: Object, message: str, field: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        server.create_queue(a_taskqueue(name, **spec))

    assert message in refused.value.message
    assert not field or message in refused.value.fields[field]


def test_a_taskqueue_limits_any_resource(server: Server) -> None:
    quota = {"cpu": "20", "memory": "64Gi", "pods": 100, "nvidia.com/gpu": 4}

    made = server.create_queue(a_taskqueue(server.namespace, quota=quota))

    assert made["spec"]["quota"] == quota


def test_a_taskqueue_cannot_go_over_to_another_installation(server: Server) -> None:
    name = server.namespace
    server.create_queue(a_taskqueue(name, controllerName="gpu"))
    server.patch_queue(name, {"spec": {"quota": {"cpu": 1}}})

    for controller in ("default", None):
        with pytest.raises(RefusedError) as refused:
            server.patch_queue(name, {"spec": {"controllerName": controller}})
        assert "make a new TaskQueue" in refused.value.fields["spec.controllerName"]
