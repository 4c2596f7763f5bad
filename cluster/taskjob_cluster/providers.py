"""Which provider can run here, and in words why another cannot: `auto` takes the first that can."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .progress import Progress
from .records import Provider

_TIMEOUT_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a provider can run here; `reason` says why not, empty when it can."""

    reason: str = ""

    @property
    def possible(self) -> bool:
        """Whether it can."""
        return not self.reason


def choose(probes: Mapping[Provider, Callable[[], Verdict]], on_progress: Progress) -> Provider:
    """The first provider that can run, in the order of `probes`; each one passed over is reported with its reason."""
    for provider, probe in probes.items():
        verdict = probe()
        if verdict.possible:
            on_progress(f"provider: {provider.value}")
            return provider
        on_progress(f"provider {provider.value} cannot run here: {verdict.reason}")
    raise AssertionError("the last provider can always run")


def local() -> Verdict:
    """A real node: its kubelet and containers need root on Linux."""
    if sys.platform != "linux":
        return Verdict(f"a kubelet runs on Linux only, and this is {sys.platform}")
    if os.geteuid() != 0:
        return Verdict("a kubelet and its containers need root")
    return Verdict()


def always() -> Verdict:
    """Simulated nodes need nothing of the machine."""
    return Verdict()


def kind() -> Verdict:
    """kind's nodes are privileged containers: a Docker engine must answer, and start one."""
    docker = shutil.which("docker")
    if docker is None:
        return Verdict("there is no docker on the PATH")
    answered = _docker(docker, "info", "--format", "{{.ServerVersion}}")
    if answered.returncode != 0 or not answered.stdout.strip():
        return Verdict(f"no Docker engine answers: {_complaint(answered)}")
    return _privileged(docker)


def _privileged(docker: str) -> Verdict:
    """Start a privileged container of an image made from nothing but a static busybox, without pulling anything."""
    from .debian import NODE
    from .images import BUSYBOX, archive

    if NODE["busybox"].find() is None and os.geteuid() != 0:
        return Verdict("no static busybox to try a privileged container with: apt-get install busybox-static")
    loaded = _docker(docker, "load", "--input", str(archive(BUSYBOX, lambda _: None)))
    if loaded.returncode != 0:
        return Verdict(f"the Docker engine takes no image: {_complaint(loaded)}")
    tried = _docker(docker, "run", "--rm", "--privileged", "--network=none", BUSYBOX, "true")
    if tried.returncode != 0:
        return Verdict(f"a privileged container does not start: {_complaint(tried)}")
    return Verdict()


def _docker(docker: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [docker, *arguments], capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess([docker, *arguments], 124, "", f"no answer in {_TIMEOUT_SECONDS} s")


def _complaint(done: subprocess.CompletedProcess[str]) -> str:
    """What docker complained of: the last line that it wrote, past its advice on how to use it."""
    said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith(("Run '", "See '"))]
    return said[-1].strip() if said else f"exit code {done.returncode}"


PROBES: Mapping[Provider, Callable[[], Verdict]] = {
    Provider.KIND: kind,
    Provider.LOCAL: local,
    Provider.KWOK: always,
}


def probe(provider: Provider) -> Verdict:
    """Whether one provider that was named can run here."""
    return PROBES.get(provider, always)()
