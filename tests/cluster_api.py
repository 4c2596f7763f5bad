"""The tests' own connection to an API server, and a watch that remembers everything: the witness of what happened.

Not the operator's client: what the operator is judged by must not share its code.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol, Self

import urllib3

Object = dict[str, Any]
MERGE: Final = "application/merge-patch+json"
TASKJOBS: Final = "/apis/taskjobs.dev/v1beta1/namespaces/{namespace}/taskjobs"
TASKQUEUES: Final = "/apis/taskjobs.dev/v1beta1/taskqueues"
PODS: Final = "/api/v1/namespaces/{namespace}/pods"


class RefusedError(Exception):
    """An answer that was no success: its code and the server's message."""

    def __init__(self, code: int, body: bytes) -> None:
        try:
            message = json.loads(body).get("message", "")
        except ValueError:
            message = body.decode(errors="replace")
        self.code = code
        self.message: str = message
        super().__init__(f"{code}: {message}")


class Reachable(Protocol):
    """Where an API server is, and what opens it: a cluster that runs here, or an account in another."""

    @property
    def server(self) -> str:
        """Its URL."""

    @property
    def token(self) -> str:
        """A bearer token."""

    @property
    def ca_file(self) -> Path:
        """A PEM file to verify it by."""


class ClusterApi:
    """Requests to one API server as the token's owner (a cluster's own: its administrator); safe in several threads."""

    def __init__(self, cluster: Reachable) -> None:
        self.server = cluster.server
        self._headers = {"Authorization": f"Bearer {cluster.token}"}
        self._pool = urllib3.PoolManager(ca_certs=str(cluster.ca_file), maxsize=8, retries=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.clear()

    def raw(self, method: str, path: str, body: Object | None = None, content_type: str = "application/json") -> bytes:
        """The body of the answer. Raises `RefusedError`, or urllib3's errors where no answer came.

        A server that is too busy (429, as while its storage begins) is asked again for 10 s.
        """
        give_up_at = time.monotonic() + 10
        while True:
            answer = self._pool.request(
                method,
                self.server + path,
                body=None if body is None else json.dumps(body).encode(),
                headers={**self._headers, "Content-Type": content_type},
                timeout=30,
            )
            if answer.status < 300:
                return answer.data
            if answer.status != 429 or time.monotonic() > give_up_at:
                raise RefusedError(answer.status, answer.data)
            time.sleep(0.1)

    def call(
        self, method: str, path: str, body: Object | None = None, content_type: str = "application/json"
    ) -> Object:
        """The answered object."""
        found = json.loads(self.raw(method, path, body, content_type))
        assert isinstance(found, dict)
        return found

    def create_namespace(self, name: str) -> None:
        """Make a namespace."""
        self.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})

    def create_queue(self, name: str, spec: Object | None = None, /, **quota: str | int) -> Object:
        """Make a TaskQueue with this quota, and what else the spec says."""
        body = {
            "apiVersion": "taskjobs.dev/v1beta1",
            "kind": "TaskQueue",
            "metadata": {"name": name},
            "spec": {"quota": {key: str(value) for key, value in quota.items()}} | (spec or {}),
        }
        return self.call("POST", TASKQUEUES, body)

    def change_queue(self, name: str, **spec: Any) -> Object:
        """Change fields of a TaskQueue's spec."""
        return self.call("PATCH", f"{TASKQUEUES}/{name}", {"spec": spec}, MERGE)

    def stream(self, path: str) -> urllib3.BaseHTTPResponse:
        """An answer that is read as it comes: a watch. Raises `RefusedError`."""
        answer = self._pool.request(
            "GET", self.server + path, headers=self._headers, preload_content=False, timeout=urllib3.Timeout(5, 330)
        )
        if answer.status >= 300:
            raise RefusedError(answer.status, answer.read())
        return answer


class InNamespace:
    """The TaskJobs and pods of one namespace."""

    def __init__(self, api: ClusterApi, namespace: str) -> None:
        self.api = api
        self.namespace = namespace
        self._jobs = TASKJOBS.format(namespace=namespace)
        self._pods = PODS.format(namespace=namespace)

    def create(self, job: Object) -> Object:
        """Create a TaskJob."""
        return self.api.call("POST", self._jobs, job)

    def job(self, name: str) -> Object:
        """A TaskJob as it is."""
        return self.api.call("GET", f"{self._jobs}/{name}")

    def jobs(self) -> dict[str, Object]:
        """All TaskJobs by name."""
        return {job["metadata"]["name"]: job for job in self.api.call("GET", self._jobs)["items"]}

    def pods(self) -> dict[str, Object]:
        """All pods by name."""
        return {pod["metadata"]["name"]: pod for pod in self.api.call("GET", self._pods)["items"]}

    def change(self, name: str, **spec: Any) -> Object:
        """Merge fields into a TaskJob's spec."""
        return self.api.call("PATCH", f"{self._jobs}/{name}", {"spec": spec}, MERGE)

    def delete(self, name: str, propagation: str = "Background") -> None:
        """Delete a TaskJob."""
        self.api.call("DELETE", f"{self._jobs}/{name}", {"propagationPolicy": propagation})

    def delete_all(self) -> None:
        """Delete all TaskJobs and, at once, all pods."""
        self.api.raw("DELETE", self._jobs, {"propagationPolicy": "Background"})
        self.api.raw("DELETE", self._pods, {"gracePeriodSeconds": 0})

    def watch_jobs(self) -> Witness:
        """Remember the TaskJobs from now on."""
        return Witness(self.api, self._jobs)

    def watch_pods(self) -> Witness:
        """Remember the pods from now on."""
        return Witness(self.api, self._pods)


class Witness:
    """Lists, then watches a collection in a thread of its own; `objects` is what is, `seen` all that ever was.

    `wait_until` returns on the first event that makes its condition true: no polling. A watch that breaks is begun
    anew from where it was, or from a list if the server has forgotten that version.
    """

    def __init__(self, api: ClusterApi, path: str) -> None:
        self._api = api
        self._path = path
        self._news = threading.Condition()
        self._stopping = False
        self._answer: urllib3.BaseHTTPResponse | None = None
        self.objects: dict[str, Object] = {}
        self.seen: list[tuple[str, Object]] = []
        """Every event, with the type that the server gave it; `LISTED` for what a list held, `GONE` for what it did not
        hold any more (as it was last seen)."""
        self.listeners: list[Callable[[str, Object], None]] = []
        """Called in the witness's thread on each event, before those who wait are woken; must not block."""
        self._version = self._list()
        self._thread = threading.Thread(target=self._run, name=f"witness of {path}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        answer = self._answer
        if answer is not None:
            with suppress(OSError, ValueError):  # it may be between two watches
                answer.shutdown()
        self._thread.join(10)

    def __getitem__(self, name: str) -> Object:
        with self._news:
            return self.objects[name]

    def snapshot(self) -> dict[str, Object]:
        """All objects that are there now."""
        with self._news:
            return dict(self.objects)

    def history(self, name: str) -> list[tuple[str, Object]]:
        """The events of one object."""
        with self._news:
            return [(kind, found) for kind, found in self.seen if found["metadata"]["name"] == name]

    def wait_until(
        self, condition: Callable[[Mapping[str, Object]], bool], seconds: float, what: str | Callable[[], str]
    ) -> None:
        """Return when the condition holds of `objects`; AssertionError after so many seconds."""
        found: list[bool | Exception] = []

        def look(*_: object) -> None:
            """At each event, in the witness's thread: what holds for a moment only is seen, too."""
            try:
                if not found and condition(self.objects):
                    found.append(True)
            except Exception as error:  # is raised to the one who waits
                found.append(error)

        with self._news:
            self.listeners.append(look)
            try:
                look()
                if not self._news.wait_for(lambda: found, seconds):
                    look()  # it may depend on other things than these objects
            finally:
                self.listeners.remove(look)
            if not found:
                told = what if isinstance(what, str) else what()
                raise AssertionError(f"not within {seconds:.0f} s: {told}\n{summary(self.objects.values())}")
        if isinstance(found[0], Exception):
            raise found[0]

    def wait_status(self, name: str, seconds: float = 20, **fields: Any) -> Object:
        """Wait until the object's status has these fields; the object."""
        found: Object = {}

        def holds(objects: Mapping[str, Object]) -> bool:
            status = objects.get(name, {}).get("status") or {}
            if all(status.get(key) == value for key, value in fields.items()):
                found.update(objects.get(name, {}))
                return name in objects
            return False

        self.wait_until(holds, seconds, lambda: f"{name} with {fields}")
        return found

    def wait_phase(self, name: str, phase: str, seconds: float = 20) -> Object:
        """Wait until the TaskJob (or pod) is in this phase; the object."""
        return self.wait_status(name, seconds, phase=phase)

    def wait_gone(self, name: str, seconds: float = 20) -> None:
        """Wait until there is no object of this name."""
        self.wait_until(lambda objects: name not in objects, seconds, f"{name} is gone")

    def _list(self) -> str:
        found = self._api.call("GET", self._path)
        with self._news:
            before, self.objects = self.objects, {item["metadata"]["name"]: item for item in found["items"]}
            uids = {item["metadata"]["uid"] for item in found["items"]}
            events = [("GONE", item) for item in before.values() if item["metadata"]["uid"] not in uids]
            events += [("LISTED", item) for item in found["items"]]
            self._tell(events)
        return str(found["metadata"]["resourceVersion"])

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._follow()
            except (RefusedError, OSError, urllib3.exceptions.HTTPError, ValueError) as error:
                if isinstance(error, RefusedError) and error.code in (410, 504):
                    self._list_again()
                with self._news:
                    self._news.wait(0.1)

    def _list_again(self) -> None:
        try:
            self._version = self._list()
        except (RefusedError, OSError, urllib3.exceptions.HTTPError):
            return

    def _follow(self) -> None:
        self._answer = answer = self._api.stream(
            f"{self._path}?watch=true&allowWatchBookmarks=true&timeoutSeconds=300&resourceVersion={self._version}"
        )
        rest = b""
        try:
            while piece := answer.read1(65536):
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if line:
                        self._take(json.loads(line))
        finally:
            answer.close()

    def _take(self, event: Object) -> None:
        kind, found = event["type"], event["object"]
        if kind == "ERROR":
            raise RefusedError(found.get("code", 500), json.dumps(found).encode())
        with self._news:
            self._version = found["metadata"]["resourceVersion"]
            if kind == "BOOKMARK":
                return
            name = found["metadata"]["name"]
            if kind == "DELETED":
                self.objects.pop(name, None)
            else:
                self.objects[name] = found
            self._tell([(kind, found)])

    def _tell(self, events: Sequence[tuple[str, Object]]) -> None:
        self.seen.extend(events)
        for listener in list(self.listeners):
            for event in events:
                listener(*event)
        self._news.notify_all()


def summary(objects: Iterable[Object]) -> str:
    """Objects for people who read a failure: one line each, forty at most, first those that have not ended."""
    lines = []
    for found in sorted(objects, key=ended):
        status = found.get("status") or {}
        shown = {key: status.get(key) for key in ("phase", "reason", "attempt", "retries", "message") if key in status}
        lines.append(f"  {found['metadata']['name']}: {shown}")
    more = f"\n  ... and {len(lines) - 40} more" if len(lines) > 40 else ""
    return "\n".join(lines[:40]) + more


def a_job(name: str, *, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    """A TaskJob whose pod does what the keyword arguments of `simulated` say; other keywords go into the spec.

    `seconds`, `until` (a random time between both), `starts_in`, `exits` ("1,0": one code for each attempt).
    """
    annotations = {
        key: str(value)
        for key, field in (
            ("taskjobs.dev/kwok-seconds", "seconds"),
            ("taskjobs.dev/kwok-seconds-max", "until"),
            ("taskjobs.dev/kwok-start-seconds", "starts_in"),
            ("taskjobs.dev/kwok-exit-code", "exits"),
        )
        if (value := spec.pop(field, None)) is not None
    }
    container: Object = {"name": "main", "image": "busybox"}
    if requests := spec.pop("requests", None):
        container["resources"] = {"requests": requests}
    pod = {"containers": [container], "terminationGracePeriodSeconds": 1} | spec.pop("pod", {})
    return {
        "apiVersion": "taskjobs.dev/v1beta1",
        "kind": "TaskJob",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"template": {"metadata": {"annotations": annotations}, "spec": pod}} | spec,
    }


def after(*names: str, condition: str | None = None) -> list[Object]:
    """A `dependsOn` of these jobs."""
    return [{"name": name} | ({"condition": condition} if condition else {}) for name in names]


def ended(found: Object) -> bool:
    """Whether a TaskJob is in a terminal phase."""
    return (found.get("status") or {}).get("phase") in ("Succeeded", "Failed", "Cancelled", "Skipped")
