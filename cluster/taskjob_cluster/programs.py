"""A component as a program to run: its command, how to see that it is ready, and how a group of them is started."""

from __future__ import annotations

import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import processes
from .errors import ClusterError
from .records import Record, Running

POLL_SECONDS = 0.05
UNWELL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Program:
    """One component. `ready` answers at once; `patience` is how long it may say no, in seconds."""

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool]
    patience: float = 60.0
    environment: Mapping[str, str] | None = None


def start_all(record: Record, programs: Sequence[Program]) -> list[str]:
    """Bring these components to life together and wait until each is ready; the names of those that were started.

    A component that runs with the same command and is ready is left alone; one that is dead, unwell or was started
    with another command is started anew. Raises ClusterError with the end of the log of one that fails.
    """
    started = []
    for program in programs:
        running = record.components.get(program.name)
        if running is not None and processes.alive(running.process):
            if running.command == list(program.command) and _well(program):
                continue
            processes.stop(running.process)
        launch(record, program)
        started.append(program.name)
    for program in programs:
        wait_ready(record, program)
    return started


def _well(program: Program) -> bool:
    """Whether a component that runs is ready, or becomes so soon: on a busy machine a probe may come back late."""
    give_up_at = time.monotonic() + UNWELL_SECONDS
    while not program.ready():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(POLL_SECONDS)
    return True


def launch(record: Record, program: Program) -> None:
    """Start one component and write its process down. Does not wait for it."""
    process = processes.start(
        program.command,
        log=log_of(record.directory, program.name),
        environment=program.environment,
        die_with_parent=record.options.die_with_parent,
    )
    record.components[program.name] = Running(process, list(program.command))
    record.save()


def wait_ready(record: Record, program: Program) -> None:
    """Wait until a started component is ready. Raises ClusterError when it ended or its patience is over."""
    process = record.components[program.name].process
    give_up_at = time.monotonic() + program.patience
    while not program.ready():
        what = ""
        if not processes.alive(process):
            what = "ended before it was ready"
        elif time.monotonic() > give_up_at:
            what = f"was not ready after {program.patience:.0f} s"
        if what:
            log = log_of(record.directory, program.name)
            raise ClusterError(
                f"{program.name} of cluster {record.name!r} {what}. The end of its log ({log}):\n{processes.tail(log)}"
            )
        time.sleep(POLL_SECONDS)


def stop_one(record: Record, name: str, *, within: float = processes.STOP_SECONDS) -> None:
    """End one component (SIGTERM, then SIGKILL) and forget its process. Nothing happens when it does not run."""
    running = record.components.get(name)
    if running is not None:
        processes.stop(running.process, within=within)
        del record.components[name]
        record.save()


def log_of(directory: Path, component: str) -> Path:
    """Where a component's output goes."""
    return directory / "logs" / f"{component}.log"


def answers(url: str) -> bool:
    """Whether a health endpoint on loopback says 200 right now."""
    # The servers' certificates are of their own making and nothing is sent that would need protection: no token.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(url, timeout=2) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False
