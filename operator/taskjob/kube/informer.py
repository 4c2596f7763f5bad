"""The watch of our pods: list, then follow, and list anew when the server no longer knows where we were.

Pods are many, so they do not come through kopf: typed decoding of the needed fields makes an event cost some
microseconds. What is seen goes to plain callbacks, in the order of the watch; which observation is news is the
mirror's to decide. One bad object is told in the log and left out; only cancellation ends the watch, and what a
callback raises.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Final, NoReturn, Protocol

import msgspec

from taskjob import metrics
from taskjob.core.model import Pod
from taskjob.kube.fields import whole
from taskjob.kube.http import KubeHttp, NoAnswerError, ServerStatus, read_reply
from taskjob.kube.lists import ListError, pages, tell_unusable
from taskjob.kube.pod_shape import PodObject
from taskjob.kube.pods import JOB_UID, parse_pod
from taskjob.kube.schema import UnusableObjectError

log = logging.getLogger(__name__)

_WATCH_SECONDS: Final = 300  # after which the server ends a watch; ours begin anew at different times
_SILENCE_SECONDS: Final = 90.0  # bookmarks come about once a minute; longer silence is a dead connection
_FIRST_BACKOFF_SECONDS: Final = 0.1
_LONGEST_BACKOFF_SECONDS: Final = 30.0
_STEADY_SECONDS: Final = 5.0  # a watch that lived this long was a good one


class PodSink(Protocol):
    """Who is told of pods. All are called in the event loop and must not block."""

    def replace_pods(self, version: int, pods: Sequence[Pod]) -> object:
        """A complete list as of that resourceVersion: what it does not hold is gone."""

    def observe_pod(self, pod: Pod) -> object:
        """A pod appeared or changed."""

    def forget_pod(self, pod: Pod) -> object:
        """A pod was deleted; this is how it was last."""


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: PodObject


class _RawEvent(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _Versioned(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""


class _Object(msgspec.Struct, frozen=True):
    metadata: _Versioned = _Versioned()


_decode_event = msgspec.json.Decoder(_Event).decode
_decode_raw_event = msgspec.json.Decoder(_RawEvent).decode
_decode_status = msgspec.json.Decoder(ServerStatus).decode
_decode_version = msgspec.json.Decoder(_Object).decode
_counted = {
    kind: metrics.watch_events.labels("pods", kind) for kind in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR")
}


class ExpiredError(Exception):
    """The server no longer knows the version we were at: list anew."""


class BrokenError(Exception):
    """A watch ended otherwise than it should; go on from where it was, after the wait the server asks for."""

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class PodInformer:
    """Follows the pods that carry our label, in the given namespaces or in all."""

    def __init__(self, http: KubeHttp, sink: PodSink, namespaces: Sequence[str] = ()) -> None:
        self._http = http
        self._sink = sink
        self._paths = tuple(f"/api/v1/namespaces/{name}/pods" for name in namespaces) or ("/api/v1/pods",)
        self._active_at = dict.fromkeys(self._paths, http.clock.elapsed())
        self._synced = asyncio.Event()
        self._listing = asyncio.Lock()

    @property
    def silent_seconds(self) -> float:
        """How long nothing has been heard on the most silent watch (bookmarks count): for the liveness probe."""
        return self._http.clock.elapsed() - min(self._active_at.values())

    @property
    def synced(self) -> bool:
        """Whether a first complete list has been passed on."""
        return self._synced.is_set()

    async def wait_synced(self) -> None:
        """Wait for the first complete list."""
        await self._synced.wait()

    async def relist(self) -> None:
        """Pass on a list of now, beside the watch that goes on. Raises `ListError`."""
        await self._list()

    async def run(self) -> NoReturn:
        """Follow until cancelled."""
        backoff = _Backoff()
        while True:
            try:
                versions = await self._list()
            except ListError as error:
                await backoff.wait(f"{error}")
                continue
            backoff = _Backoff() if backoff.steady else backoff
            try:
                # A list is of all namespaces, so when one watch must begin anew, all do.
                async with asyncio.TaskGroup() as watches:
                    for path, version in versions.items():
                        watches.create_task(self._follow(path, version), name=f"watch {path}")
            except* ExpiredError as expired:
                await backoff.wait(f"pods are listed anew: {expired.exceptions[0]}")

    async def _list(self) -> dict[str, int]:
        async with self._listing:  # one after the other, so that a later list is never older
            return await self._list_alone()

    async def _list_alone(self) -> dict[str, int]:
        versions: dict[str, int] = {}
        found: list[Pod] = []
        for path in self._paths:
            async for version, items in pages(self._http, path, "pods", JOB_UID):
                versions[path] = version
                for item in items:
                    try:
                        found.append(parse_pod(bytes(item)))
                    except UnusableObjectError as error:
                        tell_unusable("pods", error)
            self._active_at[path] = self._http.clock.elapsed()
        # Of several lists the least version: a pod younger than that may merely have been listed too early.
        self._sink.replace_pods(min(versions.values()), found)
        self._synced.set()
        return versions

    async def _follow(self, path: str, version: int) -> NoReturn:
        """Watch from a version on, again and again. Raises `ExpiredError`."""
        watch, backoff = _Watch(self._sink, version), _Backoff()
        while True:
            why, wait_seconds, before = "it ended", None, watch.version
            try:
                await self._watch(path, watch)
            except (NoAnswerError, BrokenError) as error:
                why = str(error)
                wait_seconds = error.retry_after_seconds if isinstance(error, BrokenError) else None
                metrics.watch_restarts.labels("pods", "Broken").inc()
            except ExpiredError:
                metrics.watch_restarts.labels("pods", "Expired").inc()
                raise
            # In a burst the API server ends each watch whose reader falls behind for some milliseconds. One that
            # brought something did well: waiting longer each time would leave us blind when most happens.
            if backoff.steady or watch.version > before:
                backoff = _Backoff()
            await backoff.wait(f"the watch of {path} begins anew: {why}", wait_seconds)

    async def _watch(self, path: str, watch: _Watch) -> None:
        """One watch, to its end. Raises `ExpiredError`, `BrokenError`, `NoAnswerError`."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": str(watch.version),
            "labelSelector": JOB_UID,
            "timeoutSeconds": str(int(_WATCH_SECONDS * random.uniform(0.8, 1))),  # noqa: S311  # spreads reconnects
        }
        async with self._http.stream(
            path, verb="watch", resource="pods", query=query, silence_seconds=_SILENCE_SECONDS
        ) as response:
            if response.status != 200:
                reply = await read_reply(response)
                if reply.code in (401, 403, 429, 500, 502, 503):
                    raise BrokenError(reply.message, reply.retry_after_seconds)
                # 410; 504 is also said of a version from the future: the cluster's store was restored.
                raise ExpiredError(reply.message)
            rest = b""
            async for piece in response.content.iter_any():
                self._active_at[path] = self._http.clock.elapsed()
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if line:
                        watch.take(line)


class _Watch:
    """Where a watch stands, and what its lines mean."""

    __slots__ = ("_sink", "version")

    def __init__(self, sink: PodSink, version: int) -> None:
        self._sink = sink
        self.version = version

    def take(self, line: bytes) -> None:
        """One event. Raises `ExpiredError`, `BrokenError`."""
        try:
            event = _decode_event(line)
            kind, version = event.type, event.object.metadata.resource_version
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._take_odd(line)
            return
        if kind == "ERROR":
            self._fail(line)
        if kind not in _counted:
            raise BrokenError(f"an event of the unknown type {kind}")
        _counted[kind].inc()
        if kind != "BOOKMARK":
            self._tell(kind, event.object)
        self.version = whole(version) or self.version

    def _take_odd(self, line: bytes) -> None:
        """An event whose object does not have a pod's shape: a Status, or a pod that cannot be read."""
        try:
            event = _decode_raw_event(line)
            if event.type == "ERROR":
                self._fail(line)
            version = whole(_decode_version(event.object).metadata.resource_version)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BrokenError(f"an event that cannot be read: {error}") from None
        self._tell(event.type, bytes(event.object))
        self.version = version or self.version

    def _fail(self, line: bytes) -> NoReturn:
        _counted["ERROR"].inc()
        status = _decode_status(_decode_raw_event(line).object)
        if status.code == 410:
            raise ExpiredError(status.message)
        raise BrokenError(status.message or "an ERROR event without a message")

    def _tell(self, kind: str, raw: bytes | PodObject) -> None:
        try:
            pod = parse_pod(raw)
        except UnusableObjectError as error:
            tell_unusable("pods", error)
            return
        if kind == "DELETED":
            self._sink.forget_pod(pod)
        else:
            self._sink.observe_pod(pod)


class _Backoff:
    """Waits longer each time, with jitter, so that a thousand clients do not return at once."""

    __slots__ = ("_began_at", "_seconds")

    def __init__(self) -> None:
        self._seconds = _FIRST_BACKOFF_SECONDS
        self._began_at = asyncio.get_running_loop().time()

    @property
    def steady(self) -> bool:
        """What was begun after the last wait lasted for long."""
        return asyncio.get_running_loop().time() - self._began_at >= _STEADY_SECONDS

    async def wait(self, why: str, at_least: float | None = None) -> None:
        """Wait; the first, short waits are ordinary and are told only for debugging."""
        log.log(logging.DEBUG if self._seconds < 1 else logging.WARNING, "%s; in %.1f s", why, self._seconds)
        await asyncio.sleep(max(self._seconds * random.uniform(0.5, 1), at_least or 0))  # noqa: S311  # only jitter
        self._seconds = min(self._seconds * 2, _LONGEST_BACKOFF_SECONDS)
        self._began_at = asyncio.get_running_loop().time()
