"""The operator's rights, verb by verb: with the chart's roles everything that it does works; without a verb, one thing
fails, and the table of `rights` says which.

On an API server and etcd alone, so that the whole table takes seconds.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from api_server import a_taskjob
from builders import launch_of
from charts import API, OPERATOR, TRIAL, Object, apply, kubeconfig_of, of_kind, of_the_operator, rendered
from kube_worlds import RealWorld, eventually
from operator_process import OperatorProcess
from rights import EPOCH, TABLE, Scene, Verb, leases_of, must_be
from taskjob.kube.client import job_path, pod_path
from taskjob.kube.http import KubeHttp, encode
from taskjob.kube.lists import list_jobs, list_queues
from taskjob.kube.schema import GROUP, VERSION
from taskjob.ports import Launched
from taskjob_api.problems import Problem
from taskjob_api.reviews import Caller, Reviews, Right
from taskjob_cluster import Cluster
from waiting import until

pytestmark = pytest.mark.cluster


def rights_of(roles: list[Object]) -> list[Verb]:
    return [
        (resource, verb)
        for role in roles
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def without(objects: list[Object], right: Verb) -> list[Object]:
    """The same roles less one verb on one resource."""
    changed = deepcopy(objects)
    for role in of_kind(changed, "Role", "ClusterRole"):
        rules = []
        for rule in role["rules"]:
            for resource in rule["resources"]:
                verbs = [verb for verb in rule["verbs"] if (resource, verb) != right]
                if verbs:
                    rules.append({**rule, "resources": [resource], "verbs": verbs})
        role["rules"] = rules
    return changed


async def granted(http: KubeHttp, objects: list[Object]) -> None:
    """Wait until each of these roles is known to be this account's: the authorizer learns of roles and of their
    bindings by watches. A role is known with all of its rules or not at all, so one right of each suffices."""
    for role in of_kind(objects, "Role", "ClusterRole"):
        for rule in role["rules"][:1]:
            resource, _, subresource = rule["resources"][0].partition("/")
            right = {
                "namespace": role["metadata"].get("namespace", ""),
                "verb": rule["verbs"][0],
                "group": rule["apiGroups"][0],
                "resource": resource,
                "subresource": subresource,
                "name": rule.get("resourceNames", [""])[0],
            }
            await eventually(f"the authorizer knows {right}", partial(may, http, right))


async def may(http: KubeHttp, right: dict[str, str]) -> bool:
    kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    reply = await http.request(
        "POST",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        verb="probe",
        resource="probe",
        body=encode({**kind, "spec": {"resourceAttributes": right}}),
    )
    assert reply.code == 201, reply.message
    return bool(json.loads(reply.body)["status"]["allowed"])


@asynccontextmanager
async def operator_with(
    cluster: Cluster, home: str, namespace: str, objects: list[Object], scratch: Path
) -> AsyncIterator[Scene]:
    """The operator's account with these roles, and what the probes need."""
    apply(cluster, objects)
    kubeconfig = kubeconfig_of(cluster, home, OPERATOR, scratch / "kubeconfig")
    async with await KubeHttp.connect(cluster.kubeconfig) as admin_http, await KubeHttp.connect(kubeconfig) as http:
        await granted(http, objects)
        admin = RealWorld(admin_http, namespace)
        job = await admin.make_job("probed")
        made = await admin.port.launch(launch_of(job), EPOCH)
        assert isinstance(made, Launched)
        await admin.place(made.pod)
        queue = await admin.make_queue("probed")
        yield Scene(http, admin, job, made.pod, queue, home)


@pytest.fixture
def home(cluster: Cluster) -> str:
    """The release's namespace, of this test alone, so that the names of its cluster-wide roles are too."""
    name = f"home-{uuid.uuid4().hex[:6]}"
    cluster.kubectl("create", "namespace", name)
    return name


def test_every_right_of_the_operator_has_a_line_in_the_table_and_every_line_is_a_right() -> None:
    rights = rights_of(of_kind(of_the_operator("home"), "Role", "ClusterRole"))
    assert sorted(rights) == sorted(TABLE)


async def test_with_the_charts_roles_everything_works(
    cluster: Cluster, home: str, namespace: str, tmp_path: Path
) -> None:
    async with operator_with(cluster, home, namespace, of_the_operator(home), tmp_path) as scene:
        # What deletes comes last.
        for right, (probe, _) in sorted(TABLE.items(), key=lambda line: line[0][1] == "delete"):
            try:
                scene.job = await scene.admin.job_now(scene.job) or scene.job
                await probe(scene)
            except Exception as error:
                raise AssertionError(f"{right} is not enough: {error}") from error


@pytest.mark.parametrize("right", TABLE, ids=lambda right: f"{right[1]}-{right[0].replace('/', '-')}")
async def test_without_the_verb_its_probe_fails(
    cluster: Cluster, home: str, namespace: str, tmp_path: Path, right: Verb
) -> None:
    probe, _ = TABLE[right]
    async with operator_with(cluster, home, namespace, without(of_the_operator(home), right), tmp_path) as scene:
        with pytest.raises(Exception, match=r"forbidden|cannot|403"):
            await probe(scene)


async def test_an_operator_of_named_namespaces_reads_queues_everywhere_and_nothing_else_anywhere_else(
    cluster: Cluster, home: str, namespace: str, tmp_path: Path
) -> None:
    objects = of_the_operator(home, f"--set=namespaces={{{namespace}}},defaultQueue.create=false")
    everywhere = [("taskqueues", "list"), ("taskqueues", "watch"), ("tokenreviews", "create")]
    assert rights_of(of_kind(objects, "ClusterRole")) == everywhere
    without_api = of_the_operator(home, f"--set=namespaces={{{namespace}}},defaultQueue.create=false,api.enabled=false")
    assert rights_of(of_kind(without_api, "ClusterRole")) == everywhere[:2]

    async with operator_with(cluster, home, namespace, objects, tmp_path) as scene:
        await list_queues(scene.http)
        await list_jobs(scene.http, [namespace])
        must_be(await scene.kube.launch(launch_of(scene.job, 2), EPOCH), Launched)
        for path in (job_path("default"), pod_path("default"), "/api/v1/pods", f"/apis/{GROUP}/{VERSION}/taskjobs"):
            assert (await scene.send("GET", path)).code == 403, path
        for path in ("/api/v1/secrets", f"/api/v1/namespaces/{namespace}/secrets", "/api/v1/namespaces"):
            assert (await scene.send("GET", path)).code == 403, path


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        (
            "taskjobs-view",
            ["get taskjobs", "list taskjobs"],
            ["create taskjobs", "delete taskjobs", "use taskqueues/default"],
        ),
        ("taskjobs-edit", ["create taskjobs", "patch taskjobs", "use taskqueues/default"], ["use taskqueues/other"]),
        ("taskjobs-admin", ["create taskjobs", "use taskqueues/other"], ["patch taskjobs:status"]),
    ],
)
def test_the_roles_for_people_say_who_may_what_in_a_namespace(
    cluster: Cluster, namespace: str, role: str, may: list[str], may_not: list[str]
) -> None:
    roles = of_kind(rendered("home", TRIAL), "ClusterRole")
    apply(cluster, [found for found in roles if found["metadata"]["name"].startswith("taskjobs-")])
    cluster.kubectl("-n", namespace, "create", "rolebinding", "people", f"--clusterrole={role}", "--user=ann")

    until(lambda: allowed(cluster, namespace, may[0]), "the authorizer knows the RoleBinding")
    for question in (*may, *may_not):
        assert allowed(cluster, namespace, question) == (question in may), f"{role}: {question}"


def allowed(cluster: Cluster, namespace: str, question: str) -> bool:
    """What the authorizer says of ann: `get taskjobs`, `use taskqueues/name`, `patch taskjobs:status`."""
    verb, _, what = question.partition(" ")
    kind, _, subresource = what.partition(":")
    kind, _, name = kind.partition("/")
    asked = {
        "namespace": namespace,
        "verb": verb,
        "group": GROUP,
        "resource": kind,
        "name": name,
        "subresource": subresource,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": "ann", "resourceAttributes": asked},
    }
    said = cluster.kubectl("create", "-f", "-", "-o", "jsonpath={.status.allowed}", input=yaml.safe_dump(review))
    return said.strip() == "true"


def test_the_table_in_the_documents_is_this_one() -> None:
    text = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    for (resource, verb), (_, fails) in TABLE.items():
        assert f"| {resource} | {verb} | {fails} |" in text, (resource, verb)


async def test_the_api_may_ask_who_a_caller_is_and_what_it_may_and_nothing_else(
    cluster: Cluster, home: str, namespace: str, tmp_path: Path
) -> None:
    of_the_api = {"app.kubernetes.io/component": "api"}.items()
    objects = of_kind(
        rendered(home, TRIAL), "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"
    )
    objects = [found for found in objects if of_the_api <= found["metadata"]["labels"].items()]
    asks = [("tokenreviews", "create"), ("subjectaccessreviews", "create")]
    assert rights_of(of_kind(objects, "Role", "ClusterRole")) == asks
    apply(cluster, objects)
    kubeconfig = kubeconfig_of(cluster, home, API, tmp_path / "kubeconfig")

    async with await KubeHttp.connect(kubeconfig) as http:
        await granted(http, objects)
        reviews = Reviews(http)
        caller = Caller.bearing(http.credentials.token or "")
        assert (await reviews.user(caller)).username == f"system:serviceaccount:{home}:{API}"
        assert not await reviews.may(caller, Right("list", namespace))
        for path in (job_path(namespace), pod_path(namespace), "/api/v1/secrets", leases_of(home)):
            assert (await http.request("GET", path, verb="probe", resource="probe")).code == 403, path


@pytest.mark.parametrize("right", ["tokenreviews", "subjectaccessreviews"])
async def test_without_its_right_the_api_says_what_to_grant(
    cluster: Cluster, home: str, tmp_path: Path, right: str
) -> None:
    objects = of_kind(rendered(home, TRIAL), "ServiceAccount", "ClusterRole", "ClusterRoleBinding")
    objects = [found for found in objects if found["metadata"]["name"].endswith("-api")]
    objects = without(objects, (right, "create"))
    apply(cluster, objects)
    kubeconfig = kubeconfig_of(cluster, home, API, tmp_path / "kubeconfig")

    async with await KubeHttp.connect(kubeconfig) as http:
        await granted(http, objects)
        with pytest.raises(Problem, match=f"grant its account to create {right}"):
            await Reviews(http).may(Caller.bearing(http.credentials.token or ""), Right("list", "default"))


def test_a_whole_operator_of_one_namespace_works_under_its_roles_and_leaves_the_others_alone(
    cluster: Cluster, home: str, namespace: str, tmp_path: Path, database_url: str
) -> None:
    apply(cluster, of_the_operator(home, f"--set=namespaces={{{namespace}}},defaultQueue.create=false"))
    kubeconfig = kubeconfig_of(cluster, home, OPERATOR, tmp_path / "kubeconfig")
    settings: dict[str, Any] = {"kubeconfig": str(kubeconfig), "lease_namespace": home, "lease_name": OPERATOR}
    settings["fence_account"] = OPERATOR
    # A queue of its own: another test may have `default` follow the nodes, which this operator may not read.
    queue = {"apiVersion": "taskjobs.dev/v1beta1", "kind": "TaskQueue", "metadata": {"name": home}, "spec": {}}
    cluster.kubectl("create", "-f", "-", input=json.dumps(queue))
    for where in (namespace, home):
        cluster.kubectl("-n", where, "create", "-f", "-", input=json.dumps(a_taskjob("early", queue=home)))

    with OperatorProcess(
        cluster, database_url, tmp_path / "log", namespaces=[namespace], leader_election=True, **settings
    ) as operator:
        operator.wait_ready()
        until(lambda: phase(cluster, namespace, "early") == "Starting", "its own namespace's job is launched")
        # Told by kopf's watch: the next list is minutes away.
        cluster.kubectl("-n", namespace, "create", "-f", "-", input=json.dumps(a_taskjob("late", queue=home)))
        until(lambda: phase(cluster, namespace, "late") == "Starting", "a later one too")
        assert operator.ask("/healthz")[0] == 200
        found = json.loads(cluster.kubectl("-n", home, "get", "taskjob", "early", "-o", "json"))
        assert "epoch" not in found["status"], "another namespace's job is not touched"


def test_a_namespace_that_is_taken_away_stops_none_of_the_others_and_may_come_back(
    cluster: Cluster, home: str, namespace: str, tmp_path: Path, database_url: str
) -> None:
    other = f"{namespace}-b"
    cluster.kubectl("create", "namespace", other)
    roles = of_the_operator(home, f"--set=namespaces={{{namespace},{other}}},defaultQueue.create=false")
    apply(cluster, roles)
    kubeconfig = kubeconfig_of(cluster, home, OPERATOR, tmp_path / "kubeconfig")
    settings: dict[str, Any] = {"kubeconfig": str(kubeconfig), "lease_namespace": home, "lease_name": OPERATOR}
    settings |= {"fence_account": OPERATOR, "namespaces": [namespace, other], "relist_seconds": 5}
    queue = {"apiVersion": "taskjobs.dev/v1beta1", "kind": "TaskQueue", "metadata": {"name": home}, "spec": {}}
    cluster.kubectl("create", "-f", "-", input=json.dumps(queue))

    def create(where: str, name: str) -> None:
        cluster.kubectl("-n", where, "create", "-f", "-", input=json.dumps(a_taskjob(name, queue=home)))

    with OperatorProcess(cluster, database_url, tmp_path / "log", leader_election=True, **settings) as operator:
        operator.wait_ready()
        binding = next(
            found["metadata"]["name"]
            for found in of_kind(roles, "RoleBinding")
            if found["metadata"]["namespace"] == other
        )
        cluster.kubectl("-n", other, "delete", "rolebinding", binding)
        assert operator.wait_ended(60) == 1
        assert f'namespace "{other}" may not be listed any more' in operator.log()
        assert "Traceback" not in operator.log()

        operator.start()
        operator.wait_ready()
        assert f'namespace "{other}" is left out' in operator.log()
        create(namespace, "here")
        create(other, "there")
        until(lambda: phase(cluster, namespace, "here") == "Starting", "the namespace that is left works on")

        apply(cluster, roles)
        assert operator.wait_ended(60) == 1
        assert f'namespace "{other}" may be listed again' in operator.log()
        operator.start()
        operator.wait_ready()
        until(lambda: phase(cluster, other, "there") == "Starting", "what waited in the other one is launched")


def phase(cluster: Cluster, namespace: str, name: str) -> str:
    return cluster.kubectl("-n", namespace, "get", "taskjob", name, "-o", "jsonpath={.status.phase}")
