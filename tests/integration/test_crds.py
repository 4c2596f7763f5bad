"""What a TaskJob may be, in a real API server: each rule and bound with what breaks it, what is said
about which field, and what passes."""

from __future__ import annotations

import copy

import pytest

from api_server import Object, RefusedError, Server, a_taskjob, templated
from taskjob_cluster import Cluster

pytestmark = pytest.mark.cluster


REFUSED = [
    ("an unknown field", {"retries": 3}, 'unknown field "spec.retries"', ""),
    ("a field of a later version", {"retry": {"hope": []}}, 'unknown field "spec.retry.hope"', ""),
    (
        "an unknown field deep in the pod template",
        templated(container={"imagee": "x"}),
        'unknown field "spec.template.spec.containers[0].imagee"',
        "",
    ),
    (
        "metadata that a template cannot have",
        {"image": None, "template": {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "main"}]}}},
        'unknown field "spec.template.metadata.name"',
        "",
    ),
    (
        "ephemeral containers",
        templated({"ephemeralContainers": []}),
        'unknown field "spec.template.spec.ephemeralContainers"',
        "",
    ),
    (
        "neither a template nor an image",
        {"image": None},
        "in exactly one way: 'template' (a pod template) or 'image'",
        "spec",
    ),
    ("both a template and an image", templated(image="busybox"), "in exactly one way", "spec"),
    ("a command beside a template", templated(command=["true"]), "belongs to the short form", "spec.command"),
    ("arguments beside a template", templated(args=["x"]), "belongs to the short form", "spec.args"),
    ("variables beside a template", templated(env=[{"name": "A"}]), "belongs to the short form", "spec.env"),
    ("resources beside a template", templated(resources={}), "belongs to the short form", "spec.resources"),
    ("an empty image", {"image": ""}, "at least 1 char", "spec.image"),
    (
        "a pod that restarts by itself",
        templated({"restartPolicy": "OnFailure"}),
        "must be Never: a new attempt is a new pod",
        "spec.template.spec.restartPolicy",
    ),
    (
        "a template without containers",
        {"image": None, "template": {"spec": {"containers": []}}},
        "at least 1 items",
        "spec.template.spec.containers",
    ),
    ("a template without a spec", {"image": None, "template": {}}, "Required value", "spec.template.spec"),
    (
        "a word that a pod does not know",
        templated(container={"imagePullPolicy": "Sometimes"}),
        "Unsupported value",
        "spec.template.spec.containers[0].imagePullPolicy",
    ),
    (
        "a container without a name",
        {"image": None, "template": {"spec": {"containers": [{"image": "x"}]}}},
        "Required value",
        "spec.template.spec.containers[0].name",
    ),
    (
        "a pod's quantity that is none",
        templated(container={"resources": {"requests": {"cpu": "many"}}}),
        "should match",
        "spec.template.spec.containers[0].resources.requests.cpu",
    ),
    (
        "a dependency on itself",
        {"dependsOn": [{"name": "a"}, {"name": "train"}]},
        "a job cannot depend on itself",
        "spec.dependsOn",
    ),
    (
        "a dependency named twice",
        {"dependsOn": [{"name": "a"}, {"name": "a", "condition": "Failed"}]},
        "Duplicate value",
        "spec.dependsOn[1]",
    ),
    (
        "a dependency without a name",
        {"dependsOn": [{"condition": "Failed"}]},
        "Required value",
        "spec.dependsOn[0].name",
    ),
    ("a dependency with an empty name", {"dependsOn": [{"name": ""}]}, "at least 1 char", "spec.dependsOn[0].name"),
    ("a dependency that cannot be a name", {"dependsOn": [{"name": "A_b"}]}, "should match", "spec.dependsOn[0].name"),
    ("a dependency with too long a name", {"dependsOn": [{"name": "a" * 201}]}, "200", "spec.dependsOn[0].name"),
    (
        "an unknown condition",
        {"dependsOn": [{"name": "a", "condition": "Done"}]},
        '"Succeeded", "Failed", "Finished"',
        "spec.dependsOn[0].condition",
    ),
    (
        "too many dependencies",
        {"dependsOn": [{"name": f"d{n}"} for n in range(10_001)]},
        "must have at most 10000 items",
        "spec.dependsOn",
    ),
    (
        "an unknown reaction to dependencies",
        {"onDependencyFailure": "Panic"},
        '"Skip", "Fail", "Wait"',
        "spec.onDependencyFailure",
    ),
    ("an unknown priority", {"priority": "Urgent"}, "^(Critical|High|Normal|Low)$", "spec.priority"),
    ("a priority beyond all", {"priority": 1_000_001}, "less than or equal to 1000000", "spec.priority"),
    ("a priority that is no whole number", {"priority": 1.5}, "spec.priority", "spec.priority"),
    ("a queue that cannot be a name", {"queue": "Team A"}, "should match", "spec.queue"),
    ("a queue with too long a name", {"queue": "q" * 64}, "63", "spec.queue"),
    ("a negative retry limit", {"retry": {"limit": -1}}, "greater than or equal to 0", "spec.retry.limit"),
    ("too many retries", {"retry": {"limit": 1001}}, "less than or equal to 1000", "spec.retry.limit"),
    (
        "a retry rule with both kinds of exit codes",
        {"retry": {"rules": [{"action": "Fail", "exitCodes": {"in": [1], "notIn": [2]}}]}},
        "say either 'in' or 'notIn'",
        "spec.retry.rules[0].exitCodes",
    ),
    (
        "a retry rule with no exit codes",
        {"retry": {"rules": [{"action": "Fail", "exitCodes": {}}]}},
        "say either 'in' or 'notIn'",
        "spec.retry.rules[0].exitCodes",
    ),
    (
        "a retry rule without an action",
        {"retry": {"rules": [{"classes": ["Evicted"]}]}},
        "Required value",
        "spec.retry.rules[0].action",
    ),
    ("a retry limit that is no integer", {"retry": {"limit": "3"}}, "must be of type integer", "spec.retry.limit"),
    (
        "a shrinking backoff",
        {"retry": {"backoff": {"factor": 0}}},
        "greater than or equal to 1",
        "spec.retry.backoff.factor",
    ),
    (
        "an exploding backoff",
        {"retry": {"backoff": {"factor": 101}}},
        "less than or equal to 100",
        "spec.retry.backoff.factor",
    ),
    (
        "a negative first delay",
        {"retry": {"backoff": {"initialSeconds": -1}}},
        "greater than or equal to 0",
        "spec.retry.backoff.initialSeconds",
    ),
    (
        "a negative longest delay",
        {"retry": {"backoff": {"maxSeconds": -1}}},
        "greater than or equal to 0",
        "spec.retry.backoff.maxSeconds",
    ),
    (
        "jitter beyond the delay",
        {"retry": {"backoff": {"jitterPercent": 101}}},
        "less than or equal to 100",
        "spec.retry.backoff.jitterPercent",
    ),
    ("no time at all for an attempt", {"timeoutSeconds": 0}, "greater than or equal to 1", "spec.timeoutSeconds"),
    (
        "more time than a pod can have",
        {"timeoutSeconds": 2**31},
        "less than or equal to 2147483647",
        "spec.timeoutSeconds",
    ),
    ("no time at all for the job", {"deadlineSeconds": 0}, "greater than or equal to 1", "spec.deadlineSeconds"),
    (
        "a negative time to stay",
        {"ttlSecondsAfterFinished": -1},
        "greater than or equal to 0",
        "spec.ttlSecondsAfterFinished",
    ),
    ("an unknown retention", {"podRetention": "Forever"}, '"Delete", "KeepFailed", "Keep"', "spec.podRetention"),
    ("suspend as a word", {"suspend": "yes"}, "must be of type boolean", "spec.suspend"),
    ("cancel as a word", {"cancel": "true"}, "must be of type boolean", "spec.cancel"),
    ("too many words of a command", {"command": ["x"] * 1001}, "must have at most 1000 items", "spec.command"),
    ("too many arguments", {"args": ["x"] * 1001}, "must have at most 1000 items", "spec.args"),
    ("an argument that Linux cannot pass", {"args": ["x" * 131_073]}, "131072", "spec.args[0]"),
    (
        "too many variables",
        {"env": [{"name": f"V{n}"} for n in range(1001)]},
        "must have at most 1000 items",
        "spec.env",
    ),
    ("a variable named twice", {"env": [{"name": "A"}, {"name": "A"}]}, "Duplicate value", "spec.env[1]"),
    ("a variable without a name", {"env": [{"value": "x"}]}, "Required value", "spec.env[0].name"),
    (
        "a variable from nowhere known",
        {"env": [{"name": "A", "valueFrom": {"file": "x"}}]},
        'unknown field "spec.env[0].valueFrom.file"',
        "",
    ),
    (
        "a quantity that is none",
        {"resources": {"requests": {"cpu": "many"}}},
        "should match",
        "spec.resources.requests.cpu",
    ),
    ("a negative quantity", {"resources": {"requests": {"cpu": "-1"}}}, "should match", "spec.resources.requests.cpu"),
    (
        "a negative number",
        {"resources": {"limits": {"cpu": -1}}},
        "greater than or equal to 0",
        "spec.resources.limits.cpu",
    ),
    (
        "a fraction that is not quoted",
        {"resources": {"limits": {"cpu": 0.5}}},
        "must be of type integer,string",
        "spec.resources.limits.cpu",
    ),
    (
        "claims of resources in the short form",
        {"resources": {"claims": []}},
        'unknown field "spec.resources.claims"',
        "",
    ),
]

ACCEPTED: list[tuple[str, Object]] = [
    ("an image alone", {}),
    (
        "the whole short form",
        {
            "command": ["sh"],
            "args": ["-c", "true"],
            "env": [
                {"name": "A", "value": "x"},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            ],
            "resources": {
                "requests": {"cpu": "10m", "memory": "16Mi", "nvidia.com/gpu": 1},
                "limits": {"memory": "1.5Gi"},
            },
        },
    ),
    (
        "quantities in every notation",
        {
            "resources": {
                "requests": {
                    "cpu": 2,
                    "memory": "1e9",
                    "ephemeral-storage": "+.5G",
                    "a.example/b": "0",
                    "a.example/c": "12E+2",
                }
            }
        },
    ),
    ("a template", templated()),
    ("a template that says Never", templated({"restartPolicy": "Never"})),
    (
        "a template with a sidecar",
        templated({"initContainers": [{"name": "side", "image": "x", "restartPolicy": "Always"}]}),
    ),
    (
        "two ports of one number, apart by protocol",
        templated(
            container={"ports": [{"containerPort": 53, "protocol": "TCP"}, {"containerPort": 53, "protocol": "UDP"}]}
        ),
    ),
    ("words left empty, as Go programs write them", templated(container={"imagePullPolicy": ""})),
    (
        "dependencies with every condition",
        {
            "dependsOn": [
                {"name": "a"},
                {"name": "b", "condition": "Failed"},
                {"name": "c.d-e", "condition": "Finished"},
            ]
        },
    ),
    ("a dependency whose name contains its own", {"dependsOn": [{"name": "train-1"}]}),
    ("a dependency with the longest name", {"dependsOn": [{"name": "a" * 200}]}),
    ("a queue with the longest name", {"queue": "q" * 63}),
    (
        "the most retries",
        {
            "retry": {
                "limit": 1000,
                "backoff": {"initialSeconds": 0, "factor": 100, "maxSeconds": 0, "jitterPercent": 100},
            }
        },
    ),
    ("a deadline before the timeout", {"timeoutSeconds": 2**31 - 1, "deadlineSeconds": 1}),
    ("the longest argument that Linux passes", {"args": ["x" * 131_072]}),
    (
        "every word",
        {
            "priority": "Critical",
            "onDependencyFailure": "Wait",
            "podRetention": "KeepFailed",
            "suspend": True,
            "cancel": True,
            "ttlSecondsAfterFinished": 0,
        },
    ),
]


@pytest.mark.parametrize(("spec", "message", "field"), [pytest.param(*case, id=title) for title, *case in REFUSED])
def test_a_taskjob_is_refused_with_the_field_named_for(server: Server, spec: Object, message: str, field: str) -> None:
    with pytest.raises(RefusedError) as refused:
        server.create(a_taskjob(**spec))

    assert message in refused.value.message
    if field:
        assert message in refused.value.fields.get(field, ""), f"{field} should be blamed, but: {refused.value.fields}"


@pytest.mark.parametrize("spec", [pytest.param(spec, id=title) for title, spec in ACCEPTED])
def test_a_taskjob_is_accepted_with(server: Server, spec: Object) -> None:
    manifest = a_taskjob(**spec)

    made = server.create(copy.deepcopy(manifest))

    assert {field: made["spec"].get(field) for field in manifest["spec"]} == manifest["spec"]


def test_a_name_of_200_characters_is_accepted_and_a_longer_one_refused(server: Server) -> None:
    server.create(a_taskjob("n" * 200))

    with pytest.raises(RefusedError) as refused:
        server.create(a_taskjob("n" * 201))

    assert "at most 200 characters" in refused.value.fields["metadata.name"]


def test_what_is_not_said_gets_its_default(server: Server) -> None:
    made = server.create(a_taskjob(retry={"backoff": {"initialSeconds": 1}}))

    assert made["spec"] == {
        "image": "busybox",
        "queue": "default",
        "priority": "Normal",
        "onDependencyFailure": "Skip",
        "suspend": False,
        "cancel": False,
        "rerun": 0,
        "retry": {
            "limit": 0,
            "backoff": {"initialSeconds": 1, "factor": 2, "maxSeconds": 600, "jitterPercent": 10},
        },
    }


def test_a_port_of_a_template_is_tcp_unless_it_says_otherwise(server: Server) -> None:
    made = server.create(a_taskjob(**templated(container={"ports": [{"containerPort": 80}]})))

    assert made["spec"]["template"]["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]


def test_ten_thousand_dependencies_are_accepted_and_can_be_changed_until_the_job_starts(server: Server) -> None:
    """Names of 40 characters: etcd takes 1.5 MiB, and the API server's own record of each item counts too."""
    one_way = [{"name": f"{n:05}-".ljust(40, "x")} for n in range(10_000)]
    server.create(a_taskjob(dependsOn=one_way))

    changed = server.patch("train", {"spec": {"dependsOn": one_way[::-1]}})

    assert changed["spec"]["dependsOn"] == one_way[::-1]
    server.patch_status("train", {"phase": "Running", "epoch": 1})
    server.patch("train", {"spec": {"dependsOn": one_way}})  # another order of the same is no change
    with pytest.raises(RefusedError, match=r"spec\.dependsOn may not change once the job has started"):
        server.patch("train", {"spec": {"dependsOn": one_way[:-1]}})


def test_a_priority_may_be_a_number_and_kubectl_shows_it(server: Server, cluster: Cluster) -> None:
    for name, priority in (("by-name", "High"), ("by-number", 250), ("below", -7)):
        assert server.create(a_taskjob(name, priority=priority))["spec"]["priority"] == priority

    shown = cluster.kubectl("-n", server.namespace, "get", "taskjobs", "--no-headers").splitlines()

    columns = {line.split()[0]: line.split()[4] for line in shown}
    assert columns == {"by-name": "High", "by-number": "250", "below": "-7"}
