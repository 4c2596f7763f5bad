"""A client of the API's stream that comes back with its last cursor when it is sent away, and notes what it heard.

It has a token of its own, and rights in one namespace only; the API asks the API server about both, again and again.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Final, Self
from urllib.parse import urlencode

import urllib3
from bench.suite.children import start
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from charts import API, apply, kubeconfig_of, of_the_api
from operators import Site
from tenants import TENANT, a_tenant
from waiting import until

from .judge import Heard

_URL = re.compile(r"http://127\.0\.0\.1:\d+")
_RECHECK_SECONDS: Final = 1


class Listener:
    """The API as a process, under its account of the chart, and its client in a thread. As a context manager.

    `server`: by which way the API reaches the API server. `heard`: what the client was told.
    """

    def __init__(self, site: Site, server: str) -> None:
        self._site = site
        self._server = server
        self._release = of_the_api(site.namespace)
        self._log = site.folder / "api.log"
        self._tenant = a_tenant(site.cluster, site.namespace)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.cursor = ""
        self._whole = True  # no snapshot is being shown
        self.heard = Heard()
        self.times_back = -1

    def __enter__(self) -> Self:
        site = self._site
        self._tenant.may(site.namespace, TENANT)
        apply(site.cluster, self._release)
        kubeconfig = kubeconfig_of(
            site.cluster, site.namespace, API, site.folder / "kubeconfig-of-the-api", server=self._server
        )
        environment = {
            "PATH": os.environ["PATH"],
            "TASKJOBS_DATABASE_URL": site.database_url,
            "TASKJOBS_KUBECONFIG": str(kubeconfig),
            "TASKJOBS_API_PORT": "0",
            "TASKJOBS_ACCESS_CACHE_SECONDS": str(_RECHECK_SECONDS / 2),
            "TASKJOBS_ACCESS_RECHECK_SECONDS": str(_RECHECK_SECONDS),
            "TASKJOBS_STREAM_HEARTBEAT_SECONDS": "0.5",
        }
        with self._log.open("wb") as log:
            self._process = start([sys.executable, "-m", "taskjob_api"], environment, log)
        until(self._is_known, "the API server knows the client's rights, and the API answers", 40)
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
        for found in self._release:
            if "namespace" not in found["metadata"]:
                self._site.cluster.kubectl("delete", found["kind"], found["metadata"]["name"])

    def _url(self, path: str) -> str:
        """Raises `LocationValueError` before the API says where it listens."""
        found = _URL.search(self._log.read_text(errors="replace"))
        if found is None:
            raise urllib3.exceptions.LocationValueError("the API is not up yet")
        return found[0] + path

    def _is_known(self) -> bool:
        """Before, what the client may see later would be left out of its stream."""
        with suppress(urllib3.exceptions.HTTPError):
            url = self._url(f"/jobs/?namespace={self._site.namespace}")
            return urllib3.request("GET", url, headers=self._tenant.headers, retries=False, timeout=5).status == 200
        return False

    def _run(self) -> None:
        while not self._stopping.is_set():
            query = urlencode({"cursor": self.cursor} if self.cursor else {})
            with suppress(OSError, WebSocketException):  # sent away, or not let in: come back
                self._listen(self._url(f"/jobs/stream?{query}").replace("http", "ws", 1))
            self._stopping.wait(0.1)

    def _listen(self, url: str) -> None:
        with connect(url, additional_headers=self._tenant.headers, open_timeout=5, close_timeout=1) as socket:
            self.times_back += 1
            while not self._stopping.is_set():
                frame = json.loads(socket.recv(timeout=5))
                if frame["type"] == "TRANSITION":
                    self.heard.phases[frame["job"]["id"]].append(frame["to"])
                elif frame["type"] == "RESET":
                    self.heard = Heard(resets=self.heard.resets + self._whole)  # a broken snapshot begins anew
                    self._whole = False
                elif frame["type"] == "SNAPSHOT":
                    self.heard.snapshot.update((job["id"], job["phase"]) for job in frame["items"])
                    self._whole = frame["last"]
                self.cursor = frame["cursor"]
