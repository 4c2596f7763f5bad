"""TaskJobs and TaskQueues sent to a real API server, and its refusals as values."""

from __future__ import annotations

import json
from typing import Any, Final

from kubernetes import client

from taskjob.resources.words import API_VERSION, GROUP, TASKJOB, TASKJOBS, TASKQUEUE, TASKQUEUES, VERSION

Object = dict[str, Any]
_MERGE: Final = "application/merge-patch+json"


class RefusedError(Exception):
    """What the API server said: `fields` by path, and the whole message."""

    def __init__(self, error: client.ApiException) -> None:
        said = json.loads(error.body or "{}")
        self.message: str = said.get("message", str(error))
        causes = (said.get("details") or {}).get("causes") or []
        self.fields: dict[str, str] = {cause.get("field", ""): cause["message"] for cause in causes}
        super().__init__(self.message)


class Server:
    """The objects of one namespace, sent as the API sends them: unknown fields are refused. Raises RefusedError."""

    def __init__(self, connected: client.ApiClient, namespace: str) -> None:
        self._custom = client.CustomObjectsApi(connected)
        self.namespace = namespace

    def create(self, job: Object) -> Object:
        """Create a TaskJob; the stored object."""
        try:
            made = self._custom.create_namespaced_custom_object(
                GROUP, VERSION, self.namespace, TASKJOBS, body=job, field_validation="Strict"
            )
        except client.ApiException as error:
            raise RefusedError(error) from error
        return _object(made)

    def patch(self, name: str, change: Object) -> Object:
        """Merge a change into a TaskJob; the stored object."""
        try:
            made = self._custom.patch_namespaced_custom_object(
                GROUP, VERSION, self.namespace, TASKJOBS, name, change, field_validation="Strict", _content_type=_MERGE
            )
        except client.ApiException as error:
            raise RefusedError(error) from error
        return _object(made)

    def patch_status(self, name: str, status: Object | None) -> Object:
        """Merge a change into a TaskJob's status; None takes the status away. The stored object."""
        try:
            made = self._custom.patch_namespaced_custom_object_status(
                GROUP, VERSION, self.namespace, TASKJOBS, name, {"status": status}, _content_type=_MERGE
            )
        except client.ApiException as error:
            raise RefusedError(error) from error
        return _object(made)

    def create_queue(self, queue: Object) -> Object:
        """Create a TaskQueue; the stored object."""
        try:
            made = self._custom.create_cluster_custom_object(
                GROUP, VERSION, TASKQUEUES, body=queue, field_validation="Strict"
            )
        except client.ApiException as error:
            raise RefusedError(error) from error
        return _object(made)

    def patch_queue(self, name: str, change: Object) -> Object:
        """Merge into a TaskQueue; the stored object."""
        try:
            made = self._custom.patch_cluster_custom_object(
                GROUP, VERSION, TASKQUEUES, name, change, field_validation="Strict"
            )
        except client.ApiException as error:
            raise RefusedError(error) from error
        return _object(made)


def _object(answer: object) -> Object:
    assert isinstance(answer, dict)
    return answer


def a_taskjob(name: str = "train", **spec: Any) -> Object:
    """A TaskJob in the short form; a field that is None is left out."""
    said = {key: value for key, value in ({"image": "busybox"} | spec).items() if value is not None}
    return {"apiVersion": API_VERSION, "kind": TASKJOB, "metadata": {"name": name}, "spec": said}


def a_taskqueue(name: str, **spec: Any) -> Object:
    """A TaskQueue."""
    return {"apiVersion": API_VERSION, "kind": TASKQUEUE, "metadata": {"name": name}, "spec": spec}


def templated(pod: Object | None = None, container: Object | None = None, **spec: Any) -> Object:
    """The spec of a TaskJob with a pod template instead of the short form."""
    containers = [{"name": "main", "image": "busybox"} | (container or {})]
    return {"image": None, "template": {"spec": {"containers": containers} | (pod or {})}} | spec
