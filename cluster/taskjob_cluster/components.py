"""Which programs a cluster is made of, at which version, and from which Go module each is built.

To add a program, add one line to `COMPONENTS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KUBERNETES: Final = "v1.36.3"
ETCD: Final = "v3.6.16"
KWOK: Final = "v0.7.0"
KIND: Final = "v0.33.0"
HELM: Final = "v3.19.5"
COREDNS: Final = "v1.14.0"
KUEUE: Final = "v0.17.0"  # a peer, for `make bench-peers` alone
GO: Final = "1.26"  # what the newest of their go.mod files asks for; each build checks its own


@dataclass(frozen=True, slots=True)
class Module:
    """A Go module at a version. `published_staging`: its `replace ./staging` lines must name published modules."""

    path: str
    version: str
    link_flags: tuple[str, ...] = ()
    published_staging: bool = False


@dataclass(frozen=True, slots=True)
class Component:
    """One program: `package` is the Go main package inside `module`."""

    name: str
    module: Module
    package: str
    in_envtest_assets: bool = False

    @property
    def version(self) -> str:
        """The version of the module, such as `v1.36.3`."""
        return self.module.version

    @property
    def key(self) -> str:
        """The name of the program's folder in the cache: another version never overwrites this one."""
        return f"{self.name}-{self.version}"


def _kubernetes_link_flags(version: str) -> tuple[str, ...]:
    # Without these the server calls itself v0.0.0 and every check of its version fails (Helm's kubeVersion, say).
    major, minor, _ = version.removeprefix("v").split(".", 2)
    at = "k8s.io/component-base/version"
    return (f"-X {at}.gitVersion={version}", f"-X {at}.gitMajor={major}", f"-X {at}.gitMinor={minor}")


_KUBERNETES = Module("k8s.io/kubernetes", KUBERNETES, _kubernetes_link_flags(KUBERNETES), published_staging=True)
_ETCD = Module("go.etcd.io/etcd/server/v3", ETCD)
_KWOK = Module("sigs.k8s.io/kwok", KWOK)
_KIND = Module("sigs.k8s.io/kind", KIND)
_COREDNS = Module("github.com/coredns/coredns", COREDNS)
_KUEUE = Module("sigs.k8s.io/kueue", KUEUE)
_HELM = Module("helm.sh/helm/v3", HELM, (f"-X helm.sh/helm/v3/internal/version.version={HELM}",))

# In the order in which they are built: what every profile needs comes first.
COMPONENTS: Final = {
    component.name: component
    for component in (
        Component("etcd", _ETCD, "go.etcd.io/etcd/server/v3", in_envtest_assets=True),
        Component("kube-apiserver", _KUBERNETES, "k8s.io/kubernetes/cmd/kube-apiserver", in_envtest_assets=True),
        Component("kubectl", _KUBERNETES, "k8s.io/kubernetes/cmd/kubectl", in_envtest_assets=True),
        Component("kube-controller-manager", _KUBERNETES, "k8s.io/kubernetes/cmd/kube-controller-manager"),
        Component("kube-scheduler", _KUBERNETES, "k8s.io/kubernetes/cmd/kube-scheduler"),
        Component("kwok", _KWOK, "sigs.k8s.io/kwok/cmd/kwok"),
        Component("kubelet", _KUBERNETES, "k8s.io/kubernetes/cmd/kubelet"),
        Component("kube-proxy", _KUBERNETES, "k8s.io/kubernetes/cmd/kube-proxy"),
        Component("coredns", _COREDNS, "github.com/coredns/coredns"),
        Component("kind", _KIND, "sigs.k8s.io/kind"),
        Component("helm", _HELM, "helm.sh/helm/v3/cmd/helm"),
        Component("kueue", _KUEUE, "sigs.k8s.io/kueue/cmd/kueue"),
    )
}

API_SERVER_ONLY: Final = ("etcd", "kube-apiserver", "kubectl")
CONTROL_PLANE: Final = (*API_SERVER_ONLY, "kube-controller-manager", "kube-scheduler")
EVERY_LOCAL: Final = (*CONTROL_PLANE, "kwok", "kubelet", "helm")
