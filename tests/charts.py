"""The Helm chart for tests: rendered by real Helm, its objects as values."""

from __future__ import annotations

import importlib.util
import subprocess
import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from taskjob_cluster import Cluster, ClusterError
from taskjob_cluster.build import ensure
from taskjob_cluster.paths import CHECKOUT

CHART = CHECKOUT / "charts" / "taskjobs"
SETS = sorted((CHART / "ci").glob("*-values.yaml"))
RELEASE = "taskjobs"
Object = dict[str, Any]


OPERATOR, API = f"{RELEASE}-operator", f"{RELEASE}-api"
TRIAL = "--set=postgresql.enabled=true"


class HelmError(Exception):
    """Helm's own words."""


def helm(*arguments: str, kubeconfig: Path | None = None, timeout: float = 300) -> str:
    """Run Helm; what it printed. Raises HelmError."""
    program = ensure(["helm"])["helm"]
    at = [f"--kubeconfig={kubeconfig}"] if kubeconfig else []
    done = subprocess.run(
        [program, *arguments, *at],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise HelmError(f"helm {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}".strip())
    return done.stdout


def rendered(namespace: str, *arguments: str, release: str = RELEASE) -> list[Object]:
    """The objects of the chart, hooks included, in Helm's order."""
    # The loader in C: the one in Python takes a second for the CRDs in it.
    return [found for found in yaml.load_all(_template(release, namespace, *arguments), yaml.CSafeLoader) if found]


@cache
def _template(release: str, namespace: str, *arguments: str) -> str:
    return helm("template", release, str(CHART), f"--namespace={namespace}", "--kube-version=1.36.3", *arguments)


def of_kind(objects: Iterable[Object], *kinds: str) -> list[Object]:
    """Those of these kinds."""
    return [found for found in objects if found["kind"] in kinds]


def of_the_operator(home: str, *values: str) -> list[Object]:
    """The operator's account with its roles and their bindings, for a release in the namespace `home`."""
    return _account_of("operator", home, *values)


def of_the_uninstall(home: str, *values: str) -> list[Object]:
    """The account of the hook that cancels jobs, with its roles and their bindings, for a release in `home`."""
    return _account_of("end", home, "--set=uninstall.runningJobs=End", *values)


def the_hooks() -> Any:
    """The script of the chart's hooks, as a module of its own at each call."""
    spec = importlib.util.spec_from_file_location("chart_hooks", CHART / "files" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def of_the_api(home: str) -> list[Object]:
    """The API's account with its roles and their bindings, for a release in the namespace `home`."""
    return _account_of("api", home, "--set=api.enabled=true")


def _account_of(component: str, home: str, *values: str) -> list[Object]:
    kinds = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    return [
        found
        for found in of_kind(rendered(home, TRIAL, *values), *kinds)
        if found["metadata"].get("labels", {}).get("app.kubernetes.io/component") == component
    ]


def the_fence(home: str, *values: str) -> list[Object]:
    """The policies against deposed leaders of a release in the namespace `home`, and their bindings."""
    return [
        found
        for found in of_kind(
            rendered(home, TRIAL, *values), "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
        )
        if "-epoch" in found["metadata"]["name"]
    ]


def kubeconfig_of(cluster: Cluster, home: str, account: str, place: Path, *, server: str = "") -> Path:
    """Write a kubeconfig with a token of that account, which must be there. `server`: another way to the API server."""
    config: dict[str, Any] = yaml.safe_load(cluster.kubeconfig.read_text())
    if server:
        config["clusters"][0]["cluster"] = {"server": server}
    token = cluster.kubectl("-n", home, "create", "token", account, "--duration=24h").strip()
    config["users"][0]["user"] = {"token": token}
    place.touch(mode=0o600)
    place.write_text(yaml.safe_dump(config))
    return place


def apply(cluster: Cluster, objects: Iterable[Object], *arguments: str) -> str:
    """`kubectl apply --server-side`; the warnings that the API server gave. Raises ClusterError."""
    program = ensure(["kubectl"])["kubectl"]
    done = subprocess.run(
        [
            program,
            f"--kubeconfig={cluster.kubeconfig}",
            "apply",
            "--server-side",
            "--force-conflicts",
            *arguments,
            "-f",
            "-",
        ],
        input=yaml.dump_all(objects, Dumper=yaml.CSafeDumper),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def wait_for_the_fence(cluster: Cluster, home: str, seconds: float = 30) -> None:
    """Wait until the policies of `the_fence`, applied a moment ago, refuse a pod of the operator's without an epoch."""
    labels = {"taskjobs.dev/job-uid": "none"}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "without-an-epoch-", "labels": labels},
        "spec": {"containers": [{"name": "main", "image": "none"}]},
    }
    as_operator = (f"--as=system:serviceaccount:{home}:{OPERATOR}", "--as-group=system:masters")
    give_up_at = time.monotonic() + seconds
    while True:
        otherwise: ClusterError | None = None
        try:
            cluster.kubectl(
                "-n", "default", "create", "--dry-run=server", "-f", "-", *as_operator, input=yaml.safe_dump(pod)
            )
        except ClusterError as error:
            if "is over" in str(error):
                return
            otherwise = error  # the service account, the policies' parameter, may not have been seen yet
        if time.monotonic() > give_up_at:
            raise AssertionError("the fence never came into force") from otherwise
        time.sleep(0.1)
