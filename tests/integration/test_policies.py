"""The chart's admission policies on a real API server: the fence of epochs, and what authors of TaskJobs are asked."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client

from api_server import a_taskjob
from charts import OPERATOR, TRIAL, Object, apply, of_kind, rendered
from taskjob.kube.pods import EPOCH
from taskjob_cluster import Cluster, ClusterError

pytestmark = pytest.mark.cluster
SETTLE_SECONDS = 30
ANN = "--as=ann"


@pytest.fixture(scope="module")
def home(cluster: Cluster) -> Iterator[str]:
    """The release's namespace with the policies in force; they end with this module, so that other tests see none."""
    name = f"policies-{uuid.uuid4().hex[:6]}"
    cluster.kubectl("create", "namespace", name)
    objects = policies_of(name)
    assert len(objects) == 8
    apply(cluster, objects)
    yield name
    remove(cluster, objects)


def policies_of(home: str) -> list[Object]:
    """The policies of a release there and their bindings, for the namespaces of these tests only: others of the session
    submit without rights of their own."""
    objects = of_kind(rendered(home, TRIAL), "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    for binding in of_kind(objects, "ValidatingAdmissionPolicyBinding"):
        selector = {"matchLabels": {"policies-tested": "here"}}
        binding["spec"]["matchResources"] = {"namespaceSelector": selector}
    return objects


def remove(cluster: Cluster, objects: list[Object]) -> None:
    for found in objects:
        cluster.kubectl("delete", found["kind"], found["metadata"]["name"])


@pytest.fixture
def place(cluster: Cluster, home: str, namespace: str) -> str:
    """A namespace in which the policies hold, and where ann may write TaskJobs, no more."""
    cluster.kubectl("label", "namespace", namespace, "policies-tested=here")
    grant(cluster, namespace, "*", "taskjobs.taskjobs.dev")
    # Policies come into force a moment after they are made.
    eventually_refused(lambda: create(cluster, namespace, a_taskjob("too-early")), "may not create pods")
    return namespace


def grant(cluster: Cluster, namespace: str, verb: str, what: str, name: str = "") -> None:
    """Let ann do it there: `what` is a resource with its group."""
    resource, _, group = what.partition(".")
    role = f"{verb}-{resource}".replace("*", "all")
    rule: dict[str, list[str]] = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
    if name:
        rule["resourceNames"] = [name]
    made = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role"}
    apply(cluster, [made | {"metadata": {"name": role, "namespace": namespace}, "rules": [rule]}])
    cluster.kubectl("-n", namespace, "create", "rolebinding", role, f"--role={role}", "--user=ann")


def create(cluster: Cluster, namespace: str, job: dict[str, Any], *more: str) -> None:
    cluster.kubectl("-n", namespace, "create", ANN, "-f", "-", *more, input=json.dumps(job))


def patch(cluster: Cluster, namespace: str, name: str, spec: dict[str, Any]) -> None:
    cluster.kubectl("-n", namespace, "patch", "taskjob", name, ANN, "--type=merge", "-p", json.dumps({"spec": spec}))


def eventually_refused(attempt: Callable[[], object], words: str) -> None:
    """The API server learns of policies, of their parameters and of RoleBindings by watches: until it has, it lets the
    attempt pass, or refuses it in other words."""
    give_up_at = time.monotonic() + SETTLE_SECONDS
    while True:
        otherwise: ClusterError | None = None
        try:
            attempt()
        except ClusterError as error:
            if words in str(error):
                return
            otherwise = error
        if time.monotonic() > give_up_at:
            raise AssertionError(f"never refused with {words!r}") from otherwise
        time.sleep(0.1)


def eventually_allowed(attempt: Callable[[], object]) -> None:
    """The authorizer learns of a new RoleBinding by a watch."""
    give_up_at = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            attempt()
        except ClusterError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.1)
        else:
            return


def test_an_author_needs_to_create_pods_and_to_use_the_queue_and_a_rolebinding_suffices(
    cluster: Cluster, place: str
) -> None:
    grant(cluster, place, "create", "pods")
    eventually_refused(lambda: create(cluster, place, a_taskjob("a")), "may not use the queue default")

    grant(cluster, place, "use", "taskqueues.taskjobs.dev", "default")
    eventually_allowed(lambda: create(cluster, place, a_taskjob("a")))
    with pytest.raises(ClusterError, match="may not use the queue other"):
        create(cluster, place, a_taskjob("b", queue="other"))


def test_only_what_starts_something_else_is_asked_for_on_a_change(cluster: Cluster, place: str) -> None:
    # Made by the administrator: ann may write TaskJobs, but neither make pods nor use a queue.
    for name in ("mine", "held"):
        job = a_taskjob(name, suspend=name == "held")
        cluster.kubectl("-n", place, "create", "-f", "-", input=json.dumps(job))

    for asked in ({"queue": "other"}, {"image": "evil"}, {"command": ["x"]}, {"args": ["x"]}, {"env": [{"name": "A"}]}):
        with pytest.raises(ClusterError, match="may not create pods"):
            patch(cluster, place, "mine", asked)
    with pytest.raises(ClusterError, match="may not create pods"):
        patch(cluster, place, "held", {"suspend": False})

    patch(cluster, place, "mine", {"suspend": True})
    patch(cluster, place, "mine", {"ttlSecondsAfterFinished": 60})
    patch(cluster, place, "mine", {"cancel": True})
    cluster.kubectl("-n", place, "delete", "taskjob", "mine", ANN)


@pytest.fixture
def led_by(cluster: Cluster, home: str) -> Callable[[int | None], None]:
    """Put the operator's service account at that epoch; None takes the account away."""

    def put(epoch: int | None) -> None:
        if epoch is None:
            cluster.kubectl("-n", home, "delete", "serviceaccount", OPERATOR, "--ignore-not-found")
            return
        metadata = {"name": OPERATOR, "namespace": home, "annotations": {EPOCH: str(epoch)}}
        apply(cluster, [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}])

    return put


def test_the_operators_requests_and_those_for_its_lease_have_flows_of_their_own(
    cluster: Cluster, kubernetes_client: client.ApiClient, home: str
) -> None:
    flows = of_kind(rendered(home, TRIAL), "FlowSchema")
    apply(cluster, flows)
    uids = {
        name: cluster.kubectl("get", "flowschema", name, "-o", "jsonpath={.metadata.uid}")
        for name in (flow["metadata"]["name"] for flow in flows)
    }

    def flow_of(path: str, user: str) -> str:
        """Which flow the API server put a request into; that it is forbidden does not matter."""
        answer = kubernetes_client.rest_client.pool_manager.request(
            "GET",
            f"{cluster.server}{path}",
            headers={"Authorization": f"Bearer {cluster.token}", "Impersonate-User": user},
        )
        return str(answer.headers["X-Kubernetes-PF-FlowSchema-UID"])

    operator = f"system:serviceaccount:{home}:{OPERATOR}"
    of_pods, of_leases = "/api/v1/pods", f"/apis/coordination.k8s.io/v1/namespaces/{home}/leases/{OPERATOR}"
    lease, other = sorted(uids, key=len, reverse=True)
    give_up_at = time.monotonic() + SETTLE_SECONDS
    while (seen := (flow_of(of_leases, operator), flow_of(of_pods, operator))) != (uids[lease], uids[other]):
        assert time.monotonic() < give_up_at, f"{seen} instead of {uids}"
        time.sleep(0.1)
    assert flow_of(of_pods, "ann") not in uids.values()


def a_pod(cluster: Cluster, home: str, place: str, epoch: str | None, account: str = OPERATOR) -> None:
    """Create a pod of an attempt, as the operator would at that epoch."""
    annotations = {} if epoch is None else {"taskjobs.dev/epoch": epoch}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "attempt-",
            "labels": {"taskjobs.dev/job-uid": "u"},
            "annotations": annotations,
        },
        "spec": {"containers": [{"name": "main", "image": "busybox"}]},
    }
    who = f"--as=system:serviceaccount:{home}:{account}"
    cluster.kubectl("-n", place, "create", "-f", "-", who, input=json.dumps(pod))


def let_operate(cluster: Cluster, home: str, place: str, *accounts: str) -> None:
    """What operators may do: create pods, and write the status of TaskJobs."""
    for role, verb, resource in (("pods", "create", "pods"), ("statuses", "update", "taskjobs.taskjobs.dev/status")):
        cluster.kubectl("-n", place, "create", "role", role, f"--verb={verb}", f"--resource={resource}")
        for account in accounts:
            bound = (f"{account}-{role}", f"--role={role}", f"--serviceaccount={home}:{account}")
            cluster.kubectl("-n", place, "create", "rolebinding", *bound)


def test_a_pod_of_an_epoch_that_is_over_is_refused(
    cluster: Cluster, home: str, place: str, led_by: Callable[[int | None], None]
) -> None:
    let_operate(cluster, home, place, OPERATOR, "another")
    led_by(None)
    eventually_refused(lambda: a_pod(cluster, home, place, "7"), "param")

    led_by(7)
    eventually_allowed(lambda: a_pod(cluster, home, place, "7"))
    a_pod(cluster, home, place, "8")
    for epoch in ("6", None, "", "x", "-9", "99999999999999999999"):
        with pytest.raises(ClusterError, match=r"is over: service account taskjobs-operator is at 7"):
            a_pod(cluster, home, place, epoch)

    led_by(9)
    eventually_refused(
        lambda: a_pod(cluster, home, place, "8"), "epoch 8 is over: service account taskjobs-operator is at 9"
    )
    a_pod(cluster, home, place, "1", account="another")  # another installation has an epoch of its own


def test_only_an_operator_says_of_a_pod_whose_attempt_it_is_and_of_which_epoch(
    cluster: Cluster, home: str, place: str, led_by: Callable[[int | None], None]
) -> None:
    let_operate(cluster, home, place, OPERATOR)
    led_by(7)
    eventually_allowed(lambda: a_pod(cluster, home, place, "7"))
    ours = cluster.kubectl("-n", place, "get", "pods", "-o", "jsonpath={.items[0].metadata.name}")
    for verb in ("create", "get", "patch", "delete"):
        grant(cluster, place, verb, "pods")

    def change(*arguments: str) -> None:
        cluster.kubectl("-n", place, *arguments, ANN)

    plain = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "plain"}}
    plain |= {"spec": {"containers": [{"name": "main", "image": "busybox"}]}}
    eventually_allowed(lambda: cluster.kubectl("-n", place, "create", "-f", "-", ANN, input=json.dumps(plain)))
    copy = plain | {"metadata": {"name": "copy", "labels": {"taskjobs.dev/job-uid": "u"}}}
    forged = (
        lambda: cluster.kubectl("-n", place, "create", "-f", "-", ANN, input=json.dumps(copy)),
        lambda: change("annotate", "pod", ours, "taskjobs.dev/epoch=2147483646", "--overwrite"),
        lambda: change("annotate", "pod", ours, "taskjobs.dev/epoch-"),
        lambda: change("label", "pod", ours, "taskjobs.dev/attempt=9"),
        lambda: change("label", "pod", ours, "taskjobs.dev/job-uid-"),
        lambda: change("label", "pod", "plain", "taskjobs.dev/job-uid=u"),
    )
    for forge in forged:
        eventually_refused(forge, "only an operator of Taskjobs sets")

    eventually_allowed(lambda: change("annotate", "pod", ours, "example.com/note=mine", "taskjobs.dev/epoch=7"))
    change("label", "pod", "plain", "team=mine", "taskjobs.dev/elsewhere=1")
    eventually_allowed(lambda: change("delete", "pod", ours, "--now"))


def test_policies_that_are_removed_and_made_again_compare_with_the_epoch_of_now(
    cluster: Cluster, home: str, place: str, led_by: Callable[[int | None], None]
) -> None:
    let_operate(cluster, home, place, OPERATOR)
    led_by(7)
    eventually_allowed(lambda: a_pod(cluster, home, place, "7"))
    eventually_refused(lambda: a_pod(cluster, home, place, "6"), "epoch 6 is over")

    fence = [found for found in policies_of(home) if "-epoch" in found["metadata"]["name"]]
    assert len(fence) == 4
    remove(cluster, fence)
    eventually_allowed(lambda: a_pod(cluster, home, place, "6"))
    led_by(9)
    apply(cluster, fence)
    eventually_refused(
        lambda: a_pod(cluster, home, place, "8"), "epoch 8 is over: service account taskjobs-operator is at 9"
    )
    a_pod(cluster, home, place, "9")

    # As in a namespace that was deleted and made anew.
    led_by(None)
    eventually_refused(lambda: a_pod(cluster, home, place, "9"), "param")
    cluster.kubectl("-n", home, "create", "serviceaccount", OPERATOR)
    eventually_refused(
        lambda: a_pod(cluster, home, place, "9"), "epoch 9 is over: service account taskjobs-operator is at none"
    )
    led_by(1)
    eventually_allowed(lambda: a_pod(cluster, home, place, "1"))


def test_a_status_of_an_epoch_that_is_over_is_refused_also_where_the_new_leader_has_not_written_yet(
    cluster: Cluster, home: str, place: str, led_by: Callable[[int | None], None]
) -> None:
    resources = "taskjobs.taskjobs.dev,taskjobs.taskjobs.dev/status"
    cluster.kubectl("-n", place, "create", "role", "statuses", "--verb=get,patch", f"--resource={resources}")
    for account in (OPERATOR, "another"):
        cluster.kubectl(
            *("-n", place, "create", "rolebinding", account, "--role=statuses", f"--serviceaccount={home}:{account}")
        )
    for name in ("new", "old", "foreign"):
        cluster.kubectl("-n", place, "create", "-f", "-", input=json.dumps(a_taskjob(name)))

    def write(name: str, epoch: int | None, *, account: str | None = OPERATOR, message: str = "") -> None:
        """Patch the status, as a service account or as the administrator."""
        status: dict[str, Any] = {"phase": "Pending", "reason": "Suspended", "message": message, "epoch": epoch}
        who = [f"--as=system:serviceaccount:{home}:{account}"] if account else []
        patched = json.dumps({"status": status})
        cluster.kubectl(
            *("-n", place, "patch", "taskjob", name, "--subresource=status", "--type=merge", "-p", patched, *who)
        )

    led_by(None)
    eventually_refused(lambda: write("old", 7), "param")
    led_by(7)
    eventually_allowed(lambda: write("old", 7))
    write("old", 7, message="renewed")
    for epoch in (6, None):
        with pytest.raises(ClusterError, match=r"epoch \d is over: service account taskjobs-operator is at 7"):
            write("new", epoch)

    # The old leader's epoch was good a moment ago, and no rule of the CRD says otherwise: nobody wrote a newer one.
    led_by(8)
    eventually_refused(
        lambda: write("old", 7, message="too late"), "epoch 7 is over: service account taskjobs-operator is at 8"
    )
    with pytest.raises(ClusterError, match="epoch 7 is over: service account taskjobs-operator is at 8"):
        write("new", 7)
    write("new", 8)
    write("old", 9)

    write("foreign", 1, account="another")  # another installation has an epoch of its own
    write("foreign", 1, account=None, message="by hand")
    patch(cluster, place, "old", {"cancel": True})
