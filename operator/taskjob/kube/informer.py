"""A watch of our own: list, then follow, and list anew when the server no longer knows where we were.

Pods are many, so they do not come through kopf: typed decoding of the needed fields makes an event cost some
microseconds. What is seen goes to plain callbacks, in the order of the watch; which observation is news is the
mirror's to decide. One bad object is told in the log and left out; only cancellation ends the watch, and what a
callback raises.

`Informer` follows any kind, `PodInformer` the pods that carry our label; `taskjob.kube.surroundings` has the others.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, NoReturn, Protocol, TypeVar

import msgspec

from taskjob import metrics
from taskjob.core.model import Pod
from taskjob.kube.fields import UNREADABLE, whole
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
_LONGEST_PAUSE_SECONDS: Final = 0.8  # after a watch that the server ended without a word
_STEADY_SECONDS: Final = 5.0  # a watch that lived this long was a good one


class PodSink(Protocol):
    """Who is told of our pods. All are called in the event loop and must not block."""

    def replace_pods(self, version: int, pods: Sequence[Pod]) -> object:
        """A complete list as of that resourceVersion: what it does not hold is gone."""

    def observe_pod(self, pod: Pod) -> object:
        """A pod appeared or changed."""

    def forget_pod(self, pod: Pod) -> object:
        """A pod was deleted; this is how it was last."""


class _WithVersion(Protocol):
    @property
    def resource_version(self) -> str: ...


class Shaped(Protocol):
    """An object as decoded: whatever is needed of it, and its metadata's resourceVersion."""

    @property
    def metadata(self) -> _WithVersion:
        """The needed part of its metadata."""


_Shape = TypeVar("_Shape", bound=Shaped)
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Told(Generic[_Value]):
    """Who is told: of a complete list as of a resourceVersion, of one object, of one that was deleted."""

    replace: Callable[[int, Sequence[_Value]], object]
    observe: Callable[[_Value], object]
    forget: Callable[[_Value], object]


@dataclass(frozen=True, slots=True)
class Kind(Generic[_Shape, _Value]):
    """What is followed, and how an object of it is read. `parse` raises `UnusableObjectError`."""

    resource: str
    shape: type[_Shape]
    parse: Callable[[bytes | _Shape], _Value]
    label_selector: str | None = None
    field_selector: str | None = None

    @property
    def selectors(self) -> dict[str, str]:
        """As query parameters."""
        given = {"labelSelector": self.label_selector, "fieldSelector": self.field_selector}
        return {name: selector for name, selector in given.items() if selector is not None}


class _Event(msgspec.Struct, Generic[_Shape], frozen=True):
    type: str
    object: _Shape


class _RawEvent(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _Versioned(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""


class _Object(msgspec.Struct, frozen=True):
    metadata: _Versioned = _Versioned()


_decode_raw_event = msgspec.json.Decoder(_RawEvent).decode
_decode_status = msgspec.json.Decoder(ServerStatus).decode
_decode_version = msgspec.json.Decoder(_Object).decode
_TYPES: Final = ("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR")


class ExpiredError(Exception):
    """The server no longer knows the version we were at: list anew."""


class BrokenError(Exception):
    """A watch ended otherwise than it should; go on from where it was, after the wait the server asks for."""

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Informer(Generic[_Shape, _Value]):
    """Follows the objects of one kind under one path, or under several that make one list together."""

    def __init__(self, http: KubeHttp, kind: Kind[_Shape, _Value], told: Told[_Value], paths: Sequence[str]) -> None:
        self._http = http
        self._kind = kind
        self._told = told
        self._paths = tuple(paths)
        self._heard_at = dict.fromkeys(self._paths, http.clock.elapsed())
        self._tried_at: dict[str, float] = {}  # from when we follow
        self._synced = asyncio.Event()
        self._listing = asyncio.Lock()
        self.on_failure: Callable[[ListError], object] | None = None  # told of each list that could not be read

    @property
    def silent_seconds(self) -> float:
        """How long nothing has been heard on the most silent watch (bookmarks count): for the readiness probe."""
        return self._http.clock.elapsed() - min(self._heard_at.values())

    @property
    def stuck_seconds(self) -> float:
        """How long nothing has been heard and nothing tried, either: for the liveness probe, since a restart does not
        bring back an API server that is away."""
        now = self._http.clock.elapsed()
        return max((now - max(tried_at, self._heard_at[path]) for path, tried_at in self._tried_at.items()), default=0)

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
            self._tried_at = dict.fromkeys(self._paths, self._http.clock.elapsed())
            try:
                versions = await self._list()
            except ListError as error:
                if self.on_failure is not None:
                    self.on_failure(error)
                await backoff.wait(f"{error}")
                continue
            backoff = _Backoff() if backoff.steady else backoff
            try:
                await self._follow_all(versions)
            except ExpiredError as expired:
                await backoff.wait(f"{self._kind.resource} are listed anew: {expired}")

    async def _follow_all(self, versions: Mapping[str, int]) -> NoReturn:
        """Watch every path until one watch ends: a list is of all, so when one must begin anew, all do.

        Raises what that one ended with. No task group: before Python 3.13 it forgets a cancellation that comes while
        it fails (python/cpython#116720), and whoever cancelled us would wait for ever.
        """
        watches = [asyncio.create_task(self._follow(*each), name=f"watch {each[0]}") for each in versions.items()]
        try:
            ended, _ = await asyncio.wait(watches, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for watch in watches:
                watch.cancel()
            await asyncio.gather(*watches, return_exceptions=True)
        errors = [error for watch in ended if (error := watch.exception()) is not None]
        raise min(errors, key=lambda error: isinstance(error, ExpiredError))  # to list anew mends nothing else

    async def _list(self) -> dict[str, int]:
        async with self._listing:  # one after the other, so that a later list is never older
            return await self._list_alone()

    async def _list_alone(self) -> dict[str, int]:
        versions: dict[str, int] = {}
        found: list[_Value] = []
        kind = self._kind
        for path in self._paths:
            async for version, items in pages(self._http, path, kind.resource, kind.selectors):
                versions[path] = version
                self._heard_at[path] = self._http.clock.elapsed()
                for item in items:
                    try:
                        found.append(kind.parse(bytes(item)))
                    except UnusableObjectError as error:
                        tell_unusable(kind.resource, error)
        # Of several lists the least version: an object younger than that may merely have been listed too early.
        self._told.replace(min(versions.values()), found)
        self._synced.set()
        return versions

    async def _follow(self, path: str, version: int) -> NoReturn:
        """Watch from a version on, again and again. Raises `ExpiredError`."""
        watch, backoff = _Watch(self._kind, self._told, version), _Backoff()
        while True:
            why, wait_seconds, before, longest = "it ended", None, watch.version, _LONGEST_PAUSE_SECONDS
            self._tried_at[path] = self._http.clock.elapsed()
            try:
                await self._watch(path, watch)
            except (NoAnswerError, BrokenError) as error:
                why, longest = str(error), _LONGEST_BACKOFF_SECONDS
                if isinstance(error, BrokenError) and error.retry_after_seconds is not None:
                    wait_seconds = min(error.retry_after_seconds, _LONGEST_BACKOFF_SECONDS)
                metrics.watch_restarts.labels(self._kind.resource, "Broken").inc()
            except ExpiredError:
                metrics.watch_restarts.labels(self._kind.resource, "Expired").inc()
                raise
            # In a burst the API server ends each watch whose reader falls behind for some milliseconds. One that
            # brought something did well: waiting longer each time would leave us blind when most happens. So it would
            # after one that was ended before it brought anything: the next begins with all that happened meanwhile,
            # and the more that is, the sooner the server ends that one, too.
            if backoff.steady or watch.version > before:
                backoff = _Backoff()
            await backoff.wait(f"the watch of {path} begins anew: {why}", wait_seconds, longest)

    async def _watch(self, path: str, watch: _Watch[_Shape, _Value]) -> None:
        """One watch, to its end. Raises `ExpiredError`, `BrokenError`, `NoAnswerError`."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": str(watch.version),
            **self._kind.selectors,
            "timeoutSeconds": str(int(_WATCH_SECONDS * random.uniform(0.8, 1))),  # noqa: S311  # spreads reconnects
        }
        async with self._http.stream(
            path, verb="watch", resource=self._kind.resource, query=query, silence_seconds=_SILENCE_SECONDS
        ) as response:
            if response.status != 200:
                reply = await read_reply(response)
                if reply.code in (401, 429, 500, 502, 503):
                    raise BrokenError(reply.message, reply.retry_after_seconds)
                # 410; 504 is also said of a version from the future: the cluster's store was restored. 403: the list
                # will tell whether that is forbidden, too.
                raise ExpiredError(reply.message)
            rest = b""
            async for piece in response.content.iter_any():
                self._heard_at[path] = self._http.clock.elapsed()
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if line:
                        watch.take(line)


OUR_PODS: Final = Kind("pods", PodObject, parse_pod, label_selector=JOB_UID)


class PodInformer(Informer[PodObject, Pod]):
    """Follows the pods that carry our label, in the given namespaces or in all."""

    def __init__(
        self,
        http: KubeHttp,
        sink: PodSink,
        namespaces: Sequence[str] = (),
        parse: Callable[[bytes | PodObject], Pod] = parse_pod,
    ) -> None:
        paths = [f"/api/v1/namespaces/{name}/pods" for name in namespaces] or ["/api/v1/pods"]
        super().__init__(
            http, replace(OUR_PODS, parse=parse), Told(sink.replace_pods, sink.observe_pod, sink.forget_pod), paths
        )


class _Watch(Generic[_Shape, _Value]):
    """Where a watch stands, and what its lines mean."""

    __slots__ = ("_counted", "_decode_event", "_kind", "_told", "version")

    def __init__(self, kind: Kind[_Shape, _Value], told: Told[_Value], version: int) -> None:
        self._kind = kind
        self._told = told
        # Any: a type made of a variable is none to the type checker.
        shape: Any = kind.shape
        self._decode_event: Callable[[bytes], _Event[_Shape]] = msgspec.json.Decoder(_Event[shape]).decode
        self._counted = {each: metrics.watch_events.labels(kind.resource, each) for each in _TYPES}
        self.version = version

    def take(self, line: bytes) -> None:
        """One event. Raises `ExpiredError`, `BrokenError`."""
        try:
            event = self._decode_event(line)
        except UNREADABLE:
            event = None
        if event is None or event.type == "ERROR":
            self._take_odd(line)
            return
        kind, version = event.type, event.object.metadata.resource_version
        if kind not in self._counted:
            raise BrokenError(f"an event of the unknown type {kind}")
        self._counted[kind].inc()
        if kind != "BOOKMARK":
            self._tell(kind, event.object)
        self.version = whole(version) or self.version

    def _take_odd(self, line: bytes) -> None:
        """An event whose object does not have the kind's shape: a Status, or an object that cannot be read."""
        try:
            event = _decode_raw_event(line)
            if event.type == "ERROR":
                self._fail(event.object)
            version = whole(_decode_version(event.object).metadata.resource_version)
        except UNREADABLE as error:
            raise BrokenError(f"an event that cannot be read: {error}") from None
        self._tell(event.type, bytes(event.object))
        self.version = version or self.version

    def _fail(self, raw: msgspec.Raw) -> NoReturn:
        self._counted["ERROR"].inc()
        status = _decode_status(raw)
        if status.code == 410:
            raise ExpiredError(status.message)
        raise BrokenError(status.message or "an ERROR event without a message")

    def _tell(self, kind: str, raw: bytes | _Shape) -> None:
        try:
            value = self._kind.parse(raw)
        except UnusableObjectError as error:
            tell_unusable(self._kind.resource, error)
            return
        if kind == "DELETED":
            self._told.forget(value)
        else:
            self._told.observe(value)


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

    async def wait(self, why: str, at_least: float | None = None, longest: float = _LONGEST_BACKOFF_SECONDS) -> None:
        """Wait; the first, short waits are ordinary and are told only for debugging."""
        seconds = min(self._seconds, longest)
        log.log(logging.DEBUG if seconds < 1 else logging.WARNING, "%s; in %.1f s", why, seconds)
        await asyncio.sleep(max(seconds * random.uniform(0.5, 1), at_least or 0))  # noqa: S311  # only jitter
        self._seconds = min(self._seconds * 2, _LONGEST_BACKOFF_SECONDS)
        self._began_at = asyncio.get_running_loop().time()
