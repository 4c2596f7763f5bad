"""The graph of the demo as manifests.

    split -> count-1 ... count-8 -> merge ---\\
      |---> flaky (fails twice, then works) --+--> report
      \\---> strict (fails) -> rescue --------/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

NAMESPACE: Final = "demo"
GROUP: Final = "wordcount"
QUEUE: Final = "demo"
PARTS: Final = 8
IMAGE: Final = "docker.io/taskjobs/python:dev"
SCRIPTS: Final = "wordcount-scripts"
CLAIM: Final = "wordcount"
TASKS: Final = Path(__file__).parent / "tasks"

COUNTS: Final = tuple(f"count-{part}" for part in range(1, PARTS + 1))
JOBS: Final = ("split", *COUNTS, "flaky", "strict", "rescue", "merge", "report")
EXPECTED: Final = {name: "Failed" if name == "strict" else "Succeeded" for name in JOBS}
"""How each job has to end: everything succeeds but the one whose failure calls for `rescue`."""

EDGES: Final = (
    *(("split", name) for name in (*COUNTS, "flaky", "strict")),
    *((name, "merge") for name in COUNTS),
    ("strict", "rescue"),
    *((name, "report") for name in ("merge", "flaky", "rescue")),
)
"""Which job has to end before which other may start."""

Manifest = dict[str, Any]


def ground(storage_class: str) -> list[Manifest]:
    """What the jobs stand on: a namespace, the scripts, the volume that they share (a claim finds it by its storage
    class), and a queue in which four of them run at once."""
    quota = {"cpu": "1", "memory": "1Gi", "pods": 4}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": SCRIPTS, "namespace": NAMESPACE},
            "data": {script.name: script.read_text() for script in sorted(TASKS.glob("*.py"))},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": CLAIM, "namespace": NAMESPACE},
            "spec": {
                "storageClassName": storage_class,
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        },
        {
            "apiVersion": "taskjobs.dev/v1beta1",
            "kind": "TaskQueue",
            "metadata": {"name": QUEUE},
            "spec": {"quota": quota},
        },
    ]


def graph() -> list[Manifest]:
    """The TaskJobs."""
    return [
        _job("split", [str(PARTS)]),
        *(_job(name, [str(part)], after=["split"], script="count") for part, name in enumerate(COUNTS, 1)),
        _job("flaky", [], after=["split"], retry={"limit": 2, "backoff": {"initialSeconds": 1, "factor": 2}}),
        _job("strict", [], after=["split"], priority="Low"),
        _job("rescue", [], after=[{"name": "strict", "condition": "Failed"}], priority="High"),
        _job("merge", [str(PARTS)], after=COUNTS, priority="High"),
        _job("report", [], after=["merge", "flaky", "rescue"], priority="Critical"),
    ]


def _job(
    name: str,
    arguments: Sequence[str],
    *,
    after: Iterable[str | Manifest] = (),
    script: str | None = None,
    **spec: Any,
) -> Manifest:
    container = {
        "name": "task",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", f"/scripts/{script or name}.py", *arguments],
        "env": [{"name": "PYTHONUNBUFFERED", "value": "1"}],
        "resources": {"requests": {"cpu": "200m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        "volumeMounts": [
            {"name": "shared", "mountPath": "/shared"},
            {"name": "scripts", "mountPath": "/scripts", "readOnly": True},
        ],
    }
    volumes = [
        {"name": "shared", "persistentVolumeClaim": {"claimName": CLAIM}},
        {"name": "scripts", "configMap": {"name": SCRIPTS}},
    ]
    pod = {"automountServiceAccountToken": False, "containers": [container], "volumes": volumes}
    depends_on = [{"name": other} if isinstance(other, str) else other for other in after]
    return {
        "apiVersion": "taskjobs.dev/v1beta1",
        "kind": "TaskJob",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"taskjobs.dev/group": GROUP}},
        "spec": {
            "queue": QUEUE,
            **({"dependsOn": depends_on} if depends_on else {}),
            "timeoutSeconds": 120,
            "template": {"spec": pod},
            **spec,
        },
    }


def as_yaml(manifests: Iterable[Manifest]) -> str:
    """The manifests as one file for kubectl."""
    return yaml.safe_dump_all(manifests, sort_keys=False, width=120)
