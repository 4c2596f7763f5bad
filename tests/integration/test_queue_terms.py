"""What a TaskQueue says about its jobs, in whole operators on a real API server: whose it takes, what counts for those
that say nothing, and which installation acts for them.

No node runs anything here: a pod that is there was started, which is all that is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api_server import a_taskjob
from charts import OPERATOR, apply, kubeconfig_of, of_the_operator
from database import a_database
from operator_process import OperatorProcess
from taskjob.kube.pods import JOB_NAME
from taskjob_cluster import Cluster
from waiting import until

pytestmark = pytest.mark.cluster
Object = dict[str, Any]


class Place:
    """One namespace, and queues that are named after it."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace

    def queue(self, name: str, **spec: Any) -> str:
        full = f"{self.namespace}-{name}"
        manifest = {"apiVersion": "taskjobs.dev/v1beta1", "kind": "TaskQueue", "metadata": {"name": full}, "spec": spec}
        self.cluster.kubectl("apply", "-f", "-", input=json.dumps(manifest))
        return full

    def submit(self, name: str, **spec: Any) -> None:
        self.cluster.kubectl("-n", self.namespace, "create", "-f", "-", input=json.dumps(a_taskjob(name, **spec)))

    def label(self, label: str) -> None:
        self.cluster.kubectl("label", "namespace", self.namespace, "--overwrite", label)

    def _get(self, *what: str) -> Object:
        found: Object = json.loads(self.cluster.kubectl("-n", self.namespace, "get", *what, "-o", "json"))
        return found

    def status(self, name: str) -> Object:
        found: Object = self._get("taskjob", name).get("status", {})
        return found

    def reason(self, name: str) -> str:
        return str(self.status(name).get("reason", ""))

    def active(self, queue: str) -> tuple[str, str]:
        conditions = self._get("taskqueue", queue).get("status", {}).get("conditions", ())
        found = {each["type"]: each for each in conditions}.get("Active", {})
        return found.get("reason", ""), found.get("message", "")

    def pods(self) -> dict[str, Object]:
        """The pods of TaskJobs, by the job's name."""
        return {pod["metadata"]["labels"][JOB_NAME]: pod for pod in self._get("pods", "-l", JOB_NAME)["items"]}

    def show_running(self, name: str) -> None:
        """Nobody runs the job's pod, but its status says that its container has long been running."""
        pod = self.pods()[name]
        running = {"startedAt": pod["metadata"]["creationTimestamp"]}
        (container,) = pod["spec"]["containers"]
        told = {"name": container["name"], "image": "x", "imageID": "", "ready": True, "restartCount": 0}
        status = {"phase": "Running", "containerStatuses": [told | {"state": {"running": running}}]}
        patch = ("--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
        self.cluster.kubectl("-n", self.namespace, "patch", "pod", pod["metadata"]["name"], *patch)

    def operator(self, database_url: str, log: Path, **settings: Any) -> OperatorProcess:
        return OperatorProcess(self.cluster, database_url, log, namespaces=[self.namespace], **settings)


@pytest.fixture
def place(cluster: Cluster, namespace: str) -> Place:
    return Place(cluster, namespace)


@pytest.fixture
def another_database_url(database_server: str) -> Iterator[str]:
    with a_database(database_server) as url:
        yield url


def test_a_queue_takes_jobs_of_the_namespaces_that_it_picks_as_their_labels_change(
    place: Place, tmp_path: Path, database_url: str
) -> None:
    team = {"key": "team", "operator": "In", "values": ["red", "blue"]}
    queue = place.queue("red", namespaceSelector={"matchExpressions": [team]})
    place.submit("first", queue=queue)
    with place.operator(database_url, tmp_path / "log").start() as operator:
        operator.wait_ready()
        until(lambda: place.reason("first") == "NamespaceNotAllowed", "a namespace without the label is not taken")
        until(lambda: place.active(queue)[0] == "Ready", "the queue is in use")
        place.label("team=blue")
        until(lambda: "first" in place.pods(), "the label is given, and the job starts")
        place.label("team=green")
        place.submit("second", queue=queue)
        until(lambda: place.reason("second") == "NamespaceNotAllowed", "the label is taken away again")
        place.queue("red")
        until(lambda: "second" in place.pods(), "without a selector it takes all")


@pytest.mark.parametrize("watch_namespaces", [True, False], ids=["not granted", "switched off"])
def test_without_the_right_to_watch_namespaces_the_queue_starts_nothing_and_says_what_is_missing(
    place: Place, tmp_path: Path, database_url: str, watch_namespaces: bool
) -> None:
    home, cluster = place.namespace, place.cluster
    values = f"--set=namespaces={{{home}}},rbac.queueStatus=true,defaultQueue.create=false"
    apply(cluster, of_the_operator(home, values))
    kubeconfig = kubeconfig_of(cluster, home, OPERATOR, tmp_path / "kubeconfig")
    settings = {"kubeconfig": str(kubeconfig), "lease_namespace": home, "watch_namespaces": watch_namespaces}
    not_red = {"key": "team", "operator": "NotIn", "values": ["red"]}
    queue = place.queue("others", namespaceSelector={"matchExpressions": [not_red]})
    place.submit("first", queue=queue)
    with place.operator(database_url, tmp_path / "log", **settings).start() as operator:
        operator.wait_ready()
        until(lambda: place.reason("first") == "QueueNotFound", "the job is told")
        until(lambda: place.active(queue)[0] == "NamespaceSelectorForbidden", "the queue is told")
        message = place.active(queue)[1]
        assert "let it list and watch namespaces (chart value rbac.watchNamespaces)" in message
        assert ("namespaces is forbidden" in message) is watch_namespaces
        assert place.pods() == {}, "who may not use the queue does not slip in"
        if watch_namespaces:
            apply(cluster, of_the_operator(home, f"{values},rbac.watchNamespaces=Always"))
            until(lambda: "first" in place.pods(), "once it is granted, the job starts", 60)


def test_what_a_queue_says_counts_for_jobs_that_do_not_and_a_change_never_for_what_runs(
    place: Place, tmp_path: Path, database_url: str
) -> None:
    queue = place.queue("careful", defaults={"timeoutSeconds": 600})
    place.submit("default", queue=queue)
    place.submit("own", queue=queue, timeoutSeconds=60)
    with place.operator(database_url, tmp_path / "log").start() as operator:
        operator.wait_ready()
        until(lambda: len(place.pods()) == 2, "both start")
        place.queue("careful", defaults={"timeoutSeconds": 900})
        place.submit("later", queue=queue)
        until(lambda: "later" in place.pods(), "one that comes after the change starts")
        limits = {name: pod["spec"]["activeDeadlineSeconds"] for name, pod in place.pods().items()}
        assert limits == {"default": 600, "own": 60, "later": 900}

        place.queue("careful", defaults={"queueTimeoutSeconds": 1}, quota={"pods": 3})
        place.submit("waits", queue=queue)
        until(lambda: place.reason("waits") == "QueueTimeoutExceeded", "there is no room for a fourth")
        assert "spec.defaults.queueTimeoutSeconds" in place.status("waits")["message"]


def test_two_installations_side_by_side_serve_their_own_queues_only(
    place: Place, tmp_path: Path, database_url: str, another_database_url: str
) -> None:
    ours, theirs = place.queue("ours", controllerName="one"), place.queue("theirs", controllerName="two")
    place.submit("a", queue=ours)
    place.submit("b", queue=theirs)

    def installation(name: str, database: str) -> OperatorProcess:
        return place.operator(database, tmp_path / name, name=name, controller_name=name, lease_name=name)

    with installation("one", database_url).start() as one:
        one.wait_ready()
        until(lambda: "a" in place.pods() and place.active(ours)[0] == "Ready", "one starts what is its own")
        place.submit("after", queue=ours, dependsOn=[{"name": "b", "condition": "Finished"}])
        until(lambda: place.reason("after") == "WaitingForDependencies", "one has seen it all")
        untouched = place.status("b")
        assert (untouched.get("epoch"), place.active(theirs), set(place.pods())) == (None, ("", ""), {"a"})
        with installation("two", another_database_url).start() as two:
            two.wait_ready()
            until(lambda: set(place.pods()) == {"a", "b"}, "two starts what is its own")
            until(lambda: place.active(theirs)[0] == "Ready", "and says so")
            place.show_running("b")
            two.wait_metrics("two follows the log of b", lambda told: told["taskjobs_log_follows"] == 1)
            place.show_running("a")
            one.wait_metrics("one follows a log", lambda told: told["taskjobs_log_follows"] > 0)
            assert [each.metrics()["taskjobs_log_follows"] for each in (one, two)] == [1, 1], "each its own pod's"
            cancel = ("patch", "taskjob", "b", "--type=merge", "-p", json.dumps({"spec": {"cancel": True}}))
            place.cluster.kubectl("-n", place.namespace, *cancel)
            until(lambda: set(place.pods()) == {"a", "after"}, "a job of one depends on one of two's", 60)
        place.submit("c", queue=theirs)
        place.submit("d", queue=ours)
        until(lambda: "d" in place.pods(), "one goes on without two")
        assert ("c" in place.pods(), place.status("c").get("epoch")) == (False, None), "and leaves alone what is two's"
