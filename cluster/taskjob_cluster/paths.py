"""Where the cluster tool keeps things: built binaries in the cache, everything of a cluster in one state folder.

Nothing is ever written elsewhere, so `down` can remove a cluster by removing its folder (after its processes).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
"""The root of the checkout: the tool is for checkouts and finds `crds/` and `examples/` from here."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def cache_directory() -> Path:
    """`$TASKJOBS_CACHE_DIR`, or `taskjobs` under the XDG cache: what can be made again."""
    if named := os.environ.get("TASKJOBS_CACHE_DIR"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taskjobs"


def state_directory() -> Path:
    """`$TASKJOBS_STATE_DIR`, or `taskjobs` under the XDG state: what is running."""
    if named := os.environ.get("TASKJOBS_STATE_DIR"):
        return Path(named)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "taskjobs"


def clusters_directory() -> Path:
    """The folder that holds one folder for each cluster."""
    return state_directory() / "clusters"


def cluster_directory(name: str) -> Path:
    """The folder of one cluster. Raises ValueError for a name that could leave the state folder."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"cluster name {name!r}: use lower-case letters, digits and '-', at most 40 characters, "
            "starting and ending with a letter or digit"
        )
    return clusters_directory() / name
