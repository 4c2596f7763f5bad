"""Each right of the operator: what it is for, what fails without it, and a probe that shows it.

What a probe does is the operator's own code wherever that code makes a single request of that verb.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from builders import launch_of
from charts import OPERATOR
from kube_worlds import RealWorld
from taskjob.core.decisions import EndBy, EndPod, RemoveJob, RemovePod, SetQueueStatus, SetStatus, Urgency
from taskjob.core.model import Job, Pod, Queue
from taskjob.core.notices import Notice
from taskjob.core.phases import Phase, Reason
from taskjob.kube.callers import Callers
from taskjob.kube.client import KubeClient, pod_path
from taskjob.kube.http import MERGE_PATCH, KubeHttp, Reply, encode
from taskjob.kube.lists import list_jobs, list_queues, pages
from taskjob.kube.pods import EPOCH as ANNOTATION
from taskjob.kube.pods import JOB_UID
from taskjob.kube.schema import GROUP, VERSION
from taskjob.ports import Done, Launched, Written

EPOCH = 1
Verb = tuple[str, str]  # resource with its subresource, verb


@dataclass(slots=True)
class Scene:
    """What the probes act on: the operator under its own account, and objects that the administrator made."""

    http: KubeHttp
    admin: RealWorld
    job: Job
    pod: Pod
    queue: Queue
    home: str

    @property
    def kube(self) -> KubeClient:
        return KubeClient(self.http)

    async def send(self, method: str, path: str, body: object = None, **query: str) -> Reply:
        content = MERGE_PATCH if method == "PATCH" else "application/json"
        return await self.http.request(
            method,
            path,
            verb="probe",
            resource="probe",
            query=query,
            body=None if body is None else encode(body),
            content_type=content,
        )


Probe = Callable[[Scene], Awaitable[None]]


class DeniedError(Exception):
    """The API server said no."""


def must_be(answer: object, *kinds: type) -> None:
    if not isinstance(answer, kinds):
        raise DeniedError(str(answer))


def must_not_be_forbidden(reply: Reply) -> None:
    """Allowed, whatever else may be wrong with the request."""
    if reply.code == 403:
        raise DeniedError(reply.message)


async def watch(scene: Scene, path: str) -> None:
    """One watch, as the operator's: over at once."""
    query = {"watch": "true", "timeoutSeconds": "1", "resourceVersion": "0"}
    async with scene.http.stream(path, verb="watch", resource="probe", query=query, silence_seconds=10) as response:
        if response.status != 200:
            raise DeniedError(str(response.status))


async def list_of_jobs(scene: Scene) -> None:
    await list_jobs(scene.http)


async def watch_of_jobs(scene: Scene) -> None:
    await watch(scene, f"/apis/{GROUP}/{VERSION}/taskjobs")


async def a_job_looked_at_again(scene: Scene) -> None:
    must_be(await scene.kube.get_job(scene.job), Job)


async def a_job_whose_time_is_over(scene: Scene) -> None:
    must_be(await scene.kube.remove_job(RemoveJob(scene.job)), Done)


async def a_status(scene: Scene) -> None:
    status = replace(scene.job.status, phase=Phase.PENDING, reason=Reason.WAITING_FOR_QUOTA, transition=1)
    must_be(await scene.kube.set_status(SetStatus(scene.job, status, Urgency.PROGRESS), EPOCH), Written)


async def list_of_queues(scene: Scene) -> None:
    await list_queues(scene.http)


async def watch_of_queues(scene: Scene) -> None:
    await watch(scene, f"/apis/{GROUP}/{VERSION}/taskqueues")


async def a_queues_figures(scene: Scene) -> None:
    must_be(await scene.kube.set_queue_status(SetQueueStatus(scene.queue, 1, 0, ())), Done)


async def a_launch(scene: Scene) -> None:
    must_be(await scene.kube.launch(launch_of(scene.job, 2), EPOCH), Launched)


async def a_launch_that_a_crash_interrupted(scene: Scene) -> None:
    must_be(await scene.kube.launch(launch_of(scene.job), EPOCH), Launched)


async def list_of_pods(scene: Scene) -> None:
    async for _ in pages(scene.http, "/api/v1/pods", "pods", {"labelSelector": JOB_UID}):
        pass


async def watch_of_pods(scene: Scene) -> None:
    await watch(scene, "/api/v1/pods")


async def a_pods_deadline(scene: Scene) -> None:
    must_be(await scene.kube.end_pod(EndPod(scene.pod, EndBy.DEADLINE, "probe")), Done)


async def a_pod_that_ended(scene: Scene) -> None:
    must_be(await scene.kube.remove_pod(RemovePod(scene.pod)), Done)


async def a_notice(scene: Scene) -> None:
    must_be(await scene.kube.announce(Notice(scene.job, "InvalidSpec", "spec.image is a list")), Done)


async def list_of_nodes(scene: Scene) -> None:
    async for _ in pages(scene.http, "/api/v1/nodes", "nodes"):
        pass


async def watch_of_nodes(scene: Scene) -> None:
    await watch(scene, "/api/v1/nodes")


async def list_of_namespaces(scene: Scene) -> None:
    async for _ in pages(scene.http, "/api/v1/namespaces", "namespaces"):
        pass


async def watch_of_namespaces(scene: Scene) -> None:
    await watch(scene, "/api/v1/namespaces")


async def a_log(scene: Scene) -> None:
    # There is no node here, so there is no log: what counts is that the question is allowed.
    must_not_be_forbidden(await scene.send("GET", pod_path(scene.pod.namespace, scene.pod.name) + "/log"))


async def a_caller(scene: Scene) -> None:
    assert not await Callers(scene.http, ["somebody"]).accepts("Bearer not.a.token")


def leases_of(home: str, name: str = "") -> str:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{home}/leases"
    return f"{path}/{name}" if name else path


async def the_lease_read(scene: Scene) -> None:
    must_not_be_forbidden(await scene.send("GET", leases_of(scene.home, OPERATOR)))


async def the_lease_made(scene: Scene) -> None:
    body = {"metadata": {"name": f"probe-{uuid.uuid4().hex[:6]}"}, "spec": {"leaseTransitions": 1}}
    must_not_be_forbidden(await scene.send("POST", leases_of(scene.home), body))


async def the_lease_renewed(scene: Scene) -> None:
    must_not_be_forbidden(await scene.send("PATCH", leases_of(scene.home, OPERATOR), {"spec": {"leaseTransitions": 2}}))


async def its_account_read(scene: Scene) -> None:
    must_not_be_forbidden(await scene.send("GET", f"/api/v1/namespaces/{scene.home}/serviceaccounts/{OPERATOR}"))


async def its_epoch_announced(scene: Scene) -> None:
    path = f"/api/v1/namespaces/{scene.home}/serviceaccounts/{OPERATOR}"
    must_not_be_forbidden(await scene.send("PATCH", path, {"metadata": {"annotations": {ANNOTATION: "1"}}}))


# Each right of the operator, what it is for, and what fails without it.
TABLE: dict[Verb, tuple[Probe, str]] = {
    ("taskjobs", "list"): (list_of_jobs, "the operator never knows the cluster: it does not start to decide"),
    ("taskjobs", "watch"): (watch_of_jobs, "new TaskJobs are seen only by the list of every few minutes"),
    ("taskjobs", "get"): (a_job_looked_at_again, "a status that met a conflict is not decided anew"),
    ("taskjobs", "delete"): (a_job_whose_time_is_over, "ttlSecondsAfterFinished does nothing"),
    ("taskjobs/status", "update"): (a_status, "no phase, no reason, no attempt is ever written"),
    ("taskqueues", "list"): (list_of_queues, "the operator never knows the quotas: it does not start to decide"),
    ("taskqueues", "watch"): (watch_of_queues, "a changed quota is seen only by the list of every few minutes"),
    ("taskqueues/status", "patch"): (a_queues_figures, "kubectl get taskqueues shows no figures"),
    ("pods", "create"): (a_launch, "nothing runs"),
    ("pods", "get"): (a_launch_that_a_crash_interrupted, "a pod that exists already is not known for ours"),
    ("pods", "list"): (list_of_pods, "the operator never knows its pods: it does not start to decide"),
    ("pods", "watch"): (watch_of_pods, "the end of a pod is not seen"),
    ("pods", "patch"): (a_pods_deadline, "cancel and timeouts do not stop a running pod with grace"),
    ("pods", "delete"): (a_pod_that_ended, "ended pods stay, and those without a node cannot be stopped"),
    ("events", "create"): (a_notice, "kubectl describe shows no Events of a TaskJob: failed attempts, refused pods"),
    ("pods/log", "get"): (a_log, "no log is kept in history"),
    ("tokenreviews", "create"): (a_caller, "the API cannot ask why a job waits: explain answers 503"),
    ("nodes", "list"): (list_of_nodes, "a TaskQueue with quotaFromNodes admits nothing, and says why"),
    ("nodes", "watch"): (watch_of_nodes, "a node that comes or goes changes no quota until the next list"),
    ("namespaces", "list"): (list_of_namespaces, "a TaskQueue with a namespaceSelector admits nothing, and says why"),
    ("namespaces", "watch"): (watch_of_namespaces, "a namespace's new labels are not seen until the next list"),
    ("leases", "get"): (the_lease_read, "no epoch: the operator ends at its start"),
    ("leases", "create"): (the_lease_made, "no epoch in a new installation: the operator ends at its start"),
    ("leases", "patch"): (the_lease_renewed, "no epoch: the operator ends at its start"),
    ("serviceaccounts", "get"): (its_account_read, "the policies are not told the epoch: who comes to lead ends"),
    ("serviceaccounts", "patch"): (its_epoch_announced, "the policies are not told the epoch: who comes to lead ends"),
}
