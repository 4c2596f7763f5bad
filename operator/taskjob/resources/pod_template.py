"""The schema of `spec.template`, as taken from the API server's own OpenAPI by `taskjob.resources.openapi`."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, Final

FILE: Final = "pod_template.schema.json"

QUANTITY_PATTERN: Final = r"^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)(([KMGTPE]i)|[numkMGTPE]|[eE][+-]?[0-9]+)?$"
"""A Kubernetes quantity that is not negative, written as a string."""

Schema = dict[str, Any]


def pod_template_schema() -> Schema:
    """The structural schema of a pod template, as kept in this package; a fresh copy."""
    text = resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8")
    schema: Schema = json.loads(text)
    return schema
