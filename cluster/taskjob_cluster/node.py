"""A real node on this machine: a containerd and a kubelet of the cluster's own, as programs.

Everything they write lies in the cluster's folder; what the kernel keeps outside of it (mounts, the bridge, cgroups)
carries a name derived from that folder, and `leftovers` removes it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import yaml

from . import images, services
from .credentials import ensure_certificate
from .errors import ClusterError
from .programs import Program, answers
from .records import Record
from .sizing import MIB, sizes, this_machine

PORTS = ("kubelet", "kubelet-health")
NODE_NAME = "localhost"
"""The node's name: the API server asks it for logs by this, and it resolves to the address the kubelet listens on."""

_LONGEST_SOCKET_PATH = 100  # a unix socket's path ends at 107 bytes, and containerd appends `.ttrpc`
# No gateway, no masquerade: pods of one cluster reach each other and nothing else, so clusters may share the range.
_POD_SUBNET = "198.18.0.0/16"

_CONTAINERD = """\
version = 2
root = "{root}/containerd"
state = "{root}/run/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
                    "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper",
                    "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing"]

[grpc]
  address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  stream_server_address = "127.0.0.1"

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{cni}"
  conf_dir = "{root}/cni"

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "{snapshotter}"
  default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  BinaryName = "{runc}"
  Root = "{root}/run/runc"
"""


def mark(directory: Path) -> str:
    """A short name that no other cluster has: of the bridge (at most 15 characters), the cgroup, the CNI network."""
    return "tj" + hashlib.sha256(os.fsencode(directory)).hexdigest()[:10]


def socket_path(record: Record) -> Path:
    """containerd's socket."""
    return record.directory / "run" / "c.sock"


def prepare(record: Record, packages: Mapping[str, Path]) -> None:
    """Write the configuration of containerd, of its network and of the kubelet."""
    directory = record.directory
    if len(os.fsencode(socket_path(record))) > _LONGEST_SOCKET_PATH:
        raise ClusterError(f"{directory} is too long a path for unix sockets: choose a shorter name or state folder")
    for name in ("cni", "run", "kubelet"):
        (directory / name).mkdir(exist_ok=True)
    (directory / "containerd.toml").write_text(
        _CONTAINERD.format(
            root=directory,
            socket=socket_path(record),
            pause=images.PAUSE,
            cni=packages["cni"],
            runc=packages["runc"],
            snapshotter=_snapshotter(directory),
        )
    )
    (directory / "cni" / "10-taskjobs.conflist").write_text(json.dumps(_network(record)))
    ensure_certificate(
        directory / "pki" / "kubelet-client.crt",
        directory / "pki" / "kubelet-client.key",
        common_name="taskjobs-apiserver",
        organization="system:masters",
    )
    (directory / "kubelet.yaml").write_text(yaml.safe_dump(_kubelet_configuration(record)))


def _network(record: Record) -> dict[str, object]:
    directory, gateway = record.directory, record.options.services
    bridge = {
        "type": "bridge",
        "bridge": mark(directory),
        "isGateway": gateway,
        "isDefaultGateway": gateway,
        "hairpinMode": gateway,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": services.POD_SUBNET if gateway else _POD_SUBNET}]],
            "dataDir": str(directory / "cni" / "addresses"),
        },
    }
    return {"cniVersion": "0.4.0", "name": mark(directory), "plugins": [bridge]}


def _kubelet_configuration(record: Record) -> dict[str, object]:
    directory, room = record.directory, sizes(this_machine())
    dns = {"clusterDNS": [record.options.host], "clusterDomain": services.CLUSTER_DOMAIN}
    return {
        **(dns if record.options.services else {}),
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "127.0.0.1",
        "port": record.ports["kubelet"],
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": record.ports["kubelet-health"],
        # Whoever may speak to the kubelet is root on this machine: only the API server's certificate may.
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": False},
            "x509": {"clientCAFile": str(directory / "pki" / "kubelet-client.crt")},
        },
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": f"unix://{socket_path(record)}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{mark(directory)}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": False,
        "imageGCHighThresholdPercent": 100,  # images cannot be pulled again
        "evictionHard": {"memory.available": "100Mi"},  # a full disk of the developer's is no reason to evict
        "maxPods": room.max_pods,
        "systemReserved": {
            "cpu": f"{room.reserved_milli_cpu}m",
            "memory": f"{room.reserved_memory // MIB}Mi",
        },
        "podLogsDir": str(directory / "kubelet" / "pod-logs"),
        "volumePluginDir": str(directory / "kubelet" / "volume-plugins"),
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": False,  # no rules of ours on the machine
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "eventRecordQPS": 0,
        "serializeImagePulls": False,
        "nodeStatusUpdateFrequency": "5s",
        "nodeLeaseDurationSeconds": 20,  # renewed four times as often: a lost node is told from a busy one in 20 s
        "syncFrequency": "30s",
    }


def _snapshotter(directory: Path) -> str:
    """overlayfs, unless the folder itself lies on one (in a container), where a second cannot be stacked."""
    best, kind = "", ""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, filesystem, *_ = line.split(" ")
        inside = str(directory) == point or str(directory).startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, filesystem
    return "native" if kind == "overlay" else "overlayfs"


def containerd(record: Record, packages: Mapping[str, Path]) -> Program:
    """The container runtime."""
    ctr = [str(packages["ctr"]), f"--address={socket_path(record)}", "version"]

    def ready() -> bool:
        if not socket_path(record).exists():
            return False
        return subprocess.run(ctr, capture_output=True, timeout=10, check=False).returncode == 0

    path = os.pathsep.join({*os.environ.get("PATH", "").split(os.pathsep), "/usr/sbin", "/sbin", "/usr/bin"})
    return Program(
        "containerd",
        (str(packages["containerd"]), f"--config={record.directory / 'containerd.toml'}"),
        ready,
        environment={**os.environ, "PATH": path},
    )


def kubelet(record: Record, binaries: Mapping[str, Path]) -> Program:
    """The node's agent."""
    directory = record.directory
    return Program(
        "kubelet",
        (
            str(binaries["kubelet"]),
            f"--config={directory / 'kubelet.yaml'}",
            f"--kubeconfig={directory / 'kubeconfig'}",
            f"--root-dir={directory / 'kubelet'}",
            f"--cert-dir={directory / 'kubelet' / 'pki'}",
            f"--hostname-override={NODE_NAME}",
            "--v=1",
        ),
        lambda: answers(f"http://127.0.0.1:{record.ports['kubelet-health']}/healthz"),
        patience=90,
    )


def import_image(record: Record, packages: Mapping[str, Path], archive: Path) -> None:
    """Give the node the images of a docker-archive (or OCI) tar. Raises ClusterError with ctr's words."""
    if not archive.exists():
        raise ClusterError(f"there is no image archive {archive}")
    done = subprocess.run(
        [packages["ctr"], f"--address={socket_path(record)}", "--namespace=k8s.io", "images", "import", archive],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ClusterError(f"{archive} could not be imported:\n{(done.stderr or done.stdout).strip()}")
