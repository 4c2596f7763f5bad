"""Chunked lists, decoded cheaply: what the mirror replaces its TaskJobs and TaskQueues by, and watches start from."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from taskjob import metrics
from taskjob.core.model import Job, Queue, Uid
from taskjob.kube.fields import UNREADABLE, whole
from taskjob.kube.http import KubeHttp, NoAnswerError
from taskjob.kube.schema import GROUP, VERSION, UnusableObjectError, parse_job, parse_queue

log = logging.getLogger(__name__)

CHUNK: Final = 500
_LIST_SECONDS: Final = 60.0
_GROUP_PATH: Final = f"/apis/{GROUP}/{VERSION}"
_Item = TypeVar("_Item")
_Parsed = TypeVar("_Parsed")


class ListError(Exception):
    """A list could not be read to its end; the message says why. Ask again. `code` is the HTTP status, 0: none came."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    """The metadata of a list."""

    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class Page(msgspec.Struct, Generic[_Item], frozen=True):
    """One chunk of a list."""

    metadata: ListMeta
    items: Sequence[_Item] | None = None


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    uid: str = ""
    resource_version: str = ""


class _Identity(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()


RawPage = Page[msgspec.Raw]
_decode_identity = msgspec.json.Decoder(_Identity).decode
_decode_page = msgspec.json.Decoder(RawPage).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


async def pages(
    http: KubeHttp, path: str, resource: str, selectors: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[int, Sequence[msgspec.Raw]]]:
    """The chunks of one list, each with the list's resourceVersion, the same for all. Raises `ListError`.

    A list that takes longer than the server keeps its old state (410) ends in an error: begin anew.
    """
    query = {"limit": str(CHUNK), **(selectors or {})}
    while True:
        try:
            reply = await http.request(
                "GET", path, verb="list", resource=resource, query=query, timeout_seconds=_LIST_SECONDS
            )
            if not reply.ok:
                hint = "; are the CRDs installed?" if reply.code == 404 else ""
                raise ListError(f"{resource} cannot be listed: {reply.message}{hint}", reply.code)
            page = _decode_page(reply.body)
        except (NoAnswerError, *UNREADABLE) as error:
            raise ListError(f"{resource} cannot be listed: {error}") from error
        version = whole(page.metadata.resource_version)
        if http.list_floor.refuses(version):
            raise ListError(f"a list of {resource} is of version {version}, from before we led: a cache lags behind")
        yield version, page.items or ()
        if not page.metadata.continue_:
            return
        query["continue"] = page.metadata.continue_


async def list_jobs(
    http: KubeHttp, namespaces: Sequence[str] = (), held: Callable[[Uid], Job | None] = lambda _: None
) -> tuple[int, list[Job]]:
    """All TaskJobs of these namespaces (none named: of all) and the resourceVersion they were listed at.

    `held` gives what is known of one already: it is not parsed again where it did not change, which is what makes a
    list of many cheap.

    Of several namespaces it is the least, so that nothing is taken for deleted that was merely listed later.
    An object without usable metadata is left out, and told in the log. Raises `ListError`.
    """
    paths = [f"{_GROUP_PATH}/namespaces/{namespace}/taskjobs" for namespace in namespaces]

    def parse(item: msgspec.Raw) -> Job:
        of = _decode_identity(item).metadata
        known = held(Uid(of.uid))
        if known is not None and known.version == whole(of.resource_version):
            return known
        return parse_job(_decode_object(item))

    listed = [await _all(http, path, "taskjobs", parse) for path in paths or [f"{_GROUP_PATH}/taskjobs"]]
    return min(version for version, _ in listed), [job for _, jobs in listed for job in jobs]


async def list_queues(http: KubeHttp) -> tuple[int, list[Queue]]:
    """All TaskQueues and the resourceVersion they were listed at. Raises `ListError`."""
    path = f"{_GROUP_PATH}/taskqueues"
    return await _all(http, path, "taskqueues", lambda item: parse_queue(_decode_object(item)))


async def _all(
    http: KubeHttp, path: str, resource: str, parse: Callable[[msgspec.Raw], _Parsed]
) -> tuple[int, list[_Parsed]]:
    version, parsed = 0, []
    async for version, items in pages(http, path, resource):  # noqa: B007  # the last one is the result
        for item in items:
            try:
                parsed.append(parse(item))
            except (UnusableObjectError, *UNREADABLE) as error:
                tell_unusable(resource, error)
    return version, parsed


def tell_unusable(resource: str, error: Exception) -> None:
    """Count and log an object that had to be left out; the others go on."""
    metrics.unusable_objects.labels(resource).inc()
    log.warning("One of the %s was left out: %s", resource, error)
