"""The CRDs, generated from the models: `python -m taskjob.resources.generate [--check] [--into FOLDER]`.

`--check` writes nothing and ends with 1 when a file differs from the models. No cluster is needed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from taskjob.resources.pod_template import Schema, pod_template_schema
from taskjob.resources.rules import Rule, taskjob_rules, taskqueue_rules
from taskjob.resources.structural import at, structural_schema
from taskjob.resources.taskjob import TaskJob
from taskjob.resources.taskqueue import TaskQueue
from taskjob.resources.words import GROUP, TASKJOB, TASKJOBS, TASKQUEUE, TASKQUEUES, VERSION, Phase
from taskjob.resources.yaml_text import yaml_text

FOLDER: Final = Path(__file__).parents[3] / "crds"
HEADER: Final = "# Generated from the models in operator/taskjob/resources by `make generate`: do not edit.\n"

STATUS_NEVER_WRITTEN: Final = {"phase": Phase.PENDING.value, "reason": "Queued"}
"""The status of a TaskJob that has none: the API server fills it in when it reads the object, so that a waiting job has
a phase for people and their tools, and it costs the operator no write."""

OWNED_WHOLE: Final = (("spec", "template"), ("status",))
"""What has one owner, to the API server's managedFields: it keeps book of who set which field of the rest, for which it
walks the object at each write. Of these two it cost a quarter of what a status write costs, and a third of what a
TaskJob weighs. By server-side apply a template is thus replaced as a whole; the status is written by one alone."""

Column = dict[str, Any]


def crds() -> dict[str, dict[str, Any]]:
    """The CRDs by the name of their file."""
    return {
        f"{GROUP}_{TASKJOBS}.yaml": taskjob_crd(),
        f"{GROUP}_{TASKQUEUES}.yaml": taskqueue_crd(),
    }


def taskjob_crd() -> dict[str, Any]:
    """The CRD of TaskJobs."""
    schema = _root_schema(TaskJob)
    template = pod_template_schema()
    container = at(template, ("spec", "containers", "*"))
    for path, injected in {
        ("spec", "template"): template,
        ("spec", "env", "*", "valueFrom"): at(container, ("env", "*", "valueFrom")),
    }.items():
        field = at(schema, path)
        described = field["description"]
        field.clear()
        field |= {"description": described, **injected}
    at(schema, ("status",))["default"] = dict(STATUS_NEVER_WRITTEN)
    for whole in OWNED_WHOLE:
        at(schema, whole)["x-kubernetes-map-type"] = "atomic"
    _add_rules(schema, taskjob_rules())
    columns = [
        _column("Phase", ".status.phase", "Where the job stands."),
        _column("Reason", ".status.reason", "Why; for Pending: what the job waits for."),
        _column("Queue", ".spec.queue", "The queue whose quota it is charged to."),
        _column("Priority", ".spec.priority", "Which jobs of the queue start first."),
        _column("Attempt", ".status.attempt", "The current or last attempt.", type="integer"),
        _column("Age", ".metadata.creationTimestamp", "Time since the job was created.", type="date"),
        _column("Retries", ".status.retries", "How many retries were used.", type="integer", priority=1),
        _column("Exit", ".status.exitCode", "The exit code of the last attempt.", type="integer", priority=1),
        _column("Pod", ".status.podName", "The pod of the current or last attempt.", priority=1),
        _column("Node", ".status.nodeName", "The node that it was placed on.", priority=1),
        _column("Message", ".status.message", "Why, as a sentence.", priority=1),
    ]
    # No other kind may join this category: kubectl takes the word for the category before the plural, so that
    # `kubectl delete taskjobs --all` would delete queues too, and `kubectl get taskjobs NAME` would be an error.
    names = {"kind": TASKJOB, "plural": TASKJOBS, "shortNames": ["tj"], "categories": [TASKJOBS]}
    return _crd(names, "Namespaced", schema, columns)


def taskqueue_crd() -> dict[str, Any]:
    """The CRD of TaskQueues."""
    schema = _root_schema(TaskQueue)
    _add_rules(schema, taskqueue_rules())
    columns = [
        _column("Pending", ".status.pending", "How many jobs wait in the queue.", type="integer"),
        _column("Admitted", ".status.admitted", "How many jobs of the queue have a pod.", type="integer"),
        _column("CPU used", ".status.usage.cpu", "What the queue's pods request of CPU."),
        _column("of CPU", ".status.quota.cpu", "The quota of CPU."),
        _column("Memory used", ".status.usage.memory", "What the queue's pods request of memory."),
        _column("of memory", ".status.quota.memory", "The quota of memory."),
        _column("Active", '.status.conditions[?(@.type=="Active")].status', "Whether the queue admits."),
        _column("Age", ".metadata.creationTimestamp", "Time since the queue was created.", type="date"),
        _column("Pods used", ".status.usage.pods", "How many pods the queue has.", priority=1),
        _column("of pods", ".status.quota.pods", "The quota of pods.", priority=1),
        _column("Over quota", '.status.conditions[?(@.type=="OverQuota")].status', "Whether use is above.", priority=1),
        _column("Why", '.status.conditions[?(@.type=="Active")].reason', "Why it admits, or does not.", priority=1),
    ]
    names = {"kind": TASKQUEUE, "plural": TASKQUEUES, "shortNames": ["tjq"]}
    return _crd(names, "Cluster", schema, columns)


def texts() -> dict[str, str]:
    """The text of each generated file by its name."""
    return {name: HEADER + yaml_text(crd) for name, crd in crds().items()}


def _crd(names: dict[str, Any], scope: str, schema: Schema, columns: list[Column]) -> dict[str, Any]:
    kind = names["kind"]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {**names, "listKind": f"{kind}List", "singular": kind.lower()},
            "scope": scope,
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def _root_schema(model: type[BaseModel]) -> Schema:
    """The schema of a whole object; its metadata belongs to the API server."""
    schema = structural_schema(model)
    schema["properties"] |= {
        "apiVersion": {"type": "string", "description": f"The version of this schema: {GROUP}/{VERSION}."},
        "kind": {"type": "string", "description": f"The kind of this object: {model.__name__}."},
        # the name is spelled out because a rule may only blame a field that stands in the schema
        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
    }
    schema["required"] = ["spec"]
    return schema


def _add_rules(schema: Schema, rules: Iterable[Rule]) -> None:
    for rule in rules:
        at(schema, rule.at).setdefault("x-kubernetes-validations", []).append(rule.schema())


def _column(name: str, path: str, description: str, type: str = "string", priority: int = 0) -> Column:
    column: Column = {"name": name, "type": type, "jsonPath": path, "description": description}
    return {**column, "priority": priority} if priority else column


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or compare them; 0 when they are (now) as the models say."""
    parser = argparse.ArgumentParser(description="Write the CRDs from the models.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file differs from the models")
    parser.add_argument("--into", type=Path, default=FOLDER, metavar="FOLDER", help="where the files stand (crds/)")
    options = parser.parse_args(arguments)
    differing = []
    for name, text in texts().items():
        path: Path = options.into / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        differing.append(path)
        if not options.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}: {len(text.encode()):,} bytes")
    if options.check and differing:
        print("differs from the models:", *differing, "\nrun `make generate`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
