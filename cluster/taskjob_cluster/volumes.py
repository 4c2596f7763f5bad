"""PersistentVolumes: folders of a local cluster, which go with it, or any folder that a node has.

No provisioner makes them: a volume is made for a claim, which finds it by the storage class `taskjobs-local`. kind has
a provisioner of its own, for claims without a class.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from .cluster import Cluster
from .errors import ClusterError
from .records import Provider

STORAGE_CLASS: Final = "taskjobs-local"


def make_volume(cluster: Cluster, name: str, *, folder: Path | None = None, size: str = "1Gi") -> str:
    """Make a PersistentVolume of that name; the storage class by which a claim of at most that size finds it.

    Without a `folder` that the node has: an empty one, on the provider local. Pods of any user may write to that: the
    kubelet changes no owner of a folder that is not its own. Raises ClusterError.
    """
    if folder is None:
        if cluster.provider is not Provider.LOCAL:
            raise ClusterError(f"name a folder of the node: {cluster.name!r} is of the provider {cluster.provider}")
        folder = cluster.directory / "volumes" / name
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": STORAGE_CLASS,
            "hostPath": {"path": str(folder), "type": "Directory"},
        },
    }
    cluster.kubectl("apply", "-f", "-", input=json.dumps(volume))
    return STORAGE_CLASS
