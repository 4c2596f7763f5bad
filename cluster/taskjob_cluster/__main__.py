"""The command line: `python -m taskjob_cluster up|down|status|list|kubeconfig|load-image|build|postgres`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import records
from .build import ensure
from .cluster import Cluster
from .components import EVERY_LOCAL
from .errors import ClusterError
from .lifecycle import down, get, status, up

DEFAULT_NAME = "taskjobs"


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(prog="taskjob_cluster", description="Clusters for development and tests.")
    commands = top.add_subparsers(dest="command", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        found = commands.add_parser(name, help=text, description=text)
        found.add_argument("--name", default=DEFAULT_NAME, help=f"the cluster's name (default {DEFAULT_NAME})")
        return found

    starting = command("up", "Bring a cluster up; a healthy one is left as it is, a half-dead one is repaired.")
    starting.add_argument(
        "--provider",
        choices=["auto", "kind", "local", "kwok", "apiserver"],
        default="auto",
        help="auto takes the first of kind, local, kwok that can run here, and says why it passes one over",
    )
    starting.add_argument("--existing", type=Path, metavar="KUBECONFIG", help="use the cluster of this kubeconfig")
    starting.add_argument("--audit", action="store_true", help="keep an audit log of pods created and deleted")
    starting.add_argument(
        "--kwok-nodes", type=int, default=0, help="simulated nodes; 0: none with local, as many as fit with kwok"
    )
    command("down", "Take a cluster down and remove everything that it made.")
    command("status", "Show a cluster's components.")
    command("kubeconfig", "Print the path of a cluster's kubeconfig.")
    loading = command("load-image", "Make the images of a docker-archive known to the cluster's node.")
    loading.add_argument("archive", type=Path)
    commands.add_parser("list", help="List the clusters.")
    building = commands.add_parser("build", help="Build the cluster's programs into the cache.")
    building.add_argument("program", nargs="*", help=f"by default all of: {', '.join(EVERY_LOCAL)}")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. What went wrong is said on standard error."""
    asked = parser().parse_args(arguments)
    try:
        return _run(asked)
    except (ClusterError, ValueError) as error:
        print(f"taskjob_cluster: {error}", file=sys.stderr)
        return 1


def _run(asked: argparse.Namespace) -> int:
    match asked.command:
        case "up":
            cluster = up(
                asked.name,
                provider=asked.provider,
                audit=asked.audit,
                kwok_nodes=asked.kwok_nodes,
                existing=asked.existing,
                on_progress=_say,
            )
            print(f"cluster {cluster.name} is up ({cluster.provider.value}): export KUBECONFIG={cluster.kubeconfig}")
        case "down":
            if not down(asked.name, on_progress=_say):
                print(f"there is no cluster {asked.name}")
        case "status":
            for component, state in status(asked.name).items():
                print(f"{component:26}{state}")
        case "list":
            for name in records.names():
                print(name)
        case "kubeconfig":
            print(_named(asked.name).kubeconfig)
        case "load-image":
            _named(asked.name).load_image(asked.archive)
        case "build":
            for name, path in ensure(asked.program or EVERY_LOCAL, _say).items():
                print(f"{name:26}{path}")
    return 0


def _named(name: str) -> Cluster:
    found = get(name)
    if found is None:
        raise ClusterError(f"there is no cluster {name!r}: taskjob_cluster up --name {name}")
    return found


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
