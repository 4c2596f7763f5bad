"""`ports.KubePort` over HTTP: what the control loop asks of the API server, and what the answers mean.

One request per call where the answer is definite; a 409 is looked into by one GET. Nothing is retried here: what is
idempotent and when to ask again is the caller's to know.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote

import msgspec

from taskjob.core.decisions import EndBy, EndPod, Launch, RemoveJob, RemovePod, SetQueueStatus, SetStatus
from taskjob.core.model import Job, Pod
from taskjob.core.notices import Notice
from taskjob.kube.events import event
from taskjob.kube.fields import UNREADABLE
from taskjob.kube.http import JSON_PATCH, MERGE_PATCH, KubeHttp, NoAnswerError, Reply, encode
from taskjob.kube.logs import open_log
from taskjob.kube.patches import queue_status_patch, status_update
from taskjob.kube.pod_shape import PodObject
from taskjob.kube.pods import manifest, owned_by, parse_pod, pod_name
from taskjob.kube.schema import (
    GROUP,
    VERSION,
    UnusableObjectError,
    parse_job,
)
from taskjob.ports import (
    Changed,
    Deposed,
    Done,
    Gone,
    Launched,
    LogStream,
    NoLog,
    Refused,
    Stale,
    Unreachable,
    Written,
)

_IS_OVER: Final = re.compile(
    r"""\S+ "[^"]*" is forbidden: ValidatingAdmissionPolicy '[^']*' with binding '[^']*' denied request: """
    r"epoch \S* ?is over: service account "
)
FIELD_MANAGER: Final = "taskjobs"
_GROUP_PATH: Final = f"/apis/{GROUP}/{VERSION}"
_decode_pod = msgspec.json.Decoder(PodObject).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def pod_path(namespace: str, name: str = "") -> str:
    """Where pods of a namespace, or one of them, stand."""
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/pods" + (f"/{quote(name, safe='')}" if name else "")


def job_path(namespace: str, name: str = "") -> str:
    """Where TaskJobs of a namespace, or one of them, stand."""
    path = f"{_GROUP_PATH}/namespaces/{quote(namespace, safe='')}/taskjobs"
    return path + (f"/{quote(name, safe='')}" if name else "")


class KubeClient:
    """The real `ports.KubePort`."""

    def __init__(self, http: KubeHttp, parse: Callable[[bytes | PodObject], Pod] = parse_pod) -> None:
        self.http = http
        self._parse = parse

    # ------------------------------------------------------------ pods
    async def launch(self, launch: Launch, epoch: int) -> Launched | Deposed | Refused | Gone | Unreachable:
        """Create the attempt's pod.

        A name already taken is looked into: ours (owner uid and identity labels match) is `Launched`. If the pod of
        that name vanished meanwhile, the answer is `Unreachable`: whether it was this attempt's is for the watch
        to tell, and creating it again could make two of one attempt.
        """
        namespace = launch.job.namespace
        try:
            body = manifest(launch, epoch)
        except ValueError as error:
            return Refused(422, str(error))
        try:
            reply = await self.http.request(
                "POST",
                pod_path(namespace),
                verb="create",
                resource="pods",
                # Strict: a field that this API server does not know is refused with its name, not dropped.
                query={"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"},
                body=body,
            )
            if reply.ok:
                return Launched(self._parse(reply.body))
            if reply.code == 409 and reply.status().reason == "AlreadyExists":
                return await self._found(launch)
            if reply.code == 500:
                return await self._failed(launch, reply)
        except (NoAnswerError, UnusableObjectError) as error:
            return Unreachable(str(error))
        if _fenced(reply):
            return Deposed(reply.message)
        return _no(reply)

    async def _failed(self, launch: Launch, said: Reply) -> Launched | Refused | Unreachable:
        """The API server failed over it, as over some manifests it always does: whether there is a pod nonetheless."""
        namespace, name = launch.job.namespace, pod_name(launch.job.name, launch.attempt)
        reply = await self.http.request("GET", pod_path(namespace, name), verb="get", resource="pods")
        if reply.ok:
            return await self._found(launch)
        return Unreachable(said.message, said.retry_after_seconds, absent=reply.code == 404)

    async def _found(self, launch: Launch) -> Launched | Refused | Unreachable:
        namespace, name = launch.job.namespace, pod_name(launch.job.name, launch.attempt)
        reply = await self.http.request("GET", pod_path(namespace, name), verb="get", resource="pods")
        if not reply.ok:
            return Unreachable(f"pod {namespace}/{name} existed a moment ago: {reply.message}")
        try:
            found = _decode_pod(reply.body)
            pod = self._parse(found)
            ours = owned_by(found, launch.attempt.uid) and pod.attempt == launch.attempt
        except (UnusableObjectError, *UNREADABLE):
            ours = False
        if ours:
            return Launched(pod)
        return Refused(409, f"a pod {namespace}/{name} exists and is not this attempt's: remove or rename it")

    async def end_pod(self, decision: EndPod) -> Done | Changed | Gone | Refused | Unreachable:
        """Lower the pod's deadline to 1 s, or delete it as it was seen; both only if the name still has that uid."""
        pod = decision.pod
        if decision.by is EndBy.DELETE:
            answer = await self._delete_pod(pod, {"uid": pod.uid, "resourceVersion": str(pod.version)})
            return await self._changed(pod) if answer == Gone() else answer
        # Unlike in a patch of a status, the API server compares metadata.uid here: 422 if it is another's.
        patch = {"metadata": {"uid": pod.uid}, "spec": {"activeDeadlineSeconds": 1}}
        try:
            reply = await self.http.request(
                "PATCH",
                pod_path(pod.namespace, pod.name),
                verb="patch",
                resource="pods",
                query={"fieldManager": FIELD_MANAGER},
                body=encode(patch),
                content_type=MERGE_PATCH,
            )
            if reply.ok:
                return Done(self._parse(reply.body))
            if reply.code == 422 and any(cause.field == "metadata.uid" for cause in reply.status().causes):
                return Gone()
        except (NoAnswerError, UnusableObjectError) as error:
            return Unreachable(str(error))
        return _no(reply)

    async def remove_pod(self, decision: RemovePod) -> Done | Gone | Refused | Unreachable:
        """Delete an ended pod."""
        return await self._delete_pod(decision.pod, {"uid": decision.pod.uid})

    async def _changed(self, pod: Pod) -> Changed | Gone | Refused | Unreachable:
        """Why the pod could not be deleted as it was seen: it has changed, or it is gone."""
        try:
            reply = await self.http.request("GET", pod_path(pod.namespace, pod.name), verb="get", resource="pods")
            if not reply.ok:
                return _no(reply)
            found = self._parse(reply.body)
        except (NoAnswerError, UnusableObjectError) as error:
            return Unreachable(str(error))
        return Changed(found) if found.uid == pod.uid else Gone()

    async def _delete_pod(self, pod: Pod, preconditions: dict[str, str]) -> Done | Gone | Refused | Unreachable:
        """The reply's pod is not passed on: for a pod that is gone at once it looks as if it were still there."""
        try:
            reply = await self.http.request(
                "DELETE",
                pod_path(pod.namespace, pod.name),
                verb="delete",
                resource="pods",
                body=encode({"preconditions": preconditions, "propagationPolicy": "Background"}),
            )
        except NoAnswerError as error:
            return Unreachable(str(error))
        if reply.ok:
            return Done()
        return Gone() if reply.code == 409 else _no(reply)  # 409: what is there is not what was meant

    async def open_log(
        self, pod: Pod, container: str, *, since: str | None, follow: bool
    ) -> LogStream | NoLog | Gone | Unreachable:
        """A container's log; see `logs.open_log`."""
        path = pod_path(pod.namespace, pod.name)
        return await open_log(self.http, path, pod, container, since=since, follow=follow)

    # ------------------------------------------------------------ TaskJobs and TaskQueues
    async def set_status(
        self, decision: SetStatus, epoch: int
    ) -> Written | Stale | Deposed | Refused | Gone | Unreachable:
        """Write a TaskJob's status over the version it was decided from."""
        job = decision.job
        try:
            reply = await self.http.request(
                "PUT",
                job_path(job.namespace, job.name) + "/status",
                verb="update",
                resource="taskjobs/status",
                query={"fieldManager": FIELD_MANAGER},
                body=status_update(job, decision.status, epoch),
            )
            if reply.ok:
                return Written(parse_job(_decode_object(reply.body)))
            if reply.code == 409:
                fresh = await self.get_job(job)
                if isinstance(fresh, Job) and fresh.status.epoch > epoch:
                    return Deposed(
                        f"epoch {fresh.status.epoch} has written {job.namespace}/{job.name}, ours is {epoch}"
                    )
                return fresh if isinstance(fresh, Unreachable) else Stale(fresh if isinstance(fresh, Job) else None)
        except (NoAnswerError, UnusableObjectError, *UNREADABLE) as error:
            return Unreachable(str(error))
        if _fenced(reply) or _lowered(reply):
            return Deposed(reply.message)
        return _no(reply)

    async def announce(self, notice: Notice) -> Done | Refused | Unreachable:
        """Make an Event on the TaskJob, unless this very one is there."""
        try:
            reply = await self.http.request(
                "POST",
                f"/api/v1/namespaces/{quote(notice.job.namespace, safe='')}/events",
                verb="create",
                resource="events",
                body=encode(event(notice, self.http.clock.now())),
            )
        except NoAnswerError as error:
            return Unreachable(str(error))
        if reply.ok or reply.code == 409:
            return Done()
        answer = _no(reply)
        return Done() if isinstance(answer, Gone) else answer  # with its namespace the object is gone too

    async def get_job(self, job: Job) -> Job | Gone | Unreachable:
        """The TaskJob as it now is; `Gone` if its uid has left."""
        try:
            reply = await self.http.request("GET", job_path(job.namespace, job.name), verb="get", resource="taskjobs")
            if reply.ok:
                fresh = parse_job(_decode_object(reply.body))
                return fresh if fresh.uid == job.uid else Gone()
        except (NoAnswerError, UnusableObjectError, *UNREADABLE) as error:
            return Unreachable(str(error))
        return Gone() if reply.code == 404 else Unreachable(reply.message, reply.retry_after_seconds)

    async def remove_job(self, decision: RemoveJob) -> Done | Gone | Stale | Refused | Unreachable:
        """Delete a TaskJob if it is still what it was when that was decided."""
        job = decision.job
        try:
            reply = await self.http.request(
                "DELETE",
                job_path(job.namespace, job.name),
                verb="delete",
                resource="taskjobs",
                body=encode(
                    {
                        "preconditions": {"uid": job.uid, "resourceVersion": str(job.version)},
                        "propagationPolicy": "Background",
                    }
                ),
            )
        except NoAnswerError as error:
            return Unreachable(str(error))
        if reply.ok:
            return Done()
        if reply.code == 409:
            fresh = await self.get_job(job)
            return Stale(fresh) if isinstance(fresh, Job) else fresh
        return _no(reply)

    async def set_queue_status(self, decision: SetQueueStatus) -> Done | Gone | Refused | Unreachable:
        """Replace a TaskQueue's status by these figures."""
        try:
            reply = await self.http.request(
                "PATCH",
                f"{_GROUP_PATH}/taskqueues/{quote(decision.queue.name, safe='')}/status",
                verb="patch",
                resource="taskqueues/status",
                query={"fieldManager": FIELD_MANAGER},
                body=queue_status_patch(decision, self.http.clock.now()),
                content_type=JSON_PATCH,
            )
        except NoAnswerError as error:
            return Unreachable(str(error))
        return Done() if reply.ok else _no(reply)


def _no(reply: Reply) -> Refused | Gone | Unreachable:
    """What an answer other than success means where nothing special is known of it."""
    if reply.code == 404:
        return Gone()
    if reply.unsettled:
        return Unreachable(reply.message, reply.retry_after_seconds)
    return Refused(reply.code, reply.message)


def _fenced(reply: Reply) -> bool:
    """Whether the chart's admission policy refused a write because its epoch is over. Its words count at their place
    only: other refusals quote what users wrote."""
    return reply.code == 403 and _IS_OVER.match(reply.status().message) is not None


def _lowered(reply: Reply) -> bool:
    """Whether the CRD's rule refused a status because one of a newer epoch is there."""
    return reply.code == 422 and any(cause.field == "status.epoch" for cause in reply.status().causes)
