"""A real cluster with real pods, the operator and the API beside it: made once for all tests here.

The cluster comes from pytest-kind's `kind_cluster`. Where a Docker engine can run kind's nodes, that is kind itself;
elsewhere it is given `cluster/bin/kind`, which answers the same commands with the local provider (a kubelet and
containerd on this machine, as root). Where neither can run, every test here is skipped with both reasons.
"""

from __future__ import annotations

import base64
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import charts
from cluster_api import ClusterApi, InNamespace
from operator_process import OperatorProcess
from taskjob_cluster import Cluster, down, images, kind, postgres, providers, up
from taskjob_cluster.build import ensure
from taskjob_cluster.paths import CHECKOUT
from witness import Account
from world_of_pods import Api, ApiProcess, Bench

NAME = "taskjobs-e2e"
HOME = "taskjobs-operator"


@pytest.fixture(scope="session")
def kind_options(pytestconfig: pytest.Config) -> str:
    """Tell pytest-kind which programs to use, so that it downloads nothing; the name of what they drive."""
    options = pytestconfig.option
    options.cluster_name = NAME
    options.kind_kubectl_bin = options.kind_kubectl_bin or str(ensure(["kubectl"])["kubectl"])
    if options.kind_bin:
        return f"the kind named by --kind-bin={options.kind_bin}"
    docker, local = providers.kind(), providers.local()
    if docker.possible:
        options.kind_bin = str(kind.program())
        options.kind_image = options.kind_image or kind.NODE_IMAGE
        return "kind"
    if not local.possible:
        pytest.skip(f"no real pods here. kind: {docker.reason}. local: {local.reason}")
    if not options.keep_cluster:
        down(NAME)  # what an interrupted run left would be taken for a cluster that is up
    options.kind_bin = str(CHECKOUT / "cluster" / "bin" / "kind")
    os.environ["TASKJOBS_PYTHON"] = sys.executable
    return f"the local provider (not kind: {docker.reason})"


@pytest.fixture(scope="session")
def real_cluster(kind_options: str, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The cluster that pytest-kind made, with our CRDs, the `default` queue and the two images of the examples."""
    print(f"\nreal pods run on {kind_options}")
    made = request.getfixturevalue("kind_cluster")
    for image in (images.BUSYBOX, images.PYTHON):
        images.archive(image)
        made.load_docker_image(image)
    handle = up(f"{NAME}-handle", existing=made.kubeconfig_path.absolute())
    yield handle
    down(handle.name)


@pytest.fixture(scope="session")
def database() -> Iterator[postgres.Postgres]:
    """A PostgreSQL of its own."""
    server = postgres.start(die_with_parent=True)
    yield server
    server.remove()


@pytest.fixture(scope="session")
def operator(
    real_cluster: Cluster, database: postgres.Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """The operator, as the command that a user types, under the chart's roles and its fence of epochs."""
    folder = tmp_path_factory.mktemp("operator")
    real_cluster.kubectl("create", "namespace", HOME)
    charts.apply(real_cluster, [*charts.of_the_operator(HOME), *charts.the_fence(HOME)])
    account = charts.kubeconfig_of(real_cluster, HOME, charts.OPERATOR, folder / "kubeconfig")
    settings = {"kubeconfig": str(account), "lease_namespace": HOME, "lease_name": charts.OPERATOR}
    settings["fence_account"] = charts.OPERATOR
    with OperatorProcess(real_cluster, database.url, folder / "log", fresh=True, **settings) as running:
        yield running.wait_ready()


@pytest.fixture(scope="session")
def api(
    real_cluster: Cluster,
    database: postgres.Postgres,
    operator: OperatorProcess,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Api]:
    """The API beside the operator."""
    log = tmp_path_factory.mktemp("api") / "log"
    with ApiProcess(real_cluster, database.url, log) as running:
        yield running.wait_ready()


@pytest.fixture
def namespace(real_cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own; on leaving its deletion is asked for, not waited for."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    real_cluster.kubectl("create", "namespace", name)
    yield name
    real_cluster.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def bench(real_cluster: Cluster, operator: OperatorProcess, namespace: str) -> Bench:
    """kubectl in the test's namespace, while the operator runs."""
    return Bench(real_cluster, namespace)


@pytest.fixture(scope="session")
def examples() -> Path:
    """The folder of the examples."""
    return CHECKOUT / "examples"


@pytest.fixture
def account(bench: Bench, tmp_path: Path) -> Account:
    """The witness's account: whichever way the cluster knows its administrator, this one has a token."""
    bench.kubectl("create", "serviceaccount", "witness")
    may_look = ("--verb=get,list,watch", "--resource=pods,taskjobs.taskjobs.dev")
    bench.kubectl("create", "role", "witness", *may_look)
    bench.kubectl("create", "rolebinding", "witness", "--role=witness", f"--serviceaccount={bench.namespace}:witness")
    config: dict[str, Any] = yaml.safe_load(bench.cluster.kubeconfig.read_text())
    authority = tmp_path / "ca.crt"
    authority.write_bytes(base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]))
    return Account(bench.cluster.server, bench.kubectl("create", "token", "witness").strip(), authority)


@pytest.fixture
def here(account: Account, namespace: str) -> Iterator[InNamespace]:
    """The test's own eyes."""
    with ClusterApi(account) as api:
        yield InNamespace(api, namespace)
