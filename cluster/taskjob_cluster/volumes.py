"""PersistentVolumes on the node of a local cluster: folders of this machine, which go with the cluster.

There is no provisioner there: a volume is made for a claim, which finds it by the storage class `taskjobs-local`. kind
has a provisioner of its own, and claims without a class.
"""

from __future__ import annotations

import json
from typing import Final

from .cluster import Cluster
from .errors import ClusterError
from .records import Provider

STORAGE_CLASS: Final = "taskjobs-local"


def make_volume(cluster: Cluster, name: str, *, size: str = "1Gi") -> str:
    """Make a PersistentVolume of that name; the storage class by which a claim of at most that size finds it.

    Pods of any user may write to it: the kubelet changes no owner of a folder that is not its own. Raises ClusterError.
    """
    if cluster.provider is not Provider.LOCAL:
        raise ClusterError(f"volumes are made for the provider local, and {cluster.name!r} is of {cluster.provider}")
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
