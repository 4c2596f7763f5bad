"""The demo's parts on this machine: the cluster, PostgreSQL, the operator and the API; started, watched, taken down.

Everything of one demo lies in one folder, and `parts.json` in it names the processes, so that a later command can
take down what an earlier one left running.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from taskjob_cluster import Cluster, down, postgres, processes, up
from taskjob_cluster.paths import state_directory
from taskjob_cluster.processes import ProcessId

READY_SECONDS = 60
OPERATOR, API = "taskjob-operator", "taskjob-api"


class DemoError(Exception):
    """A part failed. `part` says which; the message has what is wrong and the end of that part's log."""

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part


@dataclass(frozen=True, slots=True)
class Service:
    """The operator or the API with its port here: the process itself, or what forwards to its pods."""

    name: str
    process: ProcessId
    url: str
    log: str
    words: Callable[[], str]
    """The last lines of the log that is called `log`."""

    def check(self) -> None:
        """Raises DemoError with the end of the log when the process has ended."""
        if not processes.alive(self.process):
            raise DemoError(self.name, f"it ended by itself. {self.end_of_log()}")

    def end_of_log(self) -> str:
        """For a person: where the log is, and its last lines."""
        return f"The end of {self.log}:\n{self.words()}"


def folder_of(name: str) -> Path:
    """Everything of one demo that is not the cluster's."""
    return state_directory() / "demo" / name


@dataclass(slots=True)
class Stack:
    """The running parts. `keep`: they outlive this process; otherwise the kernel ends them with it."""

    name: str
    keep: bool
    services: dict[str, Service] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Everything of this demo that is not the cluster's."""
        return folder_of(self.name)

    def bring_up_cluster(
        self, provider: str, on_progress: Callable[[str], object], *, for_helm: bool = False
    ) -> Cluster:
        """The cluster: with our CRDs, or, for Helm, without them and with Services for its pods.

        Raises ClusterError that says what failed and shows the end of its log.
        """
        return up(
            self.name,
            provider=provider,
            die_with_parent=not self.keep,
            services=for_helm,
            crds=not for_helm,
            on_progress=on_progress,
        )

    def start_postgres(self) -> str:
        """PostgreSQL; its URL."""
        return postgres.start(self.folder / "postgres", die_with_parent=not self.keep).url

    def start_service(self, name: str, settings: Mapping[str, str], port_setting: str, preferred_port: int) -> Service:
        """Start the operator or the API and wait until it is ready. Raises DemoError with the end of its log."""
        port = free_port(preferred_port)
        environment = {**os.environ, **settings, port_setting: str(port), "PYTHONUNBUFFERED": "1"}
        return self.start(name, [str(Path(sys.executable).with_name(name))], environment, port)

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        port: int,
        log: tuple[str, Callable[[], str]] | None = None,
    ) -> Service:
        """Start what answers for the operator or the API on that port, and wait until it is ready.

        `log`: where its log is and how to get its last lines, if that is not what the command prints. Raises DemoError
        with the end of the log.
        """
        place = self.folder / "logs" / f"{name}.log"
        process = processes.start(command, log=place, environment=environment, die_with_parent=not self.keep)
        where, words = log or (str(place), partial(processes.tail, place))
        service = self.services[name] = Service(name, process, f"http://127.0.0.1:{port}", where, words)
        self._record()
        _wait_ready(service)
        return service

    def check(self) -> None:
        """Raises DemoError when the operator or the API has ended."""
        for service in self.services.values():
            service.check()

    def _record(self) -> None:
        named = {name: asdict(service.process) for name, service in self.services.items()}
        (self.folder / "parts.json").write_text(json.dumps(named))


def take_down(name: str) -> bool:
    """End every part of the demo of that name and remove what it made. False when there was nothing."""
    folder = folder_of(name)
    was_there = folder.exists()
    with suppress(FileNotFoundError, ValueError):
        for process in json.loads((folder / "parts.json").read_text()).values():
            processes.stop(ProcessId(**process))
    was_there |= down(name, on_progress=lambda _line: None)
    postgres.Postgres("", postgres.data_folder((folder / "postgres").resolve())).remove()
    shutil.rmtree(folder, ignore_errors=True)
    return was_there


def _wait_ready(service: Service) -> None:
    give_up_at = time.monotonic() + READY_SECONDS
    said = "no answer"
    while True:
        service.check()
        try:
            with urllib.request.urlopen(f"{service.url}/readyz", timeout=5):  # noqa: S310 - our own port
                return
        except urllib.error.HTTPError as error:
            said = f"{error.code} {error.read(2000).decode(errors='replace')}"
        except OSError as error:
            said = str(error)
        if time.monotonic() > give_up_at:
            late = f"not ready after {READY_SECONDS} s: {service.url}/readyz: {said}"
            raise DemoError(service.name, f"{late}\n{service.end_of_log()}")
        time.sleep(0.1)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port(preferred: int) -> int:
    """That port of this machine, or another if it is taken."""
    if _is_free(preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
