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
    lines_at_once: int = 2000
    seconds_each: float = 0.0  # so long it takes to bring them
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
    """From the second `since` on; followed until its container ends. Like the kubelet's it reads the file that it began
    with to the end, and takes notice of new ones from then on; of each it goes to the newest file there is. What
    follows a part of a line that has no end it takes for the rest of that, be it in another file."""

    def __init__(self, kubelet: Kubelet, uid: PodUid, container: str, since: str, *, follow: bool) -> None:
        self._kubelet = kubelet
        self._key = (uid, container)
        self._follow = follow
        self._breaks = kubelet.files.breaks
        self._inside = False  # what was read last has no end
        self._turn: int | None = None  # so many new files were noticed; None: it does not look yet
        self._file = kubelet.files.lines.setdefault(self._key, [])
        self._next = next((n for n, line in enumerate(self._file) if line[:19].decode() >= since[:19]), len(self._file))

    async def read(self) -> bytes:
        files = self._kubelet.files
        while True:
            if files.breaks > self._breaks:
                raise LogBrokenError("cut by the test")
            if self._follow and files.mute:
                await files.news.wait()
                continue
            lines = self._file[self._next : self._next + files.lines_at_once]
            if lines:
                await asyncio.sleep(files.seconds_each)
                self._next += len(lines)
                return b"".join(map(self._joined, lines))
            if not self._follow or self._over():
                return b""
            turns = files.turns.get(self._key, 0)
            if self._turn is None:
                self._turn = turns
            elif turns > self._turn:
                self._turn, self._next = self._turn + 1, 0
                self._file = files.lines[self._key]
                continue
            await files.news.wait()

    def _joined(self, line: bytes) -> bytes:
        line, self._inside = line.partition(b" ")[2] if self._inside else line, not line.endswith(b"\n")
        return line

    def _over(self) -> bool:
        pod = self._kubelet.pods.get(self._key[0])
        return pod is None or any(run.ended for run in pod.containers if run.name == self._key[1])

    async def close(self) -> None:
        return
