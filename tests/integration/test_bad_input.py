"""What people get wrong, and what the cluster refuses: each is told on its own object, and harms no other."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster_api import ClusterApi, InNamespace, Object, RefusedError, a_job, after
from operator_process import OperatorProcess
from operators import Site
from recorded import wait_history
from taskjob.core.model import AttemptId, JobName, Uid
from taskjob.kube.pods import pod_name
from taskjob_cluster import up

pytestmark = pytest.mark.cluster

CRDS = Path(__file__).parents[2] / "crds"


@pytest.fixture
def operator(site: Site) -> Iterator[OperatorProcess]:
    """A running operator."""
    with site.operator().start() as running:
        yield running.wait_ready()


@pytest.mark.usefixtures("operator")
class TestQueues:
    def test_a_job_of_an_unknown_queue_waits_for_it_and_starts_when_it_is_made(self, site: Site) -> None:
        later = f"{site.queue}-later"
        site.create("early", queue=later)
        found = site.jobs.wait_status("early", phase="Pending", reason="QueueNotFound")
        assert later in found["status"]["message"]
        site.api.create_queue(later, pods=1)
        site.jobs.wait_phase("early", "Succeeded")

    def test_what_can_never_fit_says_so_at_once_and_starts_when_the_quota_is_raised(self, site: Site) -> None:
        small = f"{site.queue}-small"
        site.api.create_queue(small, cpu=2, memory="1Gi")
        site.create("large", queue=small, requests={"cpu": "3"})
        site.create("fat", queue=small, requests={"memory": "2Gi"})
        site.create("fits", queue=small, requests={"cpu": "2"})
        for name, resource in (("large", "cpu"), ("fat", "memory")):
            found = site.jobs.wait_status(name, phase="Pending", reason="ExceedsQuota")
            assert resource in found["status"]["message"]
            assert small in found["status"]["message"]
        site.jobs.wait_phase("fits", "Succeeded")
        path = f"/apis/taskjobs.dev/v1beta1/taskqueues/{small}"
        quota = {"spec": {"quota": {"cpu": "3", "memory": "2Gi"}}}
        site.api.call("PATCH", path, quota, "application/merge-patch+json")
        site.jobs.wait_phase("large", "Succeeded")
        site.jobs.wait_phase("fat", "Succeeded")


@pytest.mark.usefixtures("operator")
class TestCycles:
    @pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c")])
    def test_the_members_of_a_cycle_fail_and_are_told_the_cycle(self, site: Site, names: tuple[str, ...]) -> None:
        for name, before in zip(names, (*names[1:], names[0]), strict=True):
            site.create(name, dependsOn=after(before))
        site.create("outside", dependsOn=after(names[0]))
        for name in names:
            status = site.jobs.wait_status(name, phase="Failed", reason="DependencyCycle")["status"]
            for member in names:
                assert member in status["message"]
        site.jobs.wait_phase("outside", "Skipped")
        assert site.pods.seen == []


@pytest.mark.usefixtures("operator")
class TestRefusedPods:
    def test_a_pod_over_the_namespaces_resource_quota_waits_and_starts_when_there_is_room(self, site: Site) -> None:
        quotas = f"/api/v1/namespaces/{site.namespace}/resourcequotas"
        site.api.call("POST", quotas, {"metadata": {"name": "tight"}, "spec": {"hard": {"pods": "0"}}})
        wait_quota(site, quotas)
        site.create("refused", deadlineSeconds=300)
        status = site.jobs.wait_status("refused", phase="Pending", reason="PodRefused")["status"]
        assert "exceeded quota: tight" in status["message"]
        assert status["attempt"] == 0
        site.create("other", queue=site.queue, suspend=True)
        site.api.call("DELETE", f"{quotas}/tight")
        status = site.jobs.wait_phase("refused", "Succeeded", 30)["status"]
        assert (status["attempt"], status["retries"]) == (1, 0)

    def test_a_pod_that_a_policy_refuses_is_told_in_the_policys_words(self, site: Site) -> None:
        with a_policy(site, "object.spec.containers.all(c, c.image != 'forbidden')", "this image is not for you"):
            template = {"spec": {"containers": [{"name": "main", "image": "forbidden"}]}}
            site.create("refused", template=template)
            status = site.jobs.wait_status("refused", phase="Pending", reason="PodRefused")["status"]
            assert "this image is not for you" in status["message"]
            site.create("good")
            site.jobs.wait_phase("good", "Succeeded")
        site.jobs.wait_phase("refused", "Succeeded", 40)

    def test_a_name_that_somebody_elses_pod_has_taken_is_told(self, site: Site) -> None:
        found = site.create("taken", suspend=True)
        assert found["metadata"]["uid"]
        site.jobs.wait_status("taken", reason="Suspended")
        pod_name = first_pod_name(site, found)
        path = f"/api/v1/namespaces/{site.namespace}/pods"
        annotations = {"taskjobs.dev/kwok-seconds": "600"}
        stranger: Object = {
            "metadata": {"name": pod_name, "annotations": annotations},
            "spec": {"containers": [{"name": "main", "image": "busybox"}], "terminationGracePeriodSeconds": 1},
        }
        site.api.call("POST", path, stranger)
        site.here.change("taken", suspend=False)
        status = site.jobs.wait_status("taken", phase="Pending", reason="PodRefused")["status"]
        assert pod_name in status["message"]
        assert pod_name in site.here.pods(), "somebody else's pod is not ours to remove"
        site.api.call("DELETE", f"{path}/{pod_name}", {"gracePeriodSeconds": 0})
        site.jobs.wait_phase("taken", "Succeeded", 30)


def first_pod_name(site: Site, job: Object) -> str:
    """The name that the first pod of a job will have."""
    return pod_name(JobName(job["metadata"]["name"]), AttemptId(Uid(job["metadata"]["uid"]), 0, 0, 1))


def wait_quota(site: Site, quotas: str) -> None:
    """Wait until the quota's controller has counted: before that nothing is refused."""
    give_up_at = time.monotonic() + 20
    while "hard" not in (site.api.call("GET", f"{quotas}/tight").get("status") or {}):
        assert time.monotonic() < give_up_at, "the ResourceQuota was never counted"
        time.sleep(0.05)


class a_policy:  # noqa: N801 - reads as the word that it is
    """A ValidatingAdmissionPolicy for the pods of the site's namespace; it applies when the block is entered."""

    _ROOT = "/apis/admissionregistration.k8s.io/v1"

    def __init__(self, site: Site, expression: str, message: str) -> None:
        self._site, self._name = site, site.namespace
        self._policy: Object = {
            "metadata": {"name": self._name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {
                    "resourceRules": [
                        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                    ]
                },
                "validations": [{"expression": expression, "message": message}],
            },
        }
        self._binding: Object = {
            "metadata": {"name": self._name},
            "spec": {
                "policyName": self._name,
                "validationActions": ["Deny"],
                "matchResources": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": site.namespace}}
                },
            },
        }

    def __enter__(self) -> None:
        self._site.api.call("POST", f"{self._ROOT}/validatingadmissionpolicies", self._policy)
        self._site.api.call("POST", f"{self._ROOT}/validatingadmissionpolicybindings", self._binding)
        give_up_at = time.monotonic() + 30
        while self._allows():
            assert time.monotonic() < give_up_at, "the policy never came into force"
            time.sleep(0.1)

    def __exit__(self, *_: object) -> None:
        for kind in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
            self._site.api.call("DELETE", f"{self._ROOT}/{kind}/{self._name}")

    def _allows(self) -> bool:
        pod: Object = {"metadata": {"name": "probe"}, "spec": {"containers": [{"name": "main", "image": "forbidden"}]}}
        try:
            self._site.api.call("POST", f"/api/v1/namespaces/{self._site.namespace}/pods?dryRun=All", pod)
        except RefusedError:
            return False
        return True


ODD: dict[str, tuple[dict[str, Any], str]] = {
    "queue-is-a-number": ({"queue": 7}, "spec.queue"),
    "priority-unknown": ({"priority": "Urgent"}, "spec.priority"),
    "no-image": ({"image": None}, "spec.image"),
    "image-is-a-list": ({"image": ["busybox"]}, "spec.image"),
    "depends-on-a-text": ({"dependsOn": "train"}, "spec.dependsOn"),
    "depends-on-no-name": ({"dependsOn": [{"condition": "Failed"}]}, "spec.dependsOn[0].name"),
    "condition-unknown": ({"dependsOn": [{"name": "x", "condition": "Perhaps"}]}, "spec.dependsOn[0].condition"),
    "retry-limit-huge": ({"retry": {"limit": 10**12}}, "spec.retry.limit"),
    "retry-is-a-number": ({"retry": 3}, "spec.retry"),
    "timeout-negative": ({"timeoutSeconds": -5}, "spec.timeoutSeconds"),
    "deadline-is-a-text": ({"deadlineSeconds": "soon"}, "spec.deadlineSeconds"),
    "suspend-is-a-text": ({"suspend": "no"}, "spec.suspend"),
    "cpu-is-nonsense": ({"resources": {"requests": {"cpu": "much"}}}, "resources.requests"),
    "template-is-a-list": ({"image": None, "template": [1]}, "spec.template"),
    "template-without-containers": ({"image": None, "template": {"spec": {}}}, "spec.template.spec.containers"),
    "retention-unknown": ({"podRetention": "Forever"}, "spec.podRetention"),
}
"""Specs that no present schema lets pass, and the field that must be named."""

UNWRITABLE = {"image-is-a-list", "depends-on-a-text", "template-is-a-list"}
"""Where a rule of the CRD meets a wrong type, the API server refuses every write of the object, its status included:
these are reported by an Event on the object, in history (and so by the API) and in the operator's log."""


def loose(crd: Object) -> Object:
    """The CRD with a schema that lets everything pass, its status subresource and columns as they are."""
    for version in crd["spec"]["versions"]:
        version["schema"]["openAPIV3Schema"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return crd


def test_objects_written_past_the_schema_are_reported_on_themselves_and_harm_no_other(
    database_url: str, tmp_path: Path
) -> None:
    strict = {path.name: yaml.safe_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml"))}
    path = next(name for name in strict if "taskjobs" in name)
    with (
        up(f"odd-{os.getpid()}", provider="kwok", die_with_parent=True) as cluster,
        ClusterApi(cluster) as api,
    ):
        here = InNamespace(api, "default")
        crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/taskjobs.taskjobs.dev"
        relaxed = api.call("GET", crd)
        api.call("PUT", crd, loose(relaxed))
        for name, (spec, _) in ODD.items():
            said = {key: value for key, value in ({"image": "busybox"} | spec).items() if value is not None}
            write(
                here,
                {"apiVersion": "taskjobs.dev/v1beta1", "kind": "TaskJob", "metadata": {"name": name}, "spec": said},
            )
        write(here, {"apiVersion": "taskjobs.dev/v1beta1", "kind": "TaskJob", "metadata": {"name": "no-spec"}})
        odd_status = a_job("odd-status")
        write(here, odd_status)
        job_path = "/apis/taskjobs.dev/v1beta1/namespaces/default/taskjobs/odd-status/status"
        status = {"status": {"phase": "Dancing", "attempt": "many", "transition": -4}}
        api.call("PATCH", job_path, status, "application/merge-patch+json")
        stored = api.call("GET", crd)
        stored["spec"] = strict[path]["spec"] | {"conversion": stored["spec"].get("conversion")}
        api.call("PUT", crd, stored)
        operator = OperatorProcess(cluster, database_url, tmp_path / "operator.log")
        with here.watch_jobs() as jobs, operator.start():
            operator.wait_ready()
            for number in range(10):
                here.create(a_job(f"good-{number}", dependsOn=after(f"good-{number - 1}") if number else []))
            jobs.wait_phase("good-9", "Succeeded", 40)
            for name, (_, field) in {**ODD, "no-spec": ({}, "spec.image")}.items():
                if name not in UNWRITABLE:
                    found = jobs.wait_status(name, phase="Pending", reason="InvalidSpec")
                    assert field in found["status"]["message"], f"{name}: {found['status']['message']}"
            told = wait_history(
                database_url,
                lambda told: all(told[name].job["reason"] == "InvalidSpec" for name in UNWRITABLE),
                20,
                "history knows those that cannot be written",
            )
            for name in UNWRITABLE:
                assert ODD[name][1] in told[name].job["message"]
                assert f"status of TaskJob default/{name} was refused" in operator.log()
                (event,) = warnings_on(api, name)
                assert (event["type"], event["reason"]) == ("Warning", "InvalidSpec")
                assert ODD[name][1] in event["message"]
            assert operator.ask("/healthz")[0] == 200
            assert "Traceback" not in operator.log()
            # A corrected spec is all it takes.
            here.change("priority-unknown", priority="High")
            jobs.wait_phase("priority-unknown", "Succeeded")


def warnings_on(api: ClusterApi, name: str) -> list[Object]:
    """The Events on a TaskJob, waited for: they come when the refusal did."""
    give_up_at = time.monotonic() + 20
    path = f"/api/v1/namespaces/default/events?fieldSelector=involvedObject.kind=TaskJob,involvedObject.name={name}"
    found: list[Object] = []
    while not found and time.monotonic() < give_up_at:
        found = api.call("GET", path)["items"]
        time.sleep(0.1)
    return found


def write(here: InNamespace, job: Object) -> None:
    """Create it as soon as the API server serves the loose schema."""
    give_up_at = time.monotonic() + 20
    while True:
        try:
            here.create(job)
        except RefusedError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.1)
        else:
            return
