"""The command line: `python -m taskjob_cluster up|down|status|list|kubeconfig|load-image|build|path|postgres`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import images, postgres, records
from .build import ensure
from .cluster import Cluster
from .components import COMPONENTS, EVERY_LOCAL
from .ending import down
from .errors import ClusterError
from .lifecycle import get, status, up
from .paths import state_directory

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
    starting.add_argument(
        "--services", action="store_true", help="local: Services and DNS for pods, of one cluster at a time"
    )
    command("down", "Take a cluster down and remove everything that it made.")
    command("status", "Show a cluster's components.")
    command("kubeconfig", "Print the path of a cluster's kubeconfig.")
    loading = command("load-image", "Make the images of a docker-archive known to the cluster's node.")
    loading.add_argument("image", help=f"a docker-archive tar, or one of {', '.join(images.NAMES)}")
    commands.add_parser("list", help="List the clusters.")
    building = commands.add_parser("build", help="Build the cluster's programs into the cache.")
    building.add_argument("program", nargs="*", help=f"by default all of: {', '.join(EVERY_LOCAL)}")
    where = commands.add_parser("path", help="Print where a program is, built first where it is missing.")
    where.add_argument("program", choices=sorted(COMPONENTS))
    database = commands.add_parser("postgres", help="A PostgreSQL server for development.")
    database.add_argument("action", choices=["start", "stop", "url", "remove"])
    database.add_argument("--directory", type=Path, help="where its data is kept (by default in the state folder)")
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
                services=asked.services,
                existing=asked.existing,
                on_progress=_say,
            )
            print(f"cluster {cluster.name} is up ({cluster.provider.value}): export KUBECONFIG={cluster.kubeconfig}")
        case "down":
            if not down(asked.name, on_progress=_say):
                print(f"there is no cluster {asked.name}")
        case "status":
            _status(asked.name)
        case "list":
            for name in records.names():
                print(name)
        case "kubeconfig":
            print(_named(asked.name).kubeconfig)
        case "load-image":
            is_ours = asked.image in images.NAMES
            archive = images.archive(asked.image, _say) if is_ours else Path(asked.image)
            _named(asked.name).load_image(archive)
        case "build":
            for name, path in ensure(asked.program or EVERY_LOCAL, _say).items():
                print(f"{name:26}{path}")
        case "path":
            print(ensure([asked.program], _say_aside)[asked.program])
        case "postgres":
            _postgres(asked.action, asked.directory or state_directory() / "postgres")
    return 0


def _status(name: str) -> None:
    components = status(name)
    cluster = _named(name)
    print(f"{'provider':26}{cluster.provider.value}\n{'kubeconfig':26}{cluster.kubeconfig}")
    print(f"{'server':26}{cluster.server}\n{'folder':26}{cluster.directory}")
    for component, state in components.items():
        print(f"{component:26}{state}")


def _postgres(action: str, directory: Path) -> None:
    match action:
        case "start":
            print(postgres.start(directory).url)
        case "stop":
            postgres.at(directory).stop()
        case "url":
            print(postgres.at(directory).url)
        case "remove":
            postgres.at(directory).remove()


def _named(name: str) -> Cluster:
    found = get(name)
    if found is None:
        raise ClusterError(f"there is no cluster {name!r}: taskjob_cluster up --name {name}")
    return found


def _say(line: str) -> None:
    print(line, flush=True)


def _say_aside(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
