"""Which components each provider runs, in which order they start, and what else belongs to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import components, controlplane, simulated
from .build import Progress, ensure
from .errors import ClusterError
from .programs import Program
from .records import Options, Provider, Record


def component_names(options: Options) -> list[str]:
    """The programs that a cluster with these options needs, kubectl included."""
    names = list(components.API_SERVER_ONLY)
    if options.provider is not Provider.APISERVER:
        names.append("kube-scheduler")
        if options.kcm:
            names.append("kube-controller-manager")
    if options.kwok_nodes:
        names.append("kwok")
    if options.provider is Provider.LOCAL:
        names.append("kubelet")
    return [name for name in components.COMPONENTS if name in names]  # in building order


def binaries(record: Record, on_progress: Progress = print) -> dict[str, Path]:
    """The paths of those programs, built where they are missing."""
    return ensure(component_names(record.options), on_progress)


def ports(options: Options) -> Sequence[str]:
    """The purposes for which the cluster needs a port of its own."""
    return (*controlplane.PORTS, *(simulated.PORTS if options.kwok_nodes else ()))


def prepare(record: Record) -> None:
    """Make the files that the components read."""
    controlplane.prepare(record)
    if record.options.kwok_nodes:
        simulated.prepare(record)


def waves(record: Record, paths: dict[str, Path]) -> list[list[Program]]:
    """The components in the order of starting; those of one wave start together, and stopping goes backwards."""
    options = record.options
    after: list[Program] = []
    if "kube-controller-manager" in paths:
        after.append(controlplane.controller_manager(record, paths))
    if "kube-scheduler" in paths:
        after.append(controlplane.scheduler(record, paths))
    if options.kwok_nodes:
        after.append(simulated.kwok(record, paths))
    found = [[controlplane.etcd(record, paths)], [controlplane.apiserver(record, paths)], after]
    return [wave for wave in found if wave]


def programs(record: Record, paths: dict[str, Path]) -> list[Program]:
    """Every component of the cluster in starting order."""
    return [program for wave in waves(record, paths) for program in wave]


def load_image(record: Record, archive: Path) -> None:
    """Make a docker-archive's images known to the node. Raises ClusterError where no node runs containers."""
    raise ClusterError(
        f"cluster {record.name!r} ({record.options.provider}) runs no containers: images are of no use in it"
    )
