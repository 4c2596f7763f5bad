"""From a pydantic model to the structural schema of a CRD.

A structural schema has no references, no `null`, no `anyOf` at the top of a field; unknown fields are refused by the
API server without being told, so `additionalProperties: false` goes too.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from taskjob.resources.pod_template import Schema
from taskjob.resources.words import INT32_MAX

_KEPT: Final = (
    "type",
    "format",
    "default",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "maxProperties",
    "required",
)


def structural_schema(model: type[BaseModel]) -> Schema:
    """The structural schema of a model, fields in the order in which they are declared."""
    whole = model.model_json_schema(by_alias=True, mode="validation")
    return _structural(whole, whole.get("$defs", {}))


def _structural(node: Schema, definitions: dict[str, Schema]) -> Schema:
    node = _resolved(node, definitions)
    schema: Schema = {"description": _one_line(node["description"])} if "description" in node else {}
    schema |= {key: node[key] for key in _KEPT if key in node}
    schema |= {key: value for key, value in node.items() if key.startswith("x-kubernetes-")}
    if schema.get("default", 0) is None:
        del schema["default"]
    if schema.get("type") == "integer":
        schema["format"] = "int32" if schema.get("maximum", INT32_MAX + 1) <= INT32_MAX else "int64"
    if "items" in node:
        schema["items"] = _structural(node["items"], definitions)
    if isinstance(node.get("additionalProperties"), dict):
        schema["additionalProperties"] = _structural(node["additionalProperties"], definitions)
    if "properties" in node:
        schema["properties"] = {name: _structural(field, definitions) for name, field in node["properties"].items()}
    return schema


def _resolved(node: Schema, definitions: dict[str, Schema]) -> Schema:
    """The node with its reference inlined and its "or null" taken away; what it says itself wins."""
    while "$ref" in node or "anyOf" in node:
        if "$ref" in node:
            inner = definitions[node["$ref"].rpartition("/")[2]]
        else:
            (inner,) = (one for one in node["anyOf"] if one.get("type") != "null")
        node = {**inner, **{key: value for key, value in node.items() if key not in ("$ref", "anyOf")}}
    return node


def at(schema: Schema, path: tuple[str, ...]) -> Schema:
    """The schema of a field, by its path; `*` are the items of a list. Raises KeyError when there is none."""
    for name in path:
        schema = schema["items"] if name == "*" else schema["properties"][name]
    return schema


def _one_line(text: Any) -> str:
    return " ".join(str(text).split())
