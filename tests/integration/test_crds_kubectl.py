"""The CRDs as kubectl shows them: columns, explanations, refusals; and what only the cluster can say of them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from kubernetes import client

from api_server import RefusedError, Server, a_taskjob
from taskjob.core.model import Status
from taskjob.core.phases import Phase, Reason
from taskjob.kube.patches import status_update
from taskjob.kube.schema import parse_job
from taskjob.resources.openapi import from_openapi
from taskjob.resources.pod_template import pod_template_schema
from taskjob.resources.words import GROUP
from taskjob_cluster import Cluster, ClusterError

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = pytest.mark.cluster


def test_kubectl_refuses_an_unknown_field_by_its_name(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(ClusterError, match=r'unknown field "spec\.imagge"'):
        cluster.kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps(a_taskjob(imagge="x")))


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("tj.spec.retry", "How many times a failed attempt is followed by another"),
        ("tj.spec.template.spec.containers.resources", "requests"),
        ("tj.status.phase", "Pending, Starting, Running"),
        ("tjq.spec.quota", "A resource that is not named is not limited"),
    ],
)
def test_kubectl_explains(cluster: Cluster, field: str, says: str) -> None:
    assert says in re.sub(r"\s+", " ", cluster.kubectl("explain", field))


def test_kubectl_shows_the_columns_and_more_when_asked_for_wide(
    cluster: Cluster, server: Server, namespace: str
) -> None:
    server.create(a_taskjob())
    server.patch_status(
        "train",
        {"phase": "Failed", "reason": "AttemptFailed", "message": "exit code 3", "attempt": 2, "retries": 1},
    )

    head, row = cluster.kubectl("get", "tj", "-n", namespace).splitlines()
    assert head.split() == ["NAME", "PHASE", "REASON", "QUEUE", "PRIORITY", "ATTEMPT", "AGE"]
    assert row.split()[:-1] == ["train", "Failed", "AttemptFailed", "default", "Normal", "2"]
    wide = cluster.kubectl("get", "tj", "-n", namespace, "-o", "wide")
    assert wide.splitlines()[0].split()[7:] == ["RETRIES", "EXIT", "POD", "NODE", "MESSAGE"]
    assert "exit code 3" in wide


def test_a_job_whose_status_nobody_has_written_is_shown_as_queued(
    cluster: Cluster, server: Server, namespace: str
) -> None:
    """By a default of the schema: the API server applies it when it reads the object, so it costs no write."""
    cluster.kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps(a_taskjob()))
    written = cluster.kubectl("get", "tj", "train", "-n", namespace, "-o", "jsonpath={.metadata.resourceVersion}")

    _, row = cluster.kubectl("get", "tj", "-n", namespace).splitlines()
    assert row.split()[:-1] == ["train", "Pending", "Queued", "default", "Normal"]
    found = json.loads(cluster.kubectl("get", "tj", "train", "-n", namespace, "-o", "json"))
    assert found["status"] == {"phase": "Pending", "reason": "Queued"}
    assert found["metadata"]["resourceVersion"] == written, "showing it wrote nothing"
    job = parse_job(found)
    assert (job.status, job.problem) == (Status(), None), "the operator sees that it has said nothing yet"
    cluster.kubectl("wait", "tj/train", "-n", namespace, "--for=jsonpath={.status.phase}=Pending", "--timeout=10s")

    # Waiting has not started it: its spec may change, and the operator's first patch finds nothing in its way.
    server.patch("train", {"spec": {"image": "busybox:2"}})
    job = parse_job(json.loads(cluster.kubectl("get", "tj", "train", "-n", namespace, "-o", "json")))
    running = replace(job.status, phase=Phase.RUNNING, reason=Reason.STARTED, attempt=1, transition=2)
    stored = server.patch_status("train", json.loads(status_update(job, running, 1))["status"])
    assert parse_job(stored).status == replace(running, epoch=1)
    with pytest.raises(RefusedError, match="may not change once the job has started"):
        server.patch("train", {"spec": {"image": "busybox:3"}})
    with pytest.raises(RefusedError, match="a newer leader"):
        server.patch_status("train", {"epoch": 0})


def test_kubectl_takes_the_plural_for_taskjobs_alone(cluster: Cluster, server: Server, namespace: str) -> None:
    server.create(a_taskjob())

    assert "train" in cluster.kubectl("get", "taskjobs", "train", "-n", namespace)
    cluster.kubectl("delete", "taskjobs", "--all", "-n", namespace)
    assert "default" in cluster.kubectl("get", "taskqueue", "default")


def test_kubectl_waits_for_a_condition(cluster: Cluster, server: Server, namespace: str) -> None:
    server.create(a_taskjob())
    condition = {"type": "Complete", "status": "True", "reason": "Completed", "message": ""}
    server.patch_status("train", {"conditions": [condition | {"lastTransitionTime": "2026-01-01T12:00:00Z"}]})

    cluster.kubectl("wait", "tj/train", "-n", namespace, "--for=condition=Complete", "--timeout=10s")


def test_the_examples_apply_in_any_order_and_applying_them_twice_changes_nothing(
    cluster: Cluster, namespace: str
) -> None:
    documents = [one for path in sorted(EXAMPLES.glob("*.yaml")) for one in yaml.safe_load_all(path.read_text())]
    backwards = yaml.safe_dump_all(documents[::-1])

    assert "error" not in cluster.kubectl("apply", "-n", namespace, "-f", "-", input=backwards)
    again = cluster.kubectl("apply", "-n", namespace, "-f", str(EXAMPLES))

    assert again.count("unchanged") == len(documents), again


# ---------------------------------------------------------------- the pod template
def test_the_kept_pod_template_is_that_of_this_api_server(cluster: Cluster) -> None:
    """Fails when the pinned version of Kubernetes moves: take the template anew (`taskjob.resources.openapi`)."""
    document = json.loads(cluster.kubectl("get", "--raw", "/openapi/v3/api/v1"))

    assert from_openapi(document) == pod_template_schema()


def test_both_crds_are_established_without_a_complaint(kubernetes_client: client.ApiClient) -> None:
    for plural in ("taskjobs", "taskqueues"):
        crd = client.ApiextensionsV1Api(kubernetes_client).read_custom_resource_definition(f"{plural}.{GROUP}")
        found = (crd.status and crd.status.conditions) or []
        conditions = {condition.type: condition.status for condition in found}

        assert conditions == {"NamesAccepted": "True", "Established": "True"}, "NonStructuralSchema, say"
