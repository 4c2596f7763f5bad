"""`down`, and the sweeping of what others left. It needs no healthy part: it ends what the record names, removes what
the kernel still keeps for it, and removes the folder.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from . import kind, leftovers, machine, processes, records, services
from .errors import ClusterError
from .locks import file_lock
from .paths import cluster_directory, clusters_directory
from .programs import stop_one
from .progress import Progress
from .records import Provider, Record

ORPHAN_SECONDS = 600  # a test may stop all components of its cluster for a while
STOP_SECONDS = 5.0
"""How long a component of a cluster that goes away may take over SIGTERM; nothing of it is needed afterwards."""


def down(name: str, on_progress: Progress = print) -> bool:
    """Take a cluster down and remove everything that it made. False when there was none.

    Of an existing cluster that was named, only our note of it goes.
    """
    directory = cluster_directory(name)
    with file_lock(lock_of(name), remove=lambda: True):
        record = records.load(name)
        if record is None and not directory.exists():
            return False
        if record is not None and record.options.provider is Provider.KIND:
            kind.delete(record)
        elif record is not None:
            stop_everything(record)
        _remove(directory)
    on_progress(f"cluster {name} is down")
    return True


def stop_everything(record: Record) -> None:
    """Backwards through the starting order: an API server whose etcd is gone ignores SIGTERM and keeps its port."""
    real_node = record.options.provider is Provider.LOCAL
    if real_node:
        _stop(record, ["kubelet"])
        leftovers.end_containers(record)  # while containerd still runs
    _stop(record, [name for name in reversed(record.components) if name not in ("etcd", "kube-apiserver")])
    if real_node:
        leftovers.end_strays(record)
        leftovers.remove_mounts(record.directory)
        leftovers.remove_network(record)
        services.remove(record)
        leftovers.remove_log_links(record.directory)
        leftovers.remove_cgroup(record)
        machine.restore(record)
    _stop(record, ["kube-apiserver"])
    _stop(record, ["etcd"])


def _stop(record: Record, names: Iterable[str]) -> None:
    for name in names:
        stop_one(record, name, within=STOP_SECONDS)


def sweep() -> None:
    """Remove the folders of clusters that died with the process that had started them."""
    for name in records.names():
        if _is_orphan(name):
            with file_lock(lock_of(name), remove=lambda: True):
                if _is_orphan(name):
                    _remove(cluster_directory(name))


def _is_orphan(name: str) -> bool:
    try:
        record = records.load(name)
        age = time.time() - (cluster_directory(name) / "cluster.json").stat().st_mtime
    except (ClusterError, OSError):
        return False
    if record is None or not record.options.die_with_parent or age < ORPHAN_SECONDS:
        return False
    return not any(processes.alive(running.process) for running in record.components.values())


def _remove(directory: Path) -> None:
    if left := leftovers.mounts_below(directory):
        raise ClusterError(f"not removed, since something is still mounted there: {', '.join(left)}")
    shutil.rmtree(directory)


def lock_of(name: str) -> Path:
    """The file that keeps others off a cluster of that name, there or not."""
    cluster_directory(name)  # refuses a bad name before it becomes a path
    return clusters_directory() / f".{name}.lock"
