"""The few kind commands that pytest-kind uses, answered with the local provider where no Docker engine is.

pytest-kind 22.11.1 calls `get clusters`, `create cluster`, `load docker-image`, `delete cluster` on the program
that `--kind-bin` names; `cluster/bin/kind` is that program. Clusters made by it and by `taskjob_cluster up` are the
same ones. The provider is `local`, or what `TASKJOBS_KIND_PROVIDER` says (`kwok`, where no real pods are needed).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from . import images, records
from .cluster import Cluster
from .credentials import write_private
from .ending import down
from .errors import ClusterError
from .lifecycle import get, up

PROVIDER = "TASKJOBS_KIND_PROVIDER"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ClusterError(f"{message} (this is not kind, but its stand-in for machines without Docker)")


def parser() -> argparse.ArgumentParser:
    """The commands of kind that are understood; any other is refused with its name."""
    top = _Parser(prog="kind", description=__doc__)
    verbs = top.add_subparsers(dest="verb", required=True)

    def command(verb: str, noun: str, nouns: dict[str, argparse._SubParsersAction[_Parser]]) -> argparse.ArgumentParser:
        if verb not in nouns:
            nouns[verb] = verbs.add_parser(verb).add_subparsers(dest="noun", required=True)
        found = nouns[verb].add_parser(noun)
        found.add_argument("-q", "--quiet", action="store_true")
        return found

    seen: dict[str, argparse._SubParsersAction[_Parser]] = {}
    command("get", "clusters", seen)
    command("get", "kubeconfig", seen).add_argument("-n", "--name", default="kind")
    creating = command("create", "cluster", seen)
    creating.add_argument("-n", "--name", default="kind")
    creating.add_argument("--kubeconfig", type=Path)
    creating.add_argument("--image")
    creating.add_argument("--config", type=Path)
    creating.add_argument("--wait")
    for noun in ("docker-image", "image-archive"):
        loading = command("load", noun, seen)
        loading.add_argument("-n", "--name", default="kind")
        loading.add_argument("images", nargs="+")
    deleting = command("delete", "cluster", seen)
    deleting.add_argument("-n", "--name", default="kind")
    deleting.add_argument("--kubeconfig", type=Path)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer one command as kind would: names on standard output, everything else on standard error."""
    try:
        asked = parser().parse_args(arguments)
        _run(asked)
    except (ClusterError, ValueError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    return 0


def _run(asked: argparse.Namespace) -> None:
    match asked.verb, asked.noun:
        case "get", "clusters":
            for name in records.names():
                print(name)
        case "get", "kubeconfig":
            print(_named(asked.name).kubeconfig.read_text(), end="")
        case "create", "cluster":
            _create(asked)
        case "load", "docker-image":
            for image in asked.images:
                _named(asked.name).load_image(_archive_of(image))
        case "load", "image-archive":
            for archive in asked.images:
                _named(asked.name).load_image(Path(archive))
        case "delete", "cluster":
            down(asked.name, on_progress=_say)


def _create(asked: argparse.Namespace) -> None:
    for option in ("image", "config"):
        if getattr(asked, option):
            _say(f"--{option} is of no use here: the node is this machine, at the pinned version of Kubernetes")
    if get(asked.name) is not None:
        raise ClusterError(f"node(s) already exist for a cluster with the name {asked.name!r}")
    cluster = up(asked.name, provider=os.environ.get(PROVIDER, "local"), on_progress=_say)
    if asked.kubeconfig:
        write_private(asked.kubeconfig, cluster.kubeconfig.read_text())
    else:
        _say(f"export KUBECONFIG={cluster.kubeconfig}")


def _archive_of(image: str) -> Path:
    """A tar of an image: one of ours is made; another is asked of a Docker engine, if there is one."""
    full = image if image.startswith("docker.io/") else f"docker.io/{image}"
    if full in images.NAMES:
        return images.archive(full, _say)
    if shutil.which("docker") is None:
        raise ClusterError(
            f"image {image!r} can be had from nowhere: there is no Docker engine, and the images made here are "
            f"{', '.join(images.NAMES)}. Give a tar: load image-archive"
        )
    return images.saved_by_docker(image)


def _named(name: str) -> Cluster:
    found = get(name)
    if found is None:
        raise ClusterError(f"no nodes found for cluster {name!r}")
    return found


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
