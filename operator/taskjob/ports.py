"""The seams of the operator: small protocols, each with a shipped fake in `tests/fakes_*.py`.

The control loop speaks to the cluster, to history and to the clock through these, in values of the core, and
never sees a vendor's type. `taskjob.kube` and `taskjob.history` hold the real adapters; `taskjob.main` wires them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from taskjob.core.decisions import EndPod, Launch, RemoveJob, RemovePod, SetQueueStatus, SetStatus
from taskjob.core.model import AttemptId, Entry, Job, Pod
from taskjob.core.notices import Notice


# ---------------------------------------------------------------- the cluster
@dataclass(frozen=True, slots=True)
class Launched:
    """The pod exists and is ours: newly created, or found under its name with our labels and owner."""

    pod: Pod


@dataclass(frozen=True, slots=True)
class Refused:
    """A definite no: the pod was not created. `code` is the HTTP status, `message` the server's sentence."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class Written:
    """The API server's reply to a status write: the TaskJob as it now is."""

    job: Job


@dataclass(frozen=True, slots=True)
class Stale:
    """The object had changed (409): `job` is what a fresh read gave, None if that uid is gone."""

    job: Job | None


@dataclass(frozen=True, slots=True)
class Deposed:
    """A newer epoch has written here: this process must stop."""

    message: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The object no longer exists (or another uid has its name)."""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No definite answer within the time allowed; it may or may not have been done. Ask again.

    `absent`: of a pod to be created: the API server failed (500), and there is no such pod.
    """

    message: str
    retry_after_seconds: float | None = None
    absent: bool = False


@dataclass(frozen=True, slots=True)
class Changed:
    """The pod had changed, so nothing was done: this is what a fresh read gave. It may have ended by itself."""

    pod: Pod


@dataclass(frozen=True, slots=True)
class Done:
    """The request was carried out. `pod` is the pod's new observation where the reply holds one."""

    pod: Pod | None = None


@dataclass(frozen=True, slots=True)
class NoLog:
    """The pod is there, and no log of that container: it has not started, or the kubelet no longer has it."""

    message: str


class LogBrokenError(Exception):
    """A log that was being read broke off: there may be more of it."""


class LogStream(Protocol):
    """A log that was opened, each line with the kubelet's time before it. Close it."""

    async def read(self) -> bytes:
        """What comes next, waiting for it; empty at the end. Raises `LogBrokenError`."""

    async def close(self) -> None:
        """Read no more."""


@dataclass(frozen=True, slots=True)
class LogChunk:
    """A part of a log that is complete; `times` are those of the lines that begin in it, a line each."""

    n: int
    body: bytes
    times: bytes


@dataclass(frozen=True, slots=True)
class LogGap:
    """Something is missing before chunk `before`; `size` in bytes, if anybody knows it."""

    before: int
    why: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Log:
    """The log of one container as history is to hold it from now on.

    It consists of chunks, which are written once, and of `body`, the chunk after them, which may still grow: a short
    log is that alone. Chunk numbers from `head` up to `tail` were left out, or are by this.
    """

    attempt: AttemptId
    container: str
    body: bytes
    size: int  # of what the container wrote, as far as known
    cut_bytes: int = 0  # of them left out of the middle
    note: str = ""  # why it is missing or incomplete, for people
    times: bytes = b""  # of the lines that begin in `body`, a line each
    main: bool = False  # it is the pod's main container
    complete: bool = True  # there is nothing more to come
    chunks: tuple[LogChunk, ...] = ()  # new ones
    number: int = 0  # of the chunk that `body` is
    head: int = 0
    tail: int = 0
    gaps: tuple[LogGap, ...] = ()
    resume: str = ""  # where reading goes on, see `control.stamped`

    @property
    def held_bytes(self) -> int:
        """How much memory it takes, about."""
        return len(self.body) + len(self.times) + sum(len(chunk.body) + len(chunk.times) for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class KeptLog:
    """What history holds of a container's log: enough to go on with it. `sizes` are of the chunks it holds."""

    log: Log
    sizes: tuple[tuple[int, int], ...] = ()  # (number, bytes), in their order


class KubePort(Protocol):
    """All that the control loop asks of the API server. Every call is bounded in time and never raises for
    an answer of the server; `asyncio.CancelledError` passes."""

    async def launch(self, launch: Launch, epoch: int) -> Launched | Deposed | Refused | Gone | Unreachable:
        """Create the attempt's pod, once: a name already taken is ours only if owner uid and labels match."""

    async def set_status(
        self, decision: SetStatus, epoch: int
    ) -> Written | Stale | Deposed | Refused | Gone | Unreachable:
        """Write a TaskJob's status, with the resourceVersion that it was decided from."""

    async def end_pod(self, decision: EndPod) -> Done | Changed | Gone | Refused | Unreachable:
        """Lower the pod's deadline, with its uid as a precondition, or delete it, with its uid and version: a pod that
        ended meanwhile must not go before its outcome was seen."""

    async def remove_pod(self, decision: RemovePod) -> Done | Gone | Refused | Unreachable:
        """Delete an ended pod, with its uid as a precondition."""

    async def remove_job(self, decision: RemoveJob) -> Done | Gone | Stale | Refused | Unreachable:
        """Delete a TaskJob, with uid and resourceVersion as preconditions."""

    async def announce(self, notice: Notice) -> Done | Refused | Unreachable:
        """Make an Event on a TaskJob. Told twice, it is one."""

    async def set_queue_status(self, decision: SetQueueStatus) -> Done | Gone | Refused | Unreachable:
        """Write a TaskQueue's figures."""

    async def open_log(
        self, pod: Pod, container: str, *, since: str | None, follow: bool
    ) -> LogStream | NoLog | Gone | Unreachable:
        """The log of one container, from the second `since` (RFC 3339) if given; followed, until the container ends."""


# ---------------------------------------------------------------- history
@dataclass(frozen=True, slots=True)
class Batch:
    """What one flush writes. Told twice, it changes nothing."""

    entries: tuple[Entry, ...] = ()
    logs: tuple[Log, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenJob:
    """A job that history believes to be in the cluster."""

    job: Job  # as last recorded; spec fields that history does not keep have their defaults
    recorded: int  # the greatest `n` of its transitions
    terminal: bool


class FlushOutcome(StrEnum):
    """What became of a flush."""

    WRITTEN = "Written"
    DEPOSED = "Deposed"  # a newer epoch owns history: this process must stop


class HistoryUnavailableError(Exception):
    """PostgreSQL cannot be reached, or did not answer in time. The same call may be made again."""


@dataclass(frozen=True, slots=True)
class Keep:
    """How long history keeps what has left the cluster; None: for ever."""

    jobs: timedelta | None = None  # with their attempts, transitions and logs
    logs: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one call took out."""

    jobs: int = 0
    logs: int = 0


class HistoryPort(Protocol):
    """The operator's side of history: one writer, in batches."""

    async def open(self, epoch: int) -> Sequence[OpenJob]:
        """Claim history for `epoch`; every job that has not been told gone.

        Raises `HistoryUnavailableError`. An older epoch than the one on record raises `DeposedError`.
        """

    async def flush(self, epoch: int, batch: Batch) -> FlushOutcome:
        """Write a batch in one transaction. Raises `HistoryUnavailableError`: nothing was written, or all."""

    async def kept_logs(self, attempt: AttemptId) -> Sequence[KeptLog]:
        """What is held of an attempt's logs, of each container. Raises `HistoryUnavailableError`."""

    async def prune(self, epoch: int, keep: Keep, limit: int) -> Pruned:
        """Take out what is older, at most `limit` jobs and as many logs; nothing of a job that is in the cluster, and
        nothing if `epoch` does not own history. Raises `HistoryUnavailableError`."""


class DeposedError(Exception):
    """A newer epoch has taken over: the only right thing left is to stop. `epoch` says which where that is known."""

    def __init__(self, message: str, epoch: int = 0) -> None:
        super().__init__(message)
        self.epoch = epoch


# ---------------------------------------------------------------- time and leadership
class Clock(Protocol):
    """The time of the cluster, as well as it is known here."""

    def now(self) -> datetime:
        """The current instant, aware, in UTC."""

    def elapsed(self) -> float:
        """Seconds since an arbitrary start; never runs backwards, goes on while the machine sleeps."""


class Leader(Protocol):
    """Whether this process may act, and as whom. Safe to ask from any thread, and cheap: it is asked for each write."""

    @property
    def epoch(self) -> int:
        """The fencing number of this process's leadership, larger than any before it; 0 while it stands by."""

    @property
    def holder(self) -> str:
        """Who leads, as last seen: a few words for people."""

    def may_act(self) -> bool:
        """Whether this process leads now, as far as its own clock tells."""
