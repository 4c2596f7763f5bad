"""TaskJobs in the cluster: create, read, change, and the logs of their pods; what the API server refuses becomes a
`Problem` that names the field.

Everything is asked with the caller's own token, so that the API server judges, admits and audits as if the caller had
used kubectl.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from taskjob.core.model import Job
from taskjob.kube.client import job_path, pod_path
from taskjob.kube.fields import UNREADABLE
from taskjob.kube.http import (
    JSON,
    MERGE_PATCH,
    KubeHttp,
    NoAnswerError,
    NotSentError,
    Reply,
    ServerStatus,
    encode,
    read_at_most,
)
from taskjob.kube.lists import Page
from taskjob.kube.pods import GROUP_LABEL
from taskjob.kube.schema import UnusableObjectError, parse_job
from taskjob_api.bodies import Submission
from taskjob_api.problems import FieldError, Kind, Problem, summary, unavailable
from taskjob_api.reviews import Caller, unauthenticated
from taskjob_api.wishes import Wish, change

FIELD_MANAGER: Final = "taskjobs-api"
_TELL_TRIES: Final = 5
_STRICT_ERROR: Final = re.compile(r'(unknown|duplicate) field "([^"]{1,512})"')
_RETRY_SECONDS: Final = 2.0
_READY_SECONDS: Final = 3.0
_IN_DOUBT: Final = (500, 502, 504)
"""Answers of who does not know himself: a question of his own, to etcd or to the API server, was left without one."""
_LOG_SILENCE_SECONDS: Final = 3600.0
_LOG_BUFFER_BYTES: Final = 65_536  # of each, for as long as its client does not read: hundreds may be open
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_decode_page = msgspec.json.Decoder(Page[dict[str, Any]]).decode


@dataclass(frozen=True, slots=True)
class NoPodLog:
    """The API server has no such log now: the pod is gone, or its container has not started. `message` says which."""

    message: str
    waiting: bool  # the pod exists: there will be a log


class Cluster:
    """The API server. What there is to do there, a caller does: see `of`. Whether it answers is asked through `own`,
    which no caller's requests hold up."""

    def __init__(self, http: KubeHttp, own: KubeHttp) -> None:
        self._http = http
        self._own = own

    def of(self, caller: Caller) -> CallersCluster:
        """The API server as this caller has it."""
        return CallersCluster(self._http, caller.token)

    async def ready(self) -> str | None:
        """None if TaskJobs are known there, else what is wrong."""
        try:
            async with asyncio.timeout(_READY_SECONDS):
                reply = await self._own.request(
                    "GET",
                    "/apis/taskjobs.dev/v1beta1",
                    verb="get",
                    resource="readiness",
                    timeout_seconds=_READY_SECONDS,
                )
        except NoAnswerError as error:
            return f"does not answer: {error}"
        except TimeoutError:
            return f"does not answer: no answer within {_READY_SECONDS:g} s"
        if reply.code == 404:
            return "does not know TaskJobs: the CRDs are not installed"
        return None if reply.ok else reply.message


class CallersCluster:
    """The API server, asked with one caller's token. Raises `Problem` for every refusal."""

    def __init__(self, http: KubeHttp, token: str | None) -> None:
        self._http = http
        self._token = token  # None: nobody has to log in here, and our own credentials are used

    async def create(self, job: Submission) -> Job:
        """Create a TaskJob; an unknown field is refused with its name. If it has no name and may have been created
        although no answer says so, the `Problem` does: the same request again would make another one."""
        named = bool(job.manifest["metadata"].get("name"))
        try:
            reply = await self._send(
                "POST",
                job_path(job.namespace),
                "create",
                {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"},
                encode(job.manifest),
            )
        except Problem as problem:
            if named or isinstance(problem.__cause__, NotSentError):
                raise
            raise _in_doubt(problem.detail) from problem
        if not named and reply.unsettled and reply.code in _IN_DOUBT:
            raise _in_doubt(f"the API server: {reply.message}")
        if not reply.ok:
            raise self._refusal(reply, job)
        return _job(reply)

    async def read(self, namespace: str, name: str, uid: str) -> Job | None:
        """The TaskJob of that name; None if there is none, or it is another one by now."""
        reply = await self._send("GET", job_path(namespace, name), "get")
        if reply.code == 404:
            return None
        if not reply.ok:
            raise self._refusal(reply)
        job = _job(reply)
        return job if job.uid == uid else None

    async def tell(self, job: Job, wish: Wish) -> Job | None:
        """Change `spec` as wished; a job that says so already is left alone. None if it has left meanwhile.

        The patch carries the version that was looked at, so that a job that finishes at the same moment is seen.
        """
        seen: Job | None = job
        for _ in range(_TELL_TRIES):
            if seen is None:
                return None
            wanted = change(wish, seen)
            if wanted is None:
                return seen
            reply = await self._send(
                "PATCH",
                job_path(seen.namespace, seen.name),
                "patch",
                {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"},
                encode({"metadata": {"uid": seen.uid, "resourceVersion": str(seen.version)}, "spec": wanted}),
                content_type=MERGE_PATCH,
            )
            if reply.ok:
                return _job(reply)
            if reply.code not in (404, 409):
                raise self._refusal(reply)
            seen = await self.read(seen.namespace, seen.name, seen.uid)
        raise Problem(Kind.CONFLICT, f"{job.namespace}/{job.name} changes all the time: try again")

    async def group(self, namespace: str, group: str, limit: int, cursor: str | None) -> tuple[list[Job], str | None]:
        """A page of a group's TaskJobs, and the cursor of the next one."""
        query = {"labelSelector": f"{GROUP_LABEL}={group}", "limit": str(limit)}
        reply = await self._send(
            "GET", job_path(namespace), "list", query | ({"continue": cursor} if cursor is not None else {})
        )
        if cursor is not None and reply.code in (400, 410):
            message = f"the API server does not know it (any more), begin anew: {reply.status().message}"
            raise Problem(Kind.BAD_CURSOR, f"cursor: {message}", [FieldError(field="cursor", message=message)])
        if not reply.ok:
            raise self._refusal(reply)
        try:
            page = _decode_page(reply.body)
            jobs = [parse_job(item) for item in page.items or ()]
        except (UnusableObjectError, *UNREADABLE) as error:
            raise unavailable(f"the API server answered what is no list of TaskJobs: {error}") from error
        return jobs, page.metadata.continue_ or None

    @asynccontextmanager
    async def log(
        self, namespace: str, pod: str, query: Mapping[str, str], *, follow: bool
    ) -> AsyncIterator[AsyncIterator[bytes] | NoPodLog]:
        """A container's log, chunk by chunk as it comes. Raises `Problem`."""
        wanted = {**query, "follow": "true"} if follow else dict(query)
        try:
            async with self._http.stream(
                pod_path(namespace, pod) + "/log",
                verb="get",
                resource="pods/log",
                query=wanted,
                silence_seconds=_LOG_SILENCE_SECONDS if follow else self._http.timeout_seconds,
                buffer_bytes=_LOG_BUFFER_BYTES,
                token=self._token,
            ) as response:
                if response.status == 200:
                    yield response.content.iter_any()
                    return
                reply = Reply(response.status, await read_at_most(response.content, 65_536))
        except NoAnswerError as error:
            raise unavailable(f"the API server does not answer: {error}", _RETRY_SECONDS) from error
        if reply.code == 204:
            yield NoPodLog("the pod has not been placed on a node yet", waiting=True)
        elif reply.code == 404:
            yield NoPodLog(reply.message, waiting=False)
        elif reply.code == 400 and ("waiting to start" in reply.message or "not available" in reply.message):
            yield NoPodLog(reply.message, waiting=True)
        elif reply.code == 400 and "container" in reply.message:
            message = reply.message
            raise Problem(Kind.NO_LOG, message, [FieldError(field="container", message=message)])
        else:
            raise self._refusal(reply)

    def _refusal(self, reply: Reply, job: Submission | None = None) -> Problem:
        if reply.code == 401 and self._token is not None:
            return unauthenticated("the API server does not accept this token")
        return refusal(reply, job)

    async def _send(
        self,
        method: str,
        path: str,
        verb: str,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        *,
        content_type: str = JSON,
    ) -> Reply:
        try:
            return await self._http.request(
                method,
                path,
                verb=verb,
                resource="taskjobs",
                query=query,
                body=body,
                content_type=content_type,
                token=self._token,
            )
        except NoAnswerError as error:
            raise unavailable(f"the API server does not answer: {error}", _RETRY_SECONDS) from error


def _in_doubt(why: str) -> Problem:
    """Says nothing of when to try again: who does so unseen may have two jobs."""
    hint = "it may have been created all the same: look for it before you try again, or give it a name"
    return Problem(Kind.UNAVAILABLE, f"{why}; {hint}")


def refusal(reply: Reply, job: Submission | None = None) -> Problem:
    """The API server's no, in our words for the kind and its own for the rest."""
    status = reply.status()
    detail = status.message or f"the API server answered {reply.code}"
    errors = _errors(status)
    if job is not None:
        errors = list(job.errors(errors))
    if strict := _STRICT_ERROR.findall(detail) if reply.code == 400 else []:
        errors = [FieldError(field=field, message=f"{word} field") for word, field in strict]
        return Problem(Kind.INVALID, summary(errors), errors)
    match reply.code:
        case 422:
            return Problem(Kind.INVALID, detail, errors)
        case 400:
            return Problem(Kind.INVALID if errors else Kind.MALFORMED, detail, errors)
        case 403:
            return Problem(Kind.FORBIDDEN, detail, errors)
        case 404 if job is not None and "namespaces" in detail:
            return Problem(Kind.NOT_FOUND, detail, _at(job, "metadata.namespace", "there is no such namespace"))
        case 404:
            return unavailable(f"the API server does not know TaskJobs, are the CRDs installed? ({detail})", 10)
        case 409 if status.reason == "AlreadyExists" and job is not None:
            return Problem(Kind.ALREADY_EXISTS, detail, _at(job, "metadata.name", "the name is taken"))
        case 409:
            return Problem(Kind.CONFLICT, detail, errors)
        case 413:
            return Problem(Kind.TOO_LARGE, detail)
        case 401:
            return unavailable("the API server does not accept this API's credentials", 10)
        case _:
            return unavailable(f"the API server: {detail}", reply.retry_after_seconds or _RETRY_SECONDS)


def _at(job: Submission, field: str, message: str) -> tuple[FieldError, ...]:
    return job.errors([FieldError(field=field, message=message)])


def _errors(status: ServerStatus) -> list[FieldError]:
    # "<nil>" stands for the object as a whole; beside errors of fields it only says that rules were left unchecked.
    of_fields = [cause for cause in status.causes if cause.field not in ("", "<nil>")]
    causes = of_fields or status.causes
    return [FieldError(field="" if cause.field == "<nil>" else cause.field, message=cause.message) for cause in causes]


def _job(reply: Reply) -> Job:
    try:
        return parse_job(_decode(reply.body))
    except (UnusableObjectError, *UNREADABLE) as error:
        raise unavailable(f"the API server answered what is no TaskJob: {error}") from error
