"""Which components each provider that runs here has, in which order they start, and the files they read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import components, controlplane, debian, node, services, simulated
from .build import ensure
from .programs import Program
from .progress import Progress
from .records import Options, Provider, Record

RUN_HERE = frozenset({Provider.APISERVER, Provider.KWOK, Provider.LOCAL})


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs a cluster runs: `built` from Go modules, `packaged` by Debian (a real node only)."""

    built: Mapping[str, Path]
    packaged: Mapping[str, Path]


def component_names(options: Options) -> list[str]:
    """The programs to build for a cluster with these options, kubectl included, in building order."""
    names = {*components.API_SERVER_ONLY}
    if options.provider is not Provider.APISERVER:
        names.add("kube-scheduler")
        if options.kcm:
            names.add("kube-controller-manager")
    if options.kwok_nodes:
        names.add("kwok")
    if options.provider is Provider.LOCAL:
        names.add("kubelet")
    if options.services:
        names.update(services.PROGRAMS)
    return [name for name in components.COMPONENTS if name in names]


def binaries(options: Options, on_progress: Progress = print) -> Binaries:
    """The paths of those programs, built or installed where they are missing."""
    real_node = options.provider is Provider.LOCAL
    return Binaries(
        packaged=debian.ensure_packages(on_progress=on_progress) if real_node else {},
        built=ensure(component_names(options), on_progress),
    )


def ports(options: Options) -> Sequence[str]:
    """The purposes for which the cluster needs a port of its own."""
    return (
        *controlplane.PORTS,
        *(simulated.PORTS if options.kwok_nodes else ()),
        *(node.PORTS if options.provider is Provider.LOCAL else ()),
        *(services.PORTS if options.services else ()),
    )


def prepare(record: Record, found: Binaries) -> None:
    """Make the files that the components read."""
    controlplane.prepare(record)
    if record.options.services:
        services.prepare(record, controlplane.kubeconfig_path(record))
    if record.options.kwok_nodes:
        simulated.prepare(record)
    if record.options.provider is Provider.LOCAL:
        node.prepare(record, found.packaged)


def waves(record: Record, found: Binaries) -> list[list[Program]]:
    """The components in the order of starting; those of one wave start together, and stopping goes backwards."""
    options, built = record.options, found.built
    beside = []
    if "kube-controller-manager" in built:
        beside.append(controlplane.controller_manager(record, built))
    if "kube-scheduler" in built:
        beside.append(controlplane.scheduler(record, built))
    if options.kwok_nodes:
        beside.append(simulated.kwok(record, built))
    agent = []
    if options.provider is Provider.LOCAL:
        beside.append(node.containerd(record, found.packaged))
        agent.append(node.kubelet(record, built))
    if options.services:
        beside.append(services.dns(record, built))
        agent.append(services.proxy(record, built))
    every = [[controlplane.etcd(record, built)], [controlplane.apiserver(record, built)], beside, agent]
    return [wave for wave in every if wave]


def programs(record: Record) -> dict[str, Program]:
    """Every component of the cluster by name, in starting order."""
    return {program.name: program for wave in waves(record, binaries(record.options)) for program in wave}
