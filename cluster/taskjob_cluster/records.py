"""What is known of a cluster between two commands: its options, ports and processes, in one JSON file."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from pathlib import Path

from .errors import ClusterError
from .locks import file_lock
from .paths import cluster_directory, clusters_directory
from .processes import ProcessId

# Below the kernel's ephemeral range (32768 and up), so that an outgoing connection does not take a port of ours
# between choosing it and listening on it.
_PORTS = range(20000, 32000)
_FORMAT = 1
SERVICES_HOST = "198.19.1.1"
"""Where the API server of a cluster with Services listens: on the machine's own interface for it, see `services`."""


class Provider(StrEnum):
    """Where a cluster comes from. `apiserver` is etcd and kube-apiserver alone; `existing` is somebody else's."""

    KIND = "kind"
    LOCAL = "local"
    KWOK = "kwok"
    APISERVER = "apiserver"
    EXISTING = "existing"


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for. `kwok_nodes`: simulated nodes; `kcm`: run kube-controller-manager; `services`: Services and
    DNS for real pods."""

    provider: Provider
    audit: bool = False
    kwok_nodes: int = 0
    kcm: bool = True
    die_with_parent: bool = False
    services: bool = False

    @property
    def host(self) -> str:
        """The address on which the API server listens."""
        return SERVICES_HOST if self.services else "127.0.0.1"


@dataclass(slots=True)
class Running:
    """A component's process and the command that started it (another command means: restart it)."""

    process: ProcessId
    command: list[str]


@dataclass(slots=True)
class Record:
    """One cluster as written to `cluster.json`."""

    name: str
    options: Options
    ports: dict[str, int] = field(default_factory=dict)
    components: dict[str, Running] = field(default_factory=dict)
    kubeconfig: str = ""

    @property
    def directory(self) -> Path:
        """The cluster's folder."""
        return cluster_directory(self.name)

    def save(self) -> None:
        """Write it down, in one step: a reader sees the old or the new one."""
        self.directory.mkdir(parents=True, exist_ok=True)
        place = self.directory / "cluster.json"
        scratch = place.with_suffix(".tmp")
        scratch.write_text(json.dumps({"format": _FORMAT, **asdict(self)}, indent=1) + "\n")
        scratch.replace(place)


def load(name: str) -> Record | None:
    """The record of a cluster; None when there is none. Raises ClusterError when it cannot be read."""
    place = cluster_directory(name) / "cluster.json"
    try:
        found = json.loads(place.read_text())
        return _parse(found)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ClusterError(
            f"{place} is damaged ({error}): end the cluster's processes and remove its folder"
        ) from error


def _parse(found: Mapping[str, object]) -> Record:
    if found["format"] != _FORMAT:
        raise ValueError(f"format {found['format']!r} is not {_FORMAT}")
    options, ports, components = found["options"], found["ports"], found["components"]
    if not (isinstance(options, dict) and isinstance(ports, dict) and isinstance(components, dict)):
        raise TypeError("options, ports and components must be objects")
    # What another version of this tool wrote beside is not ours to judge: its cluster can still be listed and ended.
    known = {key: options[key] for key in options.keys() & {option.name for option in fields(Options)}}
    return Record(
        name=str(found["name"]),
        options=Options(**{**known, "provider": Provider(options["provider"])}),
        ports={str(key): int(value) for key, value in ports.items()},
        components={
            key: Running(ProcessId(**value["process"]), list(value["command"])) for key, value in components.items()
        },
        kubeconfig=str(found["kubeconfig"]),
    )


def names() -> list[str]:
    """The names of the clusters that have a record, sorted."""
    return sorted(place.parent.name for place in clusters_directory().glob("*/cluster.json"))


def readable() -> Iterator[Record]:
    """The records that can be read: one that is damaged must not stand in the way of the other clusters."""
    for name in names():
        with suppress(ClusterError):
            record = load(name)
            if record is not None:
                yield record


def assign_ports(record: Record, purposes: Iterable[str]) -> None:
    """Give the record a free loopback port for each purpose that has none, and save it.

    Under one lock for all clusters, and never one that another cluster's record holds: two that start at the same
    moment, or one that is half down, do not meet on a port.
    """
    missing = [purpose for purpose in purposes if purpose not in record.ports]
    if not missing:
        return
    with file_lock(clusters_directory() / ".ports.lock"):
        taken = {port for other in readable() for port in other.ports.values()}
        candidates = random.sample(_PORTS, len(_PORTS))
        for purpose in missing:
            while (port := candidates.pop()) in taken or not _is_free(port):
                pass
            record.ports[purpose] = port
        record.save()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
