"""An operator as a process of its own, to be stopped, killed and paused; its log is shown when a test fails.

Importing the operator's libraries takes a second of CPU, which dozens of restarts would spend on nothing: by default a
process that has imported them already forks each operator. `fresh=True` types the real command instead.
"""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import gc
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import HTTPError, URLError

from taskjob_cluster import Cluster

READY_SECONDS = 30
STOP_SECONDS = 20
_PR_SET_PDEATHSIG = 1
_PORT = re.compile(r"probes and metrics on http://127\.0\.0\.1:(\d+)")


def _forking() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "taskjob.main"])
    return context


def _live(environment: Mapping[str, str], log: str) -> None:
    """In the forked process: become the operator."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.environ.clear()
    os.environ.update(environment)
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # where each thread is, also one that runs in circles
    signal.signal(signal.SIGUSR2, _tell_tasks)
    from taskjob.main import main

    code = main()
    sys.stdout.flush()
    os._exit(code)


def _tell_tasks(*_: object) -> None:
    """Write down what every task of asyncio waits for."""
    for found in gc.get_objects():
        if isinstance(found, asyncio.Task) and not found.done():
            found.print_stack(limit=12)
    sys.stderr.flush()


class OperatorProcess:
    """One operator. As a context manager it is stopped in the end, and its log printed if the block failed.

    `start` may be called again after it ended: the same operator, restarted, goes on writing the same log.
    """

    def __init__(
        self,
        cluster: Cluster,
        database_url: str,
        log: Path,
        *,
        fresh: bool = False,
        name: str = "operator",
        **settings: object,
    ) -> None:
        self.name = name
        self.log_path = log
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("TASKJOBS_")},
            "TASKJOBS_DATABASE_URL": database_url,
            "TASKJOBS_KUBECONFIG": str(cluster.kubeconfig),
            "TASKJOBS_ADMIN_PORT": "0",
            **{
                f"TASKJOBS_{key.upper()}": value if isinstance(value, str) else json.dumps(value)
                for key, value in settings.items()
            },
        }
        self._fresh = fresh
        self._process: ForkServerProcess | subprocess.Popen[bytes] | None = None
        self._log_begins = 0
        self.starts = 0

    # ------------------------------------------------------------------ life
    def start(self) -> Self:
        """Start it; does not wait for anything."""
        assert not self.alive, f"{self.name} runs already"
        self._log_begins = self.log_path.stat().st_size if self.log_path.exists() else 0
        self.starts += 1
        if self._fresh:
            with self.log_path.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "taskjob.main"], env=self.environment, stdout=log, stderr=log
                )
        else:
            process = _forking().Process(target=_live, args=(self.environment, str(self.log_path)), daemon=True)
            process.start()
            self._process = process
        return self

    @property
    def pid(self) -> int:
        """Its process id."""
        pid = None if self._process is None else self._process.pid
        assert pid is not None, f"{self.name} was not started"
        return pid

    @property
    def alive(self) -> bool:
        """Whether it runs (or is paused)."""
        return self._process is not None and self.exit_code is None

    @property
    def exit_code(self) -> int | None:
        """How it ended; negative: by that signal; None while it runs."""
        if isinstance(self._process, subprocess.Popen):
            return self._process.poll()
        return None if self._process is None else self._process.exitcode

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self.wait_ended(10)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait_ended(STOP_SECONDS)

    def pause(self) -> None:
        """SIGSTOP: it hangs, its connections stay open."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def wait_ended(self, seconds: float) -> int:
        """Wait until it has ended; its exit code. AssertionError if it does not in time."""
        assert self._process is not None, f"{self.name} was not started"
        if isinstance(self._process, subprocess.Popen):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        else:
            self._process.join(seconds)
        code = self.exit_code
        if code is None:
            self._give_up()
            raise AssertionError(f"{self.name} (pid {self.pid}) did not end within {seconds:.0f} s\n{self.log()}")
        return code

    def _give_up(self) -> None:
        """Let one that does not end say where it is, and end it: it would outlive the tests, which wait for it."""
        for number in (signal.SIGUSR1, signal.SIGUSR2) if not self._fresh else ():
            written, give_up_at = self.log_path.stat().st_size, time.monotonic() + 2
            self.signal(number)
            # The second signal is not heard where no Python runs: then it has said what it could.
            while self.log_path.stat().st_size == written and time.monotonic() < give_up_at:
                time.sleep(0.02)
        self.signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        if not self.alive:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.alive:
                self.resume()
                if kind is None:
                    self.stop()
        finally:
            self.kill() if self.alive else None
            if kind is not None:
                print(f"---------------- log of the {self.name}\n{self.log()}\n----------------")

    # ------------------------------------------------------------------ what it says
    def log(self) -> str:
        """All that it has written, restarts included; the last 20,000 characters."""
        return self.log_path.read_text(errors="replace")[-20_000:] if self.log_path.exists() else ""

    def log_of_this_start(self) -> str:
        """What it has written since it was last started."""
        if not self.log_path.exists():
            return ""
        with self.log_path.open("rb") as log:
            log.seek(self._log_begins)
            return log.read().decode(errors="replace")

    @property
    def url(self) -> str:
        """Of its own port. Raises OSError before it has named it."""
        found = _PORT.search(self.log_of_this_start())
        if found is None:
            raise ConnectionError(f"{self.name} has not named its port yet")
        return f"http://127.0.0.1:{found[1]}"

    def ask(self, path: str, token: str | None = None) -> tuple[int, str]:
        """GET on its own port: the HTTP status and the text. Raises OSError when it does not answer."""
        request = urllib.request.Request(self.url + path)  # noqa: S310 - ours
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - ours
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metrics(self) -> dict[str, float]:
        """Its metrics, by name with labels as they are printed."""
        _, text = self.ask("/metrics")
        lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    def wait_metrics(self, what: str, condition: Callable[[dict[str, float]], bool], seconds: float = 20) -> None:
        """Wait until its metrics say so. They follow its own watches, so they come later than what others see."""
        give_up_at = time.monotonic() + seconds
        while not condition(figures := self.metrics()):
            assert time.monotonic() < give_up_at, f"{what}: not within {seconds:.0f} s\n{figures}\n{self.log()}"
            time.sleep(0.05)

    def wait_ready(self, seconds: float = READY_SECONDS) -> Self:
        """Wait until /readyz says 200."""
        give_up_at = time.monotonic() + seconds
        said = ""
        while time.monotonic() < give_up_at:
            if not self.alive:
                raise AssertionError(f"{self.name} ended with {self.exit_code} before it was ready\n{self.log()}")
            try:
                code, said = self.ask("/readyz")
                if code == 200:
                    return self
            except (URLError, OSError) as error:
                said = str(error)
            time.sleep(0.02)
        raise AssertionError(f"{self.name} was not ready within {seconds:.0f} s: {said}\n{self.log()}")
