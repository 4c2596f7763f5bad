"""Building the cluster's programs: what names a build in the cache, and what its go.mod says."""

from pathlib import Path

import pytest

from taskjob_cluster import ClusterError
from taskjob_cluster.build import compose_go_mod, ensure, find, staging_modules
from taskjob_cluster.components import COMPONENTS, EVERY_LOCAL, KUBERNETES, Component, Module

GO_MOD = """\
module k8s.io/kubernetes

go 1.26.0

require k8s.io/api v0.0.0

replace (
\tk8s.io/api => ./staging/src/k8s.io/api
\tk8s.io/client-go => ./staging/src/k8s.io/client-go
\texample.com/elsewhere => ../elsewhere
)
"""


def test_a_program_is_kept_under_its_name_and_version() -> None:
    assert COMPONENTS["kube-apiserver"].key == f"kube-apiserver-{KUBERNETES}"
    keys = [component.key for component in COMPONENTS.values()]
    assert len(set(keys)) == len(keys)


def test_another_version_never_overwrites_a_build() -> None:
    module = Module("example.com/m", "v1.0.0")
    older, newer = (Component("m", Module(module.path, version), "m") for version in ("v1.0.0", "v1.0.1"))
    assert older.key != newer.key


def test_the_version_is_stamped_into_every_program_of_kubernetes() -> None:
    flags = " ".join(COMPONENTS["kubelet"].module.link_flags)
    assert f"gitVersion={KUBERNETES}" in flags
    assert "gitMajor=1 " in flags


def test_only_staging_modules_are_replaced_by_published_ones() -> None:
    assert staging_modules(GO_MOD) == ["k8s.io/api", "k8s.io/client-go"]
    composed = compose_go_mod(Module("k8s.io/kubernetes", "v1.36.3", published_staging=True), GO_MOD)
    assert "replace k8s.io/api => k8s.io/api v0.36.3" in composed
    assert "elsewhere" not in composed


def test_our_go_mod_asks_for_the_same_go_as_the_module() -> None:
    assert "\ngo 1.26.0\n" in compose_go_mod(Module("go.etcd.io/etcd/server/v3", "v3.6.16"), GO_MOD)


def test_envtest_assets_are_used_for_the_programs_they_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    monkeypatch.setenv("TASKJOBS_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("etcd", "kubelet"):
        (tmp_path / name).touch(0o755)
    assert find(COMPONENTS["etcd"]) == tmp_path / "etcd"
    assert find(COMPONENTS["kubelet"]) is None


def test_what_the_cache_has_is_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("TASKJOBS_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", "")  # a build would need Go
    for name in EVERY_LOCAL:
        place = tmp_path / "bin" / COMPONENTS[name].key / name
        place.parent.mkdir(parents=True)
        place.touch(0o755)
    assert set(ensure(EVERY_LOCAL, pytest.fail)) == set(EVERY_LOCAL)


def test_without_go_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setenv("TASKJOBS_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("taskjob_cluster.build.USUAL_GO", str(tmp_path / "no-go"))
    with pytest.raises(ClusterError, match=r"Install Go 1\.26 or newer"):
        ensure(["etcd"], lambda line: None)
