"""What a real node leaves in the kernel: containers, mounts, network links, cgroups. Found by the cluster's own mark
or folder, never by a guess, and removed. Every step works on what is there, in whatever state the node was left.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from . import processes
from .debian import NODE
from .node import mark, socket_path
from .records import Record

_DETACH = 2  # MNT_DETACH: out of sight at once, gone when the last user is
CGROUPS = Path("/sys/fs/cgroup")
WAIT_SECONDS = 10


def make_cgroup(record: Record) -> None:
    """Make the folder under which the kubelet keeps its pods, in each hierarchy: it refuses to make its own root."""
    for hierarchy in _hierarchies():
        place = hierarchy / mark(record.directory)
        with suppress(OSError):  # a hierarchy may be read-only; the kubelet then says which one it misses
            place.mkdir(exist_ok=True)


def end_containers(record: Record) -> None:
    """End every container of the cluster's containerd, which must still run for the polite part of it."""
    ctr = NODE["ctr"].find()
    if ctr is not None and socket_path(record).exists():
        base = [str(ctr), f"--address={socket_path(record)}", "--namespace=k8s.io", "task"]
        with suppress(subprocess.TimeoutExpired):
            listed = subprocess.run(
                [*base, "ls", "-q"], capture_output=True, text=True, timeout=WAIT_SECONDS, check=False
            )
            if tasks := listed.stdout.split():
                subprocess.run(
                    [*base, "rm", "-f", *tasks], capture_output=True, timeout=WAIT_SECONDS + len(tasks), check=False
                )


def end_strays(record: Record) -> None:
    """SIGKILL what is still in the cluster's cgroups, then the shims that served it, and remove their sockets."""
    for pid in _members(record):
        if (found := processes.identify(pid)) is not None:
            processes.kill(found)
    address = str(socket_path(record))
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        ours = command and "containerd-shim" in command[0] and address in command
        if ours and (found := processes.identify(process.pid)) is not None:
            processes.kill(found)
    # containerd notes each shim's socket, which lies outside of its own folders.
    for note in (record.directory / "run" / "containerd").glob("io.containerd.runtime.v2.task/*/*/address"):
        with suppress(OSError):
            Path(note.read_text().strip().removeprefix("unix://")).unlink(missing_ok=True)


def remove_mounts(directory: Path) -> None:
    """Unmount everything below the cluster's folder, the innermost first. The folder can then be removed."""
    libc = ctypes.CDLL(None, use_errno=True)
    for flags in (0, _DETACH):
        for point in sorted(mounts_below(directory), key=len, reverse=True):
            libc.umount2(os.fsencode(point), flags)


def mounts_below(directory: Path) -> list[str]:
    """The mount points inside a folder."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split(" ")[4].encode().decode("unicode_escape")  # blanks are written \\040
        if point.startswith(f"{directory}/"):
            found.append(point)
    return found


def remove_network(record: Record) -> None:
    """Remove the bridge (its pods' ends went with their network namespaces) and what the plugins noted down."""
    name = mark(record.directory)
    ip = NODE["ip"].find()
    if ip is not None and Path("/sys/class/net", name).exists():
        subprocess.run([ip, "link", "delete", name], capture_output=True, check=False)
    # Each result names the pod's network namespace, which lies in the cluster's folder.
    for note in Path("/var/lib/cni/results").glob("*"):
        with suppress(OSError):
            if f"{record.directory}/" in note.read_text():
                note.unlink()


def remove_log_links(directory: Path) -> None:
    """Remove the kubelet's links in /var/log/containers that point into the cluster's folder."""
    with suppress(OSError):
        for link in Path("/var/log/containers").iterdir():
            if link.is_symlink() and os.readlink(link).startswith(f"{directory}/"):
                link.unlink()


def remove_cgroup(record: Record) -> None:
    """Remove the cluster's cgroups, the innermost first; the kernel needs a moment after the last process."""
    give_up_at = time.monotonic() + WAIT_SECONDS
    for top in _cgroups(record):
        while top.exists():
            for folder, _, _ in os.walk(top, topdown=False):
                with suppress(OSError):
                    os.rmdir(folder)
            if time.monotonic() > give_up_at:
                break
            if top.exists():
                time.sleep(0.05)


def _members(record: Record) -> set[int]:
    found: set[int] = set()
    for top in _cgroups(record):
        for place in top.rglob("cgroup.procs"):
            with suppress(OSError):
                found.update(int(pid) for pid in place.read_text().split())
    return found


def _cgroups(record: Record) -> list[Path]:
    name = mark(record.directory)
    return [hierarchy / name for hierarchy in _hierarchies() if (hierarchy / name).is_dir()]


def _hierarchies() -> Iterator[Path]:
    """The root of each cgroup hierarchy: one with cgroup v2, one for each controller with v1."""
    if (CGROUPS / "cgroup.controllers").exists():
        yield CGROUPS
        return
    for place in sorted(CGROUPS.iterdir()):
        if place.is_dir() and not place.is_symlink():
            yield place
