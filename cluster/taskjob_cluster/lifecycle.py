"""`up` and `down`: the whole story of a cluster, step by step.

`up` brings the cluster to what was asked for from whatever state it is in: a healthy component is left alone, a
dead or unwell one is started again. `down` needs no healthy part: it ends what the record names and removes the
folder.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

from . import controlplane, processes, profiles, records, simulated
from .build import Progress
from .cluster import Cluster
from .credentials import write_kubeconfig
from .errors import ClusterError
from .install import install
from .locks import file_lock
from .paths import cluster_directory, clusters_directory
from .programs import start_all, stop_one
from .records import Options, Provider, Record
from .sizing import sizes, this_machine

NODE_SECONDS = 30
STOP_SECONDS = 5.0
"""How long a component of a cluster that goes away may take over SIGTERM; nothing of it is needed afterwards."""


def up(
    name: str,
    *,
    provider: str = "auto",
    audit: bool = False,
    kwok_nodes: int = 0,
    kcm: bool = True,
    existing: Path | str | None = None,
    die_with_parent: bool = False,
    crds: bool = True,
    on_progress: Progress = print,
) -> Cluster:
    """Bring a cluster up, or find it up already, and return a handle on it.

    provider: `auto`, `kind`, `local`, `kwok` or `apiserver` (etcd and kube-apiserver alone, about 3 seconds).
    audit: have the API server write an audit log of creates and deletes of pods.
    kwok_nodes: simulated nodes; 0 means none with `local` and as many as fit the machine with `kwok`.
    kcm: run kube-controller-manager; without it service accounts and garbage collection are missing.
    existing: the kubeconfig of a cluster that is already there; nothing else is then started.
    die_with_parent: the components are killed when this process ends (for tests).
    crds: install the CRDs and the `default` TaskQueue of the checkout.
    on_progress: is given a line for each step.

    Raises ClusterError with the end of the log of the component that failed, ValueError for a bad name.
    """
    with file_lock(_lock(name)):
        record = records.load(name)
        if existing is not None:
            provider = Provider.EXISTING
        chosen = _choose(record, provider)
        asked = Options(chosen, audit=audit, kwok_nodes=kwok_nodes, kcm=kcm, die_with_parent=die_with_parent)
        if record is None:
            record = Record(name, _settled(asked))
        else:
            record.options = _settled(asked)
        cluster = _bring_up(record, existing, on_progress)
        if crds:
            install(cluster, on_progress)
    return cluster


def down(name: str, on_progress: Progress = print) -> bool:
    """Take a cluster down and remove everything that it made. False when there was none."""
    directory = cluster_directory(name)
    with file_lock(_lock(name), remove=True):
        record = records.load(name)
        if record is None and not directory.exists():
            return False
        if record is not None:
            _stop_everything(record)
        shutil.rmtree(directory)
    on_progress(f"cluster {name} is down")
    return True


def get(name: str) -> Cluster | None:
    """A handle on a cluster that has been brought up; None when there is none of that name."""
    record = records.load(name)
    return None if record is None else Cluster(record)


def _choose(record: Record | None, provider: str) -> Provider:
    automatic = record.options.provider if record else Provider.KWOK
    chosen = automatic if provider == "auto" else Provider(provider)
    if record is not None and record.options.provider is not chosen:
        raise ClusterError(
            f"cluster {record.name!r} is up with provider {record.options.provider.value!r}, not {chosen.value!r}: "
            "take it down first, or choose another name"
        )
    return chosen


def _settled(asked: Options) -> Options:
    """The options with what the provider decides by itself."""
    if asked.provider is Provider.APISERVER:
        return replace(asked, kwok_nodes=0, kcm=False)
    if asked.provider is Provider.KWOK and asked.kwok_nodes == 0:
        return replace(asked, kwok_nodes=sizes(this_machine()).kwok_nodes)
    return asked


def _bring_up(record: Record, existing: Path | str | None, on_progress: Progress) -> Cluster:
    paths = profiles.binaries(record, on_progress)
    record.save()
    records.assign_ports(record, profiles.ports(record.options))
    profiles.prepare(record)
    for wave in profiles.waves(record, paths):
        started = start_all(record, wave)
        if started:
            on_progress(f"{', '.join(started)}: ready")
        if any(program.name == "kube-apiserver" for program in wave):
            _write_kubeconfig(record)
    cluster = Cluster(record)
    if record.options.kwok_nodes:
        _make_simulated_nodes(cluster, record, on_progress)
    return cluster


def _write_kubeconfig(record: Record) -> None:
    place = controlplane.kubeconfig_path(record)
    write_kubeconfig(
        place,
        name=record.name,
        server=controlplane.server_url(record),
        token=(record.directory / "token").read_text(),
        ca_file=controlplane.ca_path(record),
    )
    record.kubeconfig = str(place)
    record.save()


def _make_simulated_nodes(cluster: Cluster, record: Record, on_progress: Progress) -> None:
    cluster.kubectl("apply", "--server-side", "-f", "-", input=simulated.node_manifests(record))
    cluster.wait_for("node", "-l", "type=kwok", "--for=condition=Ready")
    if record.options.kcm:  # which lifts the taint of a node that has just become ready
        _wait_untainted(cluster)
    on_progress(f"{record.options.kwok_nodes} simulated nodes: ready")


def _wait_untainted(cluster: Cluster) -> None:
    give_up_at = time.monotonic() + NODE_SECONDS
    taints = ("get", "node", "-l", "type=kwok", "-o", "jsonpath={.items[*].spec.taints[*].key}")
    while "node.kubernetes.io/not-ready" in cluster.kubectl(*taints):
        if time.monotonic() > give_up_at:
            raise ClusterError(f"the simulated nodes kept their not-ready taint for {NODE_SECONDS} s")
        time.sleep(0.1)


def _stop_everything(record: Record) -> None:
    """Backwards through the starting order: an API server whose etcd is gone ignores SIGTERM and keeps its port."""
    for name in reversed(list(record.components)):
        stop_one(record, name, within=STOP_SECONDS)


def _lock(name: str) -> Path:
    cluster_directory(name)  # refuses a bad name before it becomes a path
    return clusters_directory() / f".{name}.lock"


def status(name: str) -> dict[str, str]:
    """Each component of a cluster and whether it runs."""
    record = records.load(name)
    if record is None:
        raise ClusterError(f"there is no cluster {name!r}; there are: {', '.join(records.names()) or 'none'}")
    return {
        component: f"running, pid {running.process.pid}" if processes.alive(running.process) else "dead"
        for component, running in record.components.items()
    }
