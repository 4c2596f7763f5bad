"""A container's log as the API server passes it on from the kubelet: piece by piece, with the kubelet's times.

What the pieces mean, and what of them is kept, is not here (see `control.stamped`, `control.logbook`).
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Final

import aiohttp

from taskjob.core.model import Pod
from taskjob.kube.http import KubeHttp, NoAnswerError, read_reply
from taskjob.ports import Gone, LogBrokenError, LogStream, NoLog, Unreachable

_SILENCE_SECONDS: Final = 15.0
_FOLLOWED_SILENCE_SECONDS: Final = 120.0
"""A container may be silent for long; a node that is gone looks the same. Asking again costs one request."""

_BUFFER_BYTES: Final = 65_536  # of one stream: there are many, and who reads slowly makes the kubelet wait


class HttpLogStream:
    """The real `ports.LogStream`."""

    def __init__(self, response: aiohttp.ClientResponse, stack: AsyncExitStack) -> None:
        self._response = response
        self._stack = stack

    async def read(self) -> bytes:
        """What came next; empty at the end. Raises `LogBrokenError`."""
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise LogBrokenError(f"{type(error).__name__}: {error}".rstrip(": ")) from error

    async def close(self) -> None:
        """End the connection."""
        await self._stack.aclose()


async def open_log(
    http: KubeHttp, path: str, pod: Pod, container: str, *, since: str | None, follow: bool
) -> LogStream | NoLog | Gone | Unreachable:
    """Open a container's log. `path` is the pod's.

    The log endpoint knows no preconditions; that it is this pod's rests on its name, which is made of the job's uid,
    its run and the attempt.
    """
    query = {"container": container, "timestamps": "true"}
    if since is not None:
        query["sinceTime"] = since
    if follow:
        query["follow"] = "true"
    stack = AsyncExitStack()
    try:
        response = await stack.enter_async_context(
            http.stream(
                path + "/log",
                verb="get",
                resource="pods/log",
                query=query,
                silence_seconds=_FOLLOWED_SILENCE_SECONDS if follow else _SILENCE_SECONDS,
                buffer_bytes=_BUFFER_BYTES,
            )
        )
        if response.status == 200:
            return HttpLogStream(response, stack)
        reply = await read_reply(response)
    except NoAnswerError as error:
        return Unreachable(str(error))
    except BaseException:
        await stack.aclose()
        raise
    await stack.aclose()
    # Of a node that is gone, and took the log with it, the server says `pods "node-1" not found`.
    if reply.code == 404 and reply.status().about == pod.name:
        return Gone()
    if reply.unsettled:
        return Unreachable(f'log of container "{container}": {reply.message}', reply.retry_after_seconds)
    return NoLog(reply.message)
