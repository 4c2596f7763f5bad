"""Makes a new cluster know our kinds: the CRDs from `crds/`, and the `default` TaskQueue from `examples/`."""

from __future__ import annotations

import time
from pathlib import Path

from .cluster import Cluster
from .errors import ClusterError
from .paths import CHECKOUT
from .progress import Progress

CRDS = ("taskjobs.dev_taskjobs.yaml", "taskjobs.dev_taskqueues.yaml")
DEFAULT_QUEUE = Path("examples") / "default-queue.yaml"
WITHOUT_NODES = """\
apiVersion: taskjobs.dev/v1beta1
kind: TaskQueue
metadata: {name: default}
spec: {quota: {cpu: "4", memory: 4Gi, pods: 50}}
"""
"""The same queue where there are no nodes that its quota could follow."""
ESTABLISH_SECONDS = 30
# Established is set a moment before the API server's discovery and OpenAPI have the kind.
_NOT_SERVED_YET = ("no matches for kind", "could not find the requested resource")


def install(cluster: Cluster, on_progress: Progress = print, checkout: Path = CHECKOUT) -> None:
    """Apply what the checkout has of them; the same call again changes nothing.

    CRDs go server-side: a copy of them in an annotation, as a client-side apply keeps, would be of no use. Raises
    ClusterError when the API server refuses one or does not serve it in time.
    """
    found = [path for name in CRDS if (path := checkout / "crds" / name).exists()]
    if not found:
        return
    files = [argument for path in found for argument in ("-f", str(path))]
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=taskjob-cluster", *files)
    cluster.wait_for("--for=condition=Established", *files, timeout_seconds=ESTABLISH_SECONDS)
    queue = checkout / DEFAULT_QUEUE
    if queue.exists():
        text = queue.read_text(encoding="utf-8") if cluster.has_nodes else WITHOUT_NODES
        _retried(cluster, _NOT_SERVED_YET, text, "apply", "-f", "-")  # as a user does, who may apply it again
    on_progress(f"installed {len(found)} CRDs" + (" and the queue 'default'" if queue.exists() else ""))


def _retried(cluster: Cluster, early: tuple[str, ...], text: str, *arguments: str) -> None:
    """Run kubectl on a text, again and again while it fails with words that a moment's patience mends."""
    give_up_at = time.monotonic() + ESTABLISH_SECONDS
    while True:
        try:
            cluster.kubectl(*arguments, input=text)
            return
        except ClusterError as error:
            if not any(words in str(error) for words in early) or time.monotonic() > give_up_at:
                raise
            time.sleep(0.2)
