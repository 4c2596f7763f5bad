"""The captured logs of a pod: of each container that ran its head and tail, in bounded memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Final

import msgspec

from taskjob.core.model import Pod
from taskjob.kube.http import KubeHttp, NoAnswerError, read_reply
from taskjob.kube.pod_shape import ContainerStatus, PodObject
from taskjob.ports import Gone, Log, Unreachable

LONGEST_READ_SECONDS: Final = 60.0
"""How long one container's log may take to read; what has come until then is kept, with a note."""

_SILENCE_SECONDS: Final = 15.0
_decode_pod = msgspec.json.Decoder(PodObject).decode


class Clipper:
    """Keeps the first half and the last half of a limit of bytes, and counts what falls between."""

    __slots__ = ("_head", "_head_limit", "_tail", "_tail_limit", "_tail_size", "size")

    def __init__(self, limit: int) -> None:
        self.size = 0
        self._head = bytearray()
        self._head_limit = limit - limit // 2
        self._tail: deque[bytes] = deque()
        self._tail_limit = limit // 2
        self._tail_size = 0

    def feed(self, piece: bytes) -> None:
        """Take in what was read next."""
        self.size += len(piece)
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head += piece[:room]
            piece = piece[room:]
        if not piece:
            return
        self._tail.append(piece)
        self._tail_size += len(piece)
        while self._tail and self._tail_size - len(self._tail[0]) >= self._tail_limit:
            self._tail_size -= len(self._tail.popleft())

    @property
    def body(self) -> bytes:
        """Head and tail."""
        tail = b"".join(self._tail)
        return bytes(self._head) + (tail[-self._tail_limit :] if self._tail_limit else b"")


async def read_logs(http: KubeHttp, path: str, pod: Pod, limit_bytes: int) -> tuple[Log, ...] | Gone | Unreachable:
    """The log of every container of a pod that ran, init containers and sidecars included, in their order.

    `path` is the pod's. One GET tells which containers ran, and that the name still has that uid (the log endpoint
    knows no preconditions). `Unreachable` if the API server or the kubelet did not answer; a container whose log the
    kubelet no longer has is told with an empty body and a note.
    """
    try:
        reply = await http.request("GET", path, verb="get", resource="pods")
        if not reply.ok:
            return Gone() if reply.code == 404 else Unreachable(reply.message, reply.retry_after_seconds)
        try:
            found = _decode_pod(reply.body)
        except msgspec.DecodeError as error:
            return Unreachable(f"pod {pod.namespace}/{pod.name} cannot be read: {error}")
        if found.metadata.uid != pod.uid:
            return Gone()
        logs = []
        for container in _ran(found):
            log = await _read(http, path, pod, container, limit_bytes)
            if not isinstance(log, Log):
                return log
            logs.append(log)
    except NoAnswerError as error:
        return Unreachable(str(error))
    return tuple(logs)


def _ran(pod: PodObject) -> Iterator[str]:
    statuses: tuple[ContainerStatus, ...] = (
        *(pod.status.init_container_statuses or ()),
        *(pod.status.container_statuses or ()),
    )
    for status in statuses:
        state = status.state
        if state is not None and (state.running is not None or state.terminated is not None):
            yield status.name


async def _read(http: KubeHttp, path: str, pod: Pod, container: str, limit_bytes: int) -> Log | Gone | Unreachable:
    clipper, note = Clipper(limit_bytes), ""
    async with http.stream(
        path + "/log",
        verb="get",
        resource="pods/log",
        query={"container": container},
        silence_seconds=_SILENCE_SECONDS,
    ) as response:
        if response.status != 200:
            reply = await read_reply(response)
            # Of a node that is gone, and took the log with it, the server says `pods "node-1" not found`.
            if reply.code == 404 and reply.status().about == pod.name:
                return Gone()
            if reply.unsettled:
                return Unreachable(f'log of container "{container}": {reply.message}', reply.retry_after_seconds)
            return Log(pod.attempt, container, b"", 0, note=reply.message)
        try:
            async with asyncio.timeout(LONGEST_READ_SECONDS) as limit:
                async for piece in response.content.iter_any():
                    clipper.feed(piece)
        except TimeoutError:
            if not limit.expired():  # the kubelet fell silent: `stream` tells it
                raise
            note = f"reading was given up after {LONGEST_READ_SECONDS:g} s"
    body = clipper.body
    return Log(pod.attempt, container, body, clipper.size, clipper.size - len(body), note)
