"""A pod's log of `FakeKube`, as the kubelet serves it: `ports.LogStream`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from taskjob.core.model import Pod, PodUid
from taskjob.ports import LogBrokenError


class Kubelet(Protocol):
    """What a log stream needs of the fake cluster."""

    pods: dict[PodUid, Pod]
    files: LogFiles


@dataclass
class LogFiles:
    """What containers have written: lines with the kubelet's times, and a signal when there is news."""

    lines: dict[tuple[PodUid, str], list[bytes]] = field(default_factory=dict)
    turns: dict[tuple[PodUid, str], int] = field(default_factory=dict)  # how often the kubelet began a new file
    breaks: int = 0
    mute: bool = False  # no stream that is followed tells any more: neither lines nor its end
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self) -> None:
        """Something has changed."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    def cut(self) -> None:
        """Break every stream that is open."""
        self.breaks += 1
        self.tell()

    @property
    def news(self) -> asyncio.Event:
        """Set at the next change."""
        return self._news


class FakeLogStream:
    """From the second `since` on; followed until its container ends. A file that is begun anew is gone on with."""

    def __init__(self, kubelet: Kubelet, uid: PodUid, container: str, since: str, *, follow: bool) -> None:
        self._kubelet = kubelet
        self._key = (uid, container)
        self._follow = follow
        self._breaks = kubelet.files.breaks
        self._turn = kubelet.files.turns.get(self._key, 0)
        lines = kubelet.files.lines.get(self._key, [])
        self._next = next((n for n, line in enumerate(lines) if line[:19].decode() >= since[:19]), len(lines))

    async def read(self) -> bytes:
        files = self._kubelet.files
        while True:
            if files.breaks > self._breaks:
                raise LogBrokenError("cut by the test")
            if self._follow and files.mute:
                await files.news.wait()
                continue
            if files.turns.get(self._key, 0) > self._turn:
                self._turn, self._next = files.turns[self._key], 0
            lines = files.lines.get(self._key, [])[self._next :]
            if lines:
                self._next += len(lines)
                return b"".join(lines)
            if not self._follow or self._over():
                return b""
            await files.news.wait()

    def _over(self) -> bool:
        pod = self._kubelet.pods.get(self._key[0])
        return pod is None or any(run.ended for run in pod.containers if run.name == self._key[1])

    async def close(self) -> None:
        return
