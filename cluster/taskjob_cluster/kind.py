"""The `kind` provider: the real kind, its nodes in privileged containers of a Docker engine. Thin on purpose."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from .build import ensure
from .errors import ClusterError
from .paths import CHECKOUT
from .progress import Progress
from .records import Record

# The default of kind v0.33.0, by digest, so that every machine runs the same bytes.
NODE_IMAGE = "kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5"


def program(on_progress: Progress = print) -> Path:
    """The kind on the PATH, or else the pinned one built from its Go module. Never the executable of ours."""
    found = shutil.which("kind")
    if found and not Path(found).resolve().is_relative_to(CHECKOUT / "cluster"):
        return Path(found)
    return ensure(["kind"], on_progress)["kind"]


def create(record: Record, on_progress: Progress = print) -> Path:
    """Create the cluster unless kind has it already; the path of its kubeconfig."""
    kind = program(on_progress)
    kubeconfig = record.directory / "kubeconfig"
    if record.name in _run(kind, "get", "clusters").splitlines():
        _run(kind, "export", "kubeconfig", f"--name={record.name}", f"--kubeconfig={kubeconfig}")
    else:
        on_progress(f"kind create cluster --name={record.name} --image={NODE_IMAGE}")
        _run(
            *(kind, "create", "cluster", f"--name={record.name}"),
            *(f"--image={NODE_IMAGE}", f"--kubeconfig={kubeconfig}", "--wait=120s"),
        )
    return kubeconfig


def load_image(record: Record, archive: Path) -> None:
    """Make a docker-archive's images known to the cluster's nodes."""
    _run(program(), "load", "image-archive", str(archive), f"--name={record.name}")


def delete(record: Record) -> None:
    """Delete the cluster; nothing happens when kind does not know it."""
    kubeconfig = record.directory / "kubeconfig"
    _run(program(), "delete", "cluster", f"--name={record.name}", f"--kubeconfig={kubeconfig}")


def _run(kind: Path, *arguments: str) -> str:
    done = subprocess.run([kind, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"kind {' '.join(arguments)} failed:\n{done.stderr.strip()}")
    return done.stdout
