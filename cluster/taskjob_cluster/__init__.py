"""Clusters for development and tests: `up`, `down`, and what tests do in between.

    from taskjob_cluster import up, down, postgres

    with up("mine", provider="apiserver", die_with_parent=True) as cluster:   # etcd + kube-apiserver, ~3 s
        print(cluster.server, cluster.kubeconfig, cluster.token, cluster.ca_file)
        cluster.kubectl("apply", "-f", "-", input=manifest)

    cluster = up("load", provider="kwok", audit=True)      # the whole control plane, simulated nodes
    cluster.audit_log, cluster.directory, cluster.pids     # {'etcd': 4711, 'kube-apiserver': 4712, ...}
    cluster.logs("kube-apiserver")
    cluster.pause("kube-apiserver"); cluster.resume("kube-apiserver")
    cluster.stop_component("kube-apiserver", kill=True); cluster.restart_component("kube-apiserver")
    down("load")

    up(name: str, *, provider: str = "auto", audit: bool = False, kwok_nodes: int = 0, kcm: bool = True,
       existing: Path | None = None, die_with_parent: bool = False, crds: bool = True,
       on_progress: Callable[[str], object] = print) -> Cluster          # idempotent
    down(name: str) -> bool
    get(name: str) -> Cluster | None
    Cluster: .name .provider .server .kubeconfig .token .ca_file .audit_log .directory .pids .environment
             .kubectl(*args, input=None, timeout=120) -> str   (ClusterError with its stderr)
             .load_image(tar) .logs(component) .stop_component(name, kill=False) .restart_component(name, kill=False)
             .pause(component) .resume(component) .wait_for(*args) .wait_gone(*args) .down(), a context manager
    postgres.start(directory) -> Postgres: .url .stop() .kill() .restart(), a context manager

Providers: `kind`, `local` (a real kubelet on this machine: root, Linux), `kwok` (simulated nodes, see `simulated`
for what pods do there), `apiserver` (no nodes, no controllers), `auto` (the first of kind, local, kwok that can run
here). An existing cluster is used only when its kubeconfig is named. The command line is `python -m taskjob_cluster`.
"""

from __future__ import annotations

from . import postgres
from .cluster import Cluster
from .ending import down
from .errors import ClusterError
from .lifecycle import get, up
from .records import Provider

__all__ = ["Cluster", "ClusterError", "Provider", "down", "get", "postgres", "up"]
