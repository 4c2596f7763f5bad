"""A watch of TaskJobs of our own: through kopf an event costs four times as much, and each job some memory beside the
mirror's.

Its lists tell what is there, not what has vanished: that the mirror's own lists tell, which stand in one order
(`lists.list_jobs`). TaskQueues, which are few, come through kopf (`handlers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from taskjob.core.model import Job, Uid
from taskjob.kube.http import KubeHttp
from taskjob.kube.informer import Informer, Kind, Told
from taskjob.kube.schema import GROUP, VERSION, UnusableObjectError, parse_job


class JobSink(Protocol):
    """Who is told of TaskJobs. All are called in the event loop and must not block."""

    def observe_job(self, job: Job) -> object:
        """A TaskJob appeared or changed."""

    def forget_job(self, uid: Uid) -> object:
        """A TaskJob was deleted."""


class JobMeta(msgspec.Struct, frozen=True, rename="camel"):
    """The needed part of a TaskJob's metadata. managedFields, half of the object, are not even decoded."""

    uid: str = ""
    namespace: str = ""
    name: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, Any] | None = None


class JobObject(msgspec.Struct, frozen=True):
    """A TaskJob as decoded; what its spec and status hold is `schema`'s to judge."""

    metadata: JobMeta
    spec: dict[str, Any] | None = None
    status: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(dict[str, Any]).decode


def parse(raw: bytes | JobObject) -> Job:
    """A TaskJob as the core sees it. Raises `UnusableObjectError`."""
    if isinstance(raw, JobObject):
        return parse_job(
            {"metadata": msgspec.to_builtins(raw.metadata), "spec": raw.spec or {}, "status": raw.status or {}}
        )
    try:
        return parse_job(_decode(raw))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnusableObjectError(f"a TaskJob that cannot be read: {error}") from None


class JobInformer(Informer[JobObject, Job]):
    """Follows TaskJobs in the given namespaces or in all."""

    def __init__(self, http: KubeHttp, sink: JobSink, namespaces: Sequence[str] = ()) -> None:
        def listed(_version: int, jobs: Sequence[Job]) -> None:
            for job in jobs:
                sink.observe_job(job)

        group = f"/apis/{GROUP}/{VERSION}"
        paths = [f"{group}/namespaces/{name}/taskjobs" for name in namespaces] or [f"{group}/taskjobs"]
        told = Told(listed, sink.observe_job, lambda job: sink.forget_job(job.uid))
        super().__init__(http, Kind("taskjobs", JobObject, parse), told, paths)
