"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler as programs on loopback.

The flags make a throw-away cluster that starts in seconds: etcd does not wait for the disk, the API server makes its
own serving certificate, nobody elects a leader, and client rate limits are far above what load tests need (with the
defaults they would be what is measured).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .credentials import ensure_key, ensure_token, write_kubeconfig
from .programs import Program, answers
from .records import Provider, Record

PORTS = ("etcd", "etcd-peer", "apiserver", "controller-manager", "scheduler")

# Metadata of what creates and removes pods: the judge of "at most one pod per attempt". Everything else is left out,
# so that the log of a load test stays readable.
_AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  verbs: [create, delete, deletecollection]
  resources: [{group: "", resources: [pods]}]
- level: None
"""


def kubeconfig_path(record: Record) -> Path:
    """The kubeconfig of a cluster that this tool runs itself."""
    return record.directory / "kubeconfig"


def ca_path(record: Record) -> Path:
    """The certificate that the API server made for itself, with its authority: what clients verify it by."""
    return record.directory / "pki" / "apiserver.crt"


def audit_path(record: Record) -> Path:
    """Where the API server's audit log goes, when there is one."""
    return record.directory / "audit.log"


def server_url(record: Record) -> str:
    """The API server's URL."""
    return f"https://{record.options.host}:{record.ports['apiserver']}"


def prepare(record: Record) -> None:
    """Make the files that the control plane reads."""
    pki = record.directory / "pki"
    pki.mkdir(parents=True, exist_ok=True)
    record.directory.chmod(0o700)
    ensure_key(pki / "service-accounts.key")
    ensure_token(record.directory)
    (record.directory / "audit-policy.yaml").write_text(_AUDIT_POLICY)


def write_kubeconfig_of(record: Record) -> None:
    """Write the kubeconfig; the API server must have run once, since it makes the certificate that goes in."""
    write_kubeconfig(
        kubeconfig_path(record),
        name=record.name,
        server=server_url(record),
        token=(record.directory / "token").read_text(),
        ca_file=ca_path(record),
    )


def etcd(record: Record, binaries: Mapping[str, Path]) -> Program:
    """The store. `--unsafe-no-fsync`: what a power cut loses does not matter here."""
    client = f"http://127.0.0.1:{record.ports['etcd']}"
    peer = f"http://127.0.0.1:{record.ports['etcd-peer']}"
    return Program(
        "etcd",
        (
            str(binaries["etcd"]),
            f"--data-dir={record.directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--quota-backend-bytes=8589934592",
            "--log-level=warn",
        ),
        lambda: answers(f"{client}/health"),
    )


def apiserver(record: Record, binaries: Mapping[str, Path]) -> Program:
    """The API server on loopback, with one administrator's token."""
    directory = record.directory
    key = directory / "pki" / "service-accounts.key"
    command = [
        str(binaries["kube-apiserver"]),
        f"--etcd-servers=http://127.0.0.1:{record.ports['etcd']}",
        f"--cert-dir={directory / 'pki'}",
        f"--bind-address={record.options.host}",
        f"--advertise-address={record.options.host}",
        f"--secure-port={record.ports['apiserver']}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--authorization-mode=Node,RBAC",
        f"--token-auth-file={directory / 'tokens.csv'}",
        "--allow-privileged=true",
        "--profiling=false",
    ]
    if not record.options.services:
        command.append("--endpoint-reconciler-type=none")  # it refuses to publish a loopback address as an endpoint
    if not record.options.kcm:
        # Nobody would create the service accounts that the first asks for, or lift the taint that the second puts on.
        command.append("--disable-admission-plugins=ServiceAccount,TaintNodesByCondition")
    if record.options.provider is Provider.LOCAL:
        command += [
            f"--kubelet-client-certificate={directory / 'pki' / 'kubelet-client.crt'}",
            f"--kubelet-client-key={directory / 'pki' / 'kubelet-client.key'}",
        ]
    if record.options.audit:
        command += [
            f"--audit-policy-file={directory / 'audit-policy.yaml'}",
            f"--audit-log-path={audit_path(record)}",
            "--audit-log-mode=blocking-strict",  # an answer leaves only after its line is written
            "--audit-log-maxsize=4096",  # MB: a rotated log would lose the judge its beginning
        ]
    return Program("kube-apiserver", tuple(command), lambda: answers(f"{server_url(record)}/readyz"), patience=90)


def controller_manager(record: Record, binaries: Mapping[str, Path]) -> Program:
    """Service accounts, garbage collection, namespaces, node lifecycle."""
    command = [
        str(binaries["kube-controller-manager"]),
        f"--kubeconfig={kubeconfig_path(record)}",
        f"--service-account-private-key-file={record.directory / 'pki' / 'service-accounts.key'}",
        f"--root-ca-file={ca_path(record)}",
        "--leader-elect=false",
        "--kube-api-qps=1000",
        "--kube-api-burst=2000",
        "--bind-address=127.0.0.1",
        f"--secure-port={record.ports['controller-manager']}",
        "--profiling=false",
    ]
    if not record.options.kwok_nodes:
        command.append("--node-monitor-grace-period=20s")  # as long as the lease of our kubelet: not 50 s
    else:
        command.append("--node-monitor-grace-period=24h")  # simulated nodes send no leases
        command.append("--terminated-pod-gc-threshold=0")  # ended pods are removed by who made them, or not at all
    url = f"https://127.0.0.1:{record.ports['controller-manager']}/healthz"
    return Program("kube-controller-manager", tuple(command), lambda: answers(url))


def scheduler(record: Record, binaries: Mapping[str, Path]) -> Program:
    """Binds pods to nodes."""
    url = f"https://127.0.0.1:{record.ports['scheduler']}/healthz"
    return Program(
        "kube-scheduler",
        (
            str(binaries["kube-scheduler"]),
            f"--kubeconfig={kubeconfig_path(record)}",
            "--leader-elect=false",
            "--kube-api-qps=1000",
            "--kube-api-burst=2000",
            "--bind-address=127.0.0.1",
            f"--secure-port={record.ports['scheduler']}",
            "--profiling=false",
        ),
        lambda: answers(url),
    )
