"""Services and DNS for pods of the local provider, as an option: kube-proxy and CoreDNS as programs of the cluster.

Without it pods of the local provider reach each other and nothing else, and clusters live side by side. With it pods
reach the API server at its Service's address and each other by name, as in any cluster: for what is installed into
the cluster itself. kube-proxy's rules are the machine's, so there is one such cluster at a time.

The API server and CoreDNS listen on an address of an interface of their own (`Options.host`), which pods reach through
their gateway and nobody outside the machine does.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import yaml

from . import debian, records
from .build import find
from .components import COMPONENTS
from .errors import ClusterError
from .programs import Program, answers
from .records import SERVICES_HOST, Record

PORTS = ("kube-proxy", "kube-proxy-health", "coredns-health")
PROGRAMS = ("kube-proxy", "coredns")
POD_SUBNET = "198.19.0.0/24"
CLUSTER_DOMAIN = "cluster.local"

_COREFILE = """\
{domain}:53 in-addr.arpa:53 {{
    bind {host}
    errors
    health 127.0.0.1:{health}
    kubernetes {domain} in-addr.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        ttl 5
    }}
}}
"""


def link_name(record: Record) -> str:
    """The interface that carries the address of the API server and of CoreDNS (at most 15 characters)."""
    return "tjs" + hashlib.sha256(os.fsencode(record.directory)).hexdigest()[:10]


def prepare(record: Record, kubeconfig: Path) -> None:
    """Write the configuration, and make the interface. Raises ClusterError where another cluster has Services."""
    for other in records.readable():
        if other.name != record.name and other.options.services and _link(other).exists():
            raise ClusterError(
                f"cluster {other.name!r} has Services, whose rules are the whole machine's: take it down first "
                f"(taskjob_cluster down --name {other.name})"
            )
    debian.ensure_packages(["iptables", "ip"])
    if not _link(record).exists() and _iptables("iptables", "-t", "nat", "-S", "KUBE-SERVICES"):
        raise ClusterError(
            "this machine has the rules of a kube-proxy already (iptables -t nat -S KUBE-SERVICES), and ours would mix "
            "with them: end it and remove them (kube-proxy --cleanup)"
        )
    (record.directory / "kube-proxy.yaml").write_text(yaml.safe_dump(_proxy_configuration(record, kubeconfig)))
    (record.directory / "Corefile").write_text(
        _COREFILE.format(
            domain=CLUSTER_DOMAIN, host=SERVICES_HOST, health=record.ports["coredns-health"], kubeconfig=kubeconfig
        )
    )
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    if not _link(record).exists():
        # A bridge without ports: every kernel that has pods has bridges, not every one has dummies.
        _ip("link", "add", link_name(record), "type", "bridge")
    _ip("address", "replace", f"{SERVICES_HOST}/32", "dev", link_name(record))
    _ip("link", "set", link_name(record), "up")


def _proxy_configuration(record: Record, kubeconfig: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "clusterCIDR": POD_SUBNET,
        "hostnameOverride": "localhost",
        "healthzBindAddress": f"127.0.0.1:{record.ports['kube-proxy-health']}",
        "metricsBindAddress": f"127.0.0.1:{record.ports['kube-proxy']}",
        # The kernel's limits are not ours to set.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        # A pod answers another of its own subnet over the bridge, past the rules that would turn the address back:
        # so what comes over a Service comes from the machine.
        "iptables": {"masqueradeAll": True, "localhostNodePorts": False, "syncPeriod": "10s", "minSyncPeriod": "0s"},
    }


def proxy(record: Record, built: Mapping[str, Path]) -> Program:
    """kube-proxy."""
    return Program(
        "kube-proxy",
        (str(built["kube-proxy"]), f"--config={record.directory / 'kube-proxy.yaml'}", "--v=1"),
        lambda: answers(f"http://127.0.0.1:{record.ports['kube-proxy-health']}/healthz"),
        environment=_environment(),
        patience=60,
    )


def dns(record: Record, built: Mapping[str, Path]) -> Program:
    """CoreDNS."""
    return Program(
        "coredns",
        (str(built["coredns"]), "-conf", str(record.directory / "Corefile")),
        lambda: answers(f"http://127.0.0.1:{record.ports['coredns-health']}/health"),
    )


def remove(record: Record) -> None:
    """Take kube-proxy's rules and the interface away. Works on what is there."""
    if not record.options.services or not _link(record).exists():
        return
    program = find(COMPONENTS["kube-proxy"])
    if program is not None:
        subprocess.run([program, "--cleanup"], env=_environment(), capture_output=True, timeout=60, check=False)
        for command in ("iptables", "ip6tables"):
            _remove_forgotten(command)
    _ip("link", "delete", link_name(record))


def _remove_forgotten(command: str) -> None:
    """The chains that kube-proxy's own cleanup leaves."""
    for chain in ("INPUT", "OUTPUT"):
        _iptables(command, "-D", chain, "-j", "KUBE-FIREWALL")
    for table, chain in (
        ("filter", "KUBE-FIREWALL"),
        ("mangle", "KUBE-IPTABLES-HINT"),
        ("mangle", "KUBE-PROXY-CANARY"),
    ):
        _iptables(command, "-t", table, "-F", chain)
        _iptables(command, "-t", table, "-X", chain)


def _iptables(*command: str) -> bool:
    """Whether it succeeded."""
    return subprocess.run(command, env=_environment(), capture_output=True, timeout=30, check=False).returncode == 0


def _link(record: Record) -> Path:
    return Path("/sys/class/net", link_name(record))


def _environment() -> dict[str, str]:
    # iptables is not on everybody's PATH.
    return {**os.environ, "PATH": os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))}


def _ip(*arguments: str) -> None:
    program = debian.ensure_packages(["ip"])["ip"]
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
