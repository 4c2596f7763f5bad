"""`up`: the whole story of a cluster, step by step. How it ends is told by `ending`.

It brings the cluster to what was asked for from whatever state it is in: a healthy component is left alone, a dead or
unwell one is started again.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from . import (
    controlplane,
    images,
    kind,
    leftovers,
    machine,
    node,
    processes,
    profiles,
    providers,
    records,
    simulated,
)
from .cluster import Cluster
from .ending import lock_of, stop_everything, sweep
from .errors import ClusterError
from .install import install
from .locks import file_lock
from .paths import cluster_directory
from .programs import start_all
from .progress import Progress
from .records import Options, Provider, Record
from .sizing import sizes, this_machine

NODE_SECONDS = 60


def up(
    name: str,
    *,
    provider: str = "auto",
    audit: bool = False,
    kwok_nodes: int = 0,
    kcm: bool = True,
    existing: Path | str | None = None,
    die_with_parent: bool = False,
    services: bool = False,
    crds: bool = True,
    on_progress: Progress = print,
) -> Cluster:
    """Bring a cluster up, or find it up already, and return a handle on it.

    provider: `auto`, `kind`, `local`, `kwok` or `apiserver` (etcd and kube-apiserver alone, about 3 seconds).
    audit: have the API server write an audit log of creates and deletes of pods.
    kwok_nodes: simulated nodes; 0 means none with `local` and as many as fit the machine with `kwok`.
    kcm: run kube-controller-manager; without it service accounts and garbage collection are missing.
    existing: the kubeconfig of a cluster that is already there; nothing is then started or removed in it.
    die_with_parent: the components are killed when this process ends (for tests; not for `local`, whose containers
        would stay behind).
    services: give the pods of `local` Services and DNS, for what is installed into the cluster itself (as kind does);
        only one cluster of the machine at a time can have them.
    crds: install the CRDs and the `default` TaskQueue of the checkout.
    on_progress: is given a line for each step.

    Raises ClusterError with the end of the log of the component that failed, ValueError for a bad name.
    """
    sweep()
    directory = cluster_directory(name)
    with file_lock(lock_of(name), remove=lambda: not directory.exists()):
        record = records.load(name)
        if existing is not None:
            provider = Provider.EXISTING
        chosen = _choose(record, provider, on_progress)
        asked = Options(
            chosen, audit=audit, kwok_nodes=kwok_nodes, kcm=kcm, die_with_parent=die_with_parent, services=services
        )
        if record is None:
            record = Record(name, _settled(asked))
        else:
            record.options = _settled(asked)
        if chosen in profiles.RUN_HERE:
            _bring_up_or_stop(record, on_progress)
        elif chosen is Provider.KIND:
            record.save()
            record.kubeconfig = str(kind.create(record, on_progress))
            record.save()
        else:
            _adopt(record, existing)
        cluster = Cluster(record)
        if crds:
            install(cluster, on_progress)
    return cluster


def get(name: str) -> Cluster | None:
    """A handle on a cluster that has been brought up; None when there is none of that name."""
    record = records.load(name)
    return None if record is None else Cluster(record)


def status(name: str) -> dict[str, str]:
    """Each component of a cluster and whether it runs. Raises ClusterError when there is no such cluster."""
    record = records.load(name)
    if record is None:
        raise ClusterError(f"there is no cluster {name!r}; there are: {', '.join(records.names()) or 'none'}")
    return {
        component: f"running, pid {running.process.pid}" if processes.alive(running.process) else "dead"
        for component, running in record.components.items()
    }


def _choose(record: Record | None, provider: str, on_progress: Progress) -> Provider:
    if provider != "auto":
        chosen = Provider(provider)
    elif record is not None:
        chosen = record.options.provider
    else:
        chosen = providers.choose(providers.PROBES, on_progress)
    if record is not None and record.options.provider is not chosen:
        raise ClusterError(
            f"cluster {record.name!r} is up with provider {record.options.provider.value!r}, not {chosen.value!r}: "
            "take it down first, or choose another name"
        )
    if provider != "auto" and record is None and not (verdict := providers.probe(chosen)).possible:
        raise ClusterError(f"provider {chosen.value!r} cannot run here: {verdict.reason}")
    return chosen


def _settled(asked: Options) -> Options:
    """The options with what the provider decides by itself."""
    match asked.provider:
        case Provider.APISERVER:
            return replace(asked, kwok_nodes=0, kcm=False, services=False)
        case Provider.KWOK if asked.kwok_nodes == 0:
            return replace(asked, kwok_nodes=sizes(this_machine()).kwok_nodes, services=False)
        case Provider.LOCAL:
            return replace(asked, die_with_parent=False)
    return replace(asked, services=False)


def _bring_up_or_stop(record: Record, on_progress: Progress) -> None:
    """Bring it up; a new cluster that fails leaves its logs, but nothing that runs."""
    fresh = not record.components
    try:
        _bring_up(record, on_progress)
    except BaseException:
        if fresh:
            stop_everything(record)
        raise


def _bring_up(record: Record, on_progress: Progress) -> None:
    """1. programs  2. ports  3. files  4. components, wave by wave  5. nodes."""
    found = profiles.binaries(record.options, on_progress)
    record.save()
    records.assign_ports(record, profiles.ports(record.options))
    profiles.prepare(record, found)
    if record.options.provider is Provider.LOCAL:
        machine.remember(record)
    for wave in profiles.waves(record, found):
        if started := start_all(record, wave):
            on_progress(f"{', '.join(started)}: ready")
        names = [program.name for program in wave]
        if "kube-apiserver" in names:
            _write_kubeconfig(record)
        if "containerd" in names:
            _prepare_node(record, found, fresh="containerd" in started, on_progress=on_progress)
    _ready_nodes(Cluster(record), record, on_progress)


def _write_kubeconfig(record: Record) -> None:
    controlplane.write_kubeconfig_of(record)
    record.kubeconfig = str(controlplane.kubeconfig_path(record))
    record.save()


def _prepare_node(record: Record, found: profiles.Binaries, *, fresh: bool, on_progress: Progress) -> None:
    leftovers.make_cgroup(record)
    if fresh:
        for image in (images.PAUSE, images.BUSYBOX):
            node.import_image(record, found.packaged, images.archive(image, on_progress))


def _ready_nodes(cluster: Cluster, record: Record, on_progress: Progress) -> None:
    """Make the simulated nodes, and wait until every node takes pods."""
    simulated_nodes = record.options.kwok_nodes
    if simulated_nodes:
        cluster.kubectl("apply", "--server-side", "-f", "-", input=simulated.node_manifests(record))
    real = [node.NODE_NAME] if record.options.provider is Provider.LOCAL else []
    wanted = {*real, *(f"simulated-{number}" for number in range(simulated_nodes))}
    if not wanted:
        return
    give_up_at = time.monotonic() + NODE_SECONDS
    while late := wanted - _nodes_that_take_pods(cluster, with_taint=not record.options.kcm):
        if time.monotonic() > give_up_at:
            what = cluster.logs("kubelet")[-3000:] if real and real[0] in late else cluster.logs("kwok")[-3000:]
            raise ClusterError(f"not ready after {NODE_SECONDS} s: {', '.join(sorted(late))}\n{what}")
        time.sleep(0.1)
    on_progress(f"nodes ready: {len(real)} real, {simulated_nodes} simulated")


def _nodes_that_take_pods(cluster: Cluster, *, with_taint: bool) -> set[str]:
    """The nodes that are Ready and, where kube-controller-manager lifts it, rid of the taint of new nodes."""
    ready = '{.status.conditions[?(@.type=="Ready")].status}'
    template = "{range .items[*]}{.metadata.name} " + ready + " {.spec.taints[*].key}{'\\n'}{end}"
    found = set()
    for line in cluster.kubectl("get", "nodes", "-o", f"jsonpath={template}").splitlines():
        name, state, *taints = line.split(" ")
        if state == "True" and (with_taint or "node.kubernetes.io/not-ready" not in taints):
            found.add(name)
    return found


def _adopt(record: Record, existing: Path | str | None) -> None:
    """Note down an existing cluster that was named, after seeing that it answers."""
    place = Path(existing).resolve() if existing is not None else Path(record.kubeconfig)
    if not place.is_file():
        raise ClusterError(f"there is no kubeconfig {place}")
    record.kubeconfig = str(place)
    Cluster(record).kubectl("get", "--raw", "/readyz", timeout=30)
    record.save()
