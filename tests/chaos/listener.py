"""A client of the API's stream that comes back with its last cursor when it is sent away, and notes what it heard."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self
from urllib.parse import urlencode

from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from waiting import until

from .judge import Heard

_URL = re.compile(r"http://127\.0\.0\.1:\d+")


class Listener:
    """The API as a process, and its client in a thread. As a context manager.

    `heard`: what it was told.
    """

    def __init__(self, kubeconfig: Path, database_url: str, log: Path) -> None:
        self._log = log
        self._environment = {
            "PATH": os.environ["PATH"],
            "TASKJOBS_DATABASE_URL": database_url,
            "TASKJOBS_KUBECONFIG": str(kubeconfig),
            "TASKJOBS_API_PORT": "0",
            "TASKJOBS_INSECURE_LOCAL": "true",
            "TASKJOBS_STREAM_HEARTBEAT_SECONDS": "0.5",
        }
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.cursor = ""
        self.heard = Heard()
        self.times_back = -1

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "taskjob_api"], env=self._environment, stdout=log, stderr=log
            )
        self._thread.start()
        until(lambda: bool(self.cursor), f"the stream begins:\n{self._log.read_text()[-3000:]}", 40)
        return self

    @property
    def pid(self) -> int:
        """Of the API."""
        assert self._process is not None
        return self._process.pid

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(10)
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)

    def _run(self) -> None:
        while not self._stopping.is_set():
            found = _URL.search(self._log.read_text(errors="replace"))
            if found is not None:
                query = urlencode({"cursor": self.cursor} if self.cursor else {})
                with suppress(OSError, WebSocketException):  # sent away, or not let in: come back
                    self._listen(f"ws{found[0].removeprefix('http')}/jobs/stream?{query}")
            self._stopping.wait(0.1)

    def _listen(self, url: str) -> None:
        with connect(url, open_timeout=5, close_timeout=1) as socket:
            self.times_back += 1
            while not self._stopping.is_set():
                frame = json.loads(socket.recv(timeout=5))
                if frame["type"] == "TRANSITION":
                    self.heard.phases[frame["job"]["id"]].append(frame["to"])
                elif frame["type"] == "RESET":
                    self.heard = Heard(resets=self.heard.resets + 1)
                elif frame["type"] == "SNAPSHOT":
                    self.heard.snapshot.update((job["id"], job["phase"]) for job in frame["items"])
                self.cursor = frame["cursor"]
