"""The programs of a real node that come from Debian packages: found, or installed by apt-get when root."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import ClusterError
from .locks import file_lock
from .paths import cache_directory
from .progress import Progress

CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))


@dataclass(frozen=True, slots=True)
class Need:
    """Something that a node needs: the Debian package that brings it, and where it is once it is there."""

    package: str
    find: Callable[[], Path | None]


def _program(name: str) -> Callable[[], Path | None]:
    # sbin is not on everybody's PATH.
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"))
    return lambda: Path(found) if (found := shutil.which(name, path=path)) else None


def _cni() -> Path | None:
    wanted = ("bridge", "host-local", "loopback")
    return next((folder for folder in CNI_FOLDERS if all((folder / name).exists() for name in wanted)), None)


def _static_busybox() -> Path | None:
    """A busybox that runs in an empty root file system; a dynamic one names its loader in its ELF header."""
    for name in ("/bin/busybox", "/usr/bin/busybox"):
        try:
            head = Path(name).read_bytes()[: 64 * 1024]
        except OSError:
            continue
        if b"/ld-linux" not in head and b"/ld-musl" not in head:
            return Path(name)
    return None


NODE = {
    "containerd": Need("containerd", _program("containerd")),
    "ctr": Need("containerd", _program("ctr")),
    "runc": Need("runc", _program("runc")),
    "cni": Need("containernetworking-plugins", _cni),
    "ip": Need("iproute2", _program("ip")),
    "busybox": Need("busybox-static", _static_busybox),
}

SERVICES = {"iptables": Need("iptables", _program("iptables"))}


def ensure_packages(needs: Iterable[str] = tuple(NODE), on_progress: Progress = print) -> dict[str, Path]:
    """Where each of these is. What is missing is installed by apt-get when that is possible.

    Raises ClusterError with the exact command to run when it is not, or with apt-get's own words when it fails.
    """
    wanted = {name: {**NODE, **SERVICES}[name] for name in needs}
    if packages := _missing(wanted):
        command = f"apt-get install -y --no-install-recommends {' '.join(packages)}"
        if shutil.which("apt-get") is None:
            raise ClusterError(f"missing: {', '.join(packages)} (the names are Debian's). Install them and try again.")
        if os.geteuid() != 0:
            raise ClusterError(f"missing Debian packages. As root: {command}")
        with file_lock(cache_directory() / ".apt.lock"):
            packages = _missing(wanted)
            if packages:
                on_progress(f"installing Debian packages: {' '.join(packages)}")
                install(packages)
        if packages := _missing(wanted):
            raise ClusterError(f"{command} succeeded, yet what {', '.join(packages)} should bring is not there")
    return {name: place for name, need in wanted.items() if (place := need.find())}


def _missing(wanted: dict[str, Need]) -> list[str]:
    return sorted({need.package for need in wanted.values() if need.find() is None})


def candidate_version(package: str) -> str | None:
    """The version that apt-get would install, its epoch and Debian's revision cut off; None when there is none."""
    if shutil.which("apt-cache") is None:
        return None
    said = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True, check=False).stdout
    found = re.search(r"Candidate: (?:\d+:)?([\d.]+)", said)
    return found.group(1) if found else None


def install(packages: list[str]) -> None:
    """apt-get install, as root. Raises ClusterError with apt-get's last words."""
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    # Lists may be missing (a fresh image) or name versions that are gone: then one update, and once more.
    for attempt in (command, ["apt-get", "update"], command):
        done = subprocess.run(
            attempt,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode == 0 and attempt is command:
            return
    raise ClusterError(f"{' '.join(command)} failed:\n" + "\n".join(done.stdout.strip().splitlines()[-20:]))
