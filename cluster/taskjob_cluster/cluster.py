"""A cluster that is up: how to reach it, and what tests do to its components."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from . import controlplane, debian, ending, kind, node, processes, profiles, records
from .build import ensure
from .errors import ClusterError
from .programs import launch, log_of, stop_one, wait_ready
from .records import Provider, Record


class Cluster:
    """A handle on a running cluster. Cheap to make, holds no connection; as a context manager it takes it down.

    Paths and the URL stay the same as long as the cluster's folder exists, restarts of components included.
    """

    def __init__(self, record: Record) -> None:
        self._known = record

    @property
    def _record(self) -> Record:
        # Read anew: another handle, or the command line, may have restarted a component meanwhile.
        self._known = records.load(self._known.name) or self._known
        return self._known

    @property
    def name(self) -> str:
        """The name given to `up`."""
        return self._known.name

    @property
    def provider(self) -> Provider:
        """Who runs it."""
        return self._known.options.provider

    @property
    def has_nodes(self) -> bool:
        """Whether pods can be placed in it."""
        return self.provider is not Provider.APISERVER

    @property
    def directory(self) -> Path:
        """The folder that holds everything of it (logs, keys, etcd's data); `down` removes it."""
        return self._known.directory

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig with the administrator's credentials."""
        return Path(self._known.kubeconfig)

    @property
    def server(self) -> str:
        """The API server's URL, such as `https://127.0.0.1:20443`."""
        if self._runs_here:
            return controlplane.server_url(self._known)
        return self.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}").strip()

    @property
    def token(self) -> str:
        """The administrator's bearer token (system:masters). Raises ClusterError where the cluster is not ours."""
        self._must_run_here("its token")
        return (self.directory / "token").read_text()

    @property
    def ca_file(self) -> Path:
        """A PEM file to verify the server by. Raises ClusterError where the cluster is not ours."""
        self._must_run_here("its CA file")
        return controlplane.ca_path(self._known)

    @property
    def audit_log(self) -> Path | None:
        """The API server's audit log (JSON lines), when `up` was asked for it."""
        return controlplane.audit_path(self._known) if self._known.options.audit else None

    @property
    def pids(self) -> dict[str, int]:
        """The pids of the components that are alive, by name."""
        return {
            name: running.process.pid
            for name, running in self._record.components.items()
            if processes.alive(running.process)
        }

    @property
    def environment(self) -> Mapping[str, str]:
        """This process's environment with KUBECONFIG naming this cluster: for programs that speak to it."""
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def kubectl(self, *args: str, input: str | None = None, timeout: float = 120) -> str:
        """Run kubectl against this cluster and return what it printed.

        `input` is given on its standard input (`kubectl("apply", "-f", "-", input=manifest)`).
        Raises ClusterError with its standard error when it fails.
        """
        program = ensure(["kubectl"])["kubectl"]
        try:
            done = subprocess.run(
                [program, f"--kubeconfig={self.kubeconfig}", *args],
                input=input,
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"kubectl {' '.join(args)} gave no answer in {timeout:.0f} s") from error
        if done.returncode != 0:
            raise ClusterError(f"kubectl {' '.join(args)}: exit code {done.returncode}\n{done.stderr.strip()}")
        return done.stdout

    def load_image(self, archive: Path | str) -> None:
        """Make the images of a docker-archive tar known to the cluster's node (see `images.archive` for ours)."""
        place = Path(archive)
        if self.provider is Provider.LOCAL:
            node.import_image(self._record, debian.ensure_packages(["ctr"]), place)
        elif self.provider is Provider.KIND:
            kind.load_image(self._record, place)
        else:
            raise ClusterError(f"cluster {self.name!r} ({self.provider}): it has no node here to load images into")

    def logs(self, component: str) -> str:
        """What a component (`kube-apiserver`, `etcd`, `kubelet`, ...) has written so far."""
        place = log_of(self.directory, component)
        if not place.exists():
            known = ", ".join(sorted(found.stem for found in place.parent.glob("*.log"))) or "none"
            raise ClusterError(f"cluster {self.name!r} has no log of {component!r}; there are: {known}")
        return place.read_text(errors="replace")

    def stop_component(self, name: str, *, kill: bool = False) -> None:
        """End one component and leave it down: SIGTERM, then SIGKILL; `kill` sends SIGKILL at once."""
        record = self._record
        if kill:
            processes.kill(self._component(name))
        stop_one(record, name)

    def restart_component(self, name: str, *, kill: bool = False) -> None:
        """Start one component anew, stopping it first if it runs, and wait until it is ready."""
        self._must_run_here("restarting a component")
        found = profiles.programs(self._record)
        if name not in found:
            raise ClusterError(f"cluster {self.name!r} has no component {name!r}; it has: {', '.join(found)}")
        if name in self._record.components:
            self.stop_component(name, kill=kill)
        record = self._record
        launch(record, found[name])
        wait_ready(record, found[name])

    def pause(self, component: str) -> None:
        """Stop a component's process without ending it (SIGSTOP): it hangs, its connections stay open."""
        processes.send(self._component(component), signal.SIGSTOP)

    def resume(self, component: str) -> None:
        """Let a paused component go on (SIGCONT)."""
        processes.send(self._component(component), signal.SIGCONT)

    def compact_store(self) -> None:
        """Have etcd forget every version but the present one: who asks for an older one is told that it is gone."""
        self._must_run_here("compacting its store")
        etcd = f"http://127.0.0.1:{self._record.ports['etcd']}/v3"
        status = _post(f"{etcd}/maintenance/status", {})
        _post(f"{etcd}/kv/compaction", {"revision": status["header"]["revision"], "physical": True})

    def wait_for(self, *args: str, timeout_seconds: float = 60) -> None:
        """`kubectl wait` with these arguments. Raises ClusterError when the condition was not met in time."""
        give_up_at = time.monotonic() + timeout_seconds
        while True:
            try:
                self.kubectl("wait", *args, f"--timeout={timeout_seconds:.0f}s", timeout=timeout_seconds + 10)
                return
            except ClusterError as error:
                # kubectl fails at once on an object whose status has no conditions at all yet, a new CRD for example.
                if "conditions accessor error" not in str(error) or time.monotonic() > give_up_at:
                    raise
                time.sleep(0.2)

    def wait_gone(self, *args: str, timeout_seconds: float = 60) -> None:
        """Wait until `kubectl get ARGS -o name` finds nothing any more."""
        give_up_at = time.monotonic() + timeout_seconds
        while left := self.kubectl("get", *args, "-o", "name", "--ignore-not-found").strip():
            if time.monotonic() > give_up_at:
                raise ClusterError(f"still there after {timeout_seconds:.0f} s: {left}")
            time.sleep(0.2)

    def down(self) -> None:
        """Take the cluster down and remove what it made."""
        ending.down(self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def __repr__(self) -> str:
        return f"Cluster({self.name!r}, provider={self.provider.value!r})"

    @property
    def _runs_here(self) -> bool:
        return self.provider in profiles.RUN_HERE

    def _must_run_here(self, what: str) -> None:
        if not self._runs_here:
            raise ClusterError(f"{what} is known only for clusters that this tool runs itself, not {self.provider}")

    def _component(self, name: str) -> processes.ProcessId:
        running = self._record.components.get(name)
        if running is None:
            known = ", ".join(self._record.components) or "none"
            raise ClusterError(f"cluster {self.name!r} runs no component {name!r}; it runs: {known}")
        return running.process


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode())  # noqa: S310 - ours, on loopback
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
            return found
    except OSError as error:
        raise ClusterError(f"etcd did not do what was asked at {url}: {error}") from error
