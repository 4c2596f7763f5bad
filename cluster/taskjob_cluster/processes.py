"""Processes that outlive the command that started them, and that are never confused with somebody else's.

A pid alone does not name a process: the kernel gives it out again. So a process is recorded with the instant at
which the kernel started it, and every signal is sent only while both still agree. Children are spawned without a
`Popen` object, since nothing waits for them in this process; where they are our children they are reaped by psutil.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from .errors import ClusterError

STOP_SECONDS = 10.0
KILL_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process by its pid and by `started`, a mark that no later process with the same pid can have."""

    pid: int
    started: str


def identify(pid: int) -> ProcessId | None:
    """The identity of a living process; None when there is none, or only a zombie."""
    started = start_mark(pid)
    return None if started is None else ProcessId(pid, started)


def start_mark(pid: int) -> str | None:
    """When the kernel started the process: boot id and clock ticks on Linux, elsewhere the time of creation.

    A zombie has none, but for one whose other threads are still ending: they hold what it had open.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        try:
            return f"{psutil.Process(pid).create_time():.2f}"
        except psutil.Error:
            return None
    return mark_from_stat(stat, boot)


def mark_from_stat(stat: str, boot_id: str) -> str | None:
    """The mark in a line of /proc/PID/stat; None for a zombie without other threads.

    The program's name may hold spaces and brackets.
    """
    fields = stat.rpartition(")")[2].split()
    state, threads, ticks = fields[0], int(fields[17]), fields[19]
    return None if state in "ZX" and threads <= 1 else f"{boot_id}:{ticks}"


def alive(process: ProcessId) -> bool:
    """Whether a thread of this very process still runs. Our own children are reaped on the way."""
    with suppress(OSError):
        os.waitpid(process.pid, os.WNOHANG)
    return start_mark(process.pid) == process.started


def start(
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    die_with_parent: bool = False,
    as_user: int | None = None,
) -> ProcessId:
    """Start a program in a session of its own, its output appended to `log`.

    `die_with_parent` has the kernel end it when the starting thread ends (tests: nothing leaks when pytest is
    killed); it needs `setpriv` (util-linux) and is left out where there is none. `as_user` (root only) is a number:
    the program runs under this user and group id. Raises ClusterError when the program cannot be executed.
    """
    argv = [*_with_privileges(die_with_parent, as_user), *command]
    log.parent.mkdir(parents=True, exist_ok=True)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    try:
        pid = os.posix_spawn(argv[0], argv, {**(environment or os.environ)}, file_actions=actions, setsid=True)
    except OSError as error:
        raise ClusterError(f"{argv[0]} could not be started: {error}") from error
    found = identify(pid)
    if found is None:
        raise ClusterError(f"{command[0]} ended at once; its output:\n{tail(log)}")
    return found


def _with_privileges(die_with_parent: bool, as_user: int | None) -> list[str]:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        if as_user is not None:
            raise ClusterError("setpriv is not installed: apt-get install util-linux")
        return []
    ids = [] if as_user is None else [f"--reuid={as_user}", f"--regid={as_user}", "--clear-groups"]
    # PostgreSQL reads SIGQUIT as "at once, but leave no shared memory behind"; the others die of SIGKILL alone.
    ends = ["--pdeathsig", "KILL" if as_user is None else "QUIT"] if die_with_parent else []
    return [setpriv, *ids, *ends, "--"] if ids or ends else []


def stop(process: ProcessId, *, within: float = STOP_SECONDS, by: signal.Signals = signal.SIGTERM) -> bool:
    """End a process: SIGTERM (or `by`), after `within` seconds SIGKILL. True if it ended so or was not there."""
    found = _verified(process)
    if found is None:
        return True
    with suppress(psutil.NoSuchProcess):
        found.send_signal(signal.SIGCONT)  # a paused process cannot act on another signal
        found.send_signal(by)
        if _ended(process, within):
            return True
        found.kill()
        _ended(process, KILL_SECONDS)
        return False
    return True


def kill(process: ProcessId) -> None:
    """SIGKILL, and wait until it is gone (bounded). Nothing happens when it already is."""
    if (found := _verified(process)) is not None:
        with suppress(psutil.NoSuchProcess):
            found.kill()
            _ended(process, KILL_SECONDS)


def _ended(process: ProcessId, within: float) -> bool:
    """Wait until a process has ended, at most `within` seconds. A zombie that nobody reaps has ended."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except AttributeError:  # not Linux
        with suppress(psutil.Error, psutil.TimeoutExpired):
            psutil.Process(process.pid).wait(within)
    except ProcessLookupError:
        return True
    else:
        try:
            # The descriptor is this very process's; it tells when the last thread has ended and its ports are free.
            if start_mark(process.pid) == process.started:
                select.select([descriptor], [], [], within)
        finally:
            os.close(descriptor)
    return not alive(process)


def send(process: ProcessId, number: signal.Signals) -> bool:
    """Send a signal to this very process. False when it is gone."""
    found = _verified(process)
    if found is None:
        return False
    with suppress(psutil.NoSuchProcess):
        found.send_signal(number)
        return True
    return False


def _verified(process: ProcessId) -> psutil.Process | None:
    # psutil remembers the process's own creation time from here on and refuses to signal another one; the mark is
    # compared after it did, so that no moment is left in which the pid could change hands.
    try:
        found = psutil.Process(process.pid)
    except psutil.Error:
        return None
    return found if alive(process) else None


def tail(log: Path, lines: int = 25) -> str:
    """The last lines of a log, or a remark that there is none."""
    try:
        with log.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - 64 * 1024))
            text = stream.read().decode(errors="replace")
    except OSError:
        return "(no log)"
    return "\n".join(text.rstrip().splitlines()[-lines:]) or "(empty log)"
