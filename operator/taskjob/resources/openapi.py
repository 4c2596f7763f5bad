"""The schema of `spec.template`, taken from the API server's own OpenAPI and kept beside this module.

`pod_template.schema.json` is generated, never edited. To take it anew, from a running API server of the version
that the project pins:

    kubectl get --raw /openapi/v3/api/v1 | python -m taskjob.resources.openapi

Descriptions are left out (with them the CRD does not fit the annotation of a client-side `kubectl apply`), and so are
defaults: the API server that creates the pod applies its own. Left out too is what a template cannot have:
`ephemeralContainers`, and all of the metadata but labels and annotations. Generating the CRDs from the kept file
needs no cluster.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from taskjob.resources.pod_template import FILE, QUANTITY_PATTERN, Schema

_POD_TEMPLATE: Final = "io.k8s.api.core.v1.PodTemplateSpec"
_OBJECT_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_INT_OR_STRING: Final = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_QUANTITY: Final = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_LEFT_OUT: Final = {"io.k8s.api.core.v1.PodSpec": frozenset({"ephemeralContainers"})}
_KEPT: Final = ("type", "format", "required", "x-kubernetes-list-type", "x-kubernetes-map-type")
_STRING_MAP: Final = {"type": "object", "additionalProperties": {"type": "string"}}


def from_openapi(document: Mapping[str, Any]) -> Schema:
    """The structural schema of a pod template out of an API server's `/openapi/v3/api/v1`.

    Raises `ValueError` when the document has no pod template.
    """
    components: Mapping[str, Schema] = document.get("components", {}).get("schemas", {})
    if _POD_TEMPLATE not in components:
        raise ValueError(f"no {_POD_TEMPLATE} in this document: is it the API server's /openapi/v3/api/v1?")
    schema = _structural({"$ref": f"#/components/schemas/{_POD_TEMPLATE}"}, components)
    schema["required"] = ["spec"]
    schema["properties"]["spec"]["properties"]["containers"]["minItems"] = 1
    return schema


def compact(schema: Schema) -> str:
    """The text of the kept file: one line for each field of the pod's spec, so that a change can be read."""
    top = {key: value for key, value in schema.items() if key != "properties"}
    spec = schema["properties"]["spec"]
    rest = {key: value for key, value in spec.items() if key != "properties"}
    fields = ",\n".join(f"{json.dumps(name)}:{_dense(field)}" for name, field in sorted(spec["properties"].items()))
    metadata = _dense(schema["properties"]["metadata"])
    return (
        f'{_dense(top)[:-1]},"properties":{{"metadata":{metadata},\n'
        f'"spec":{_dense(rest)[:-1]},"properties":{{\n{fields}\n}}}}}}}}\n'
    )


def _dense(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def _structural(node: Schema, components: Mapping[str, Schema]) -> Schema:
    """One node without references, descriptions and defaults, in the subset that a CRD may use."""
    reference = node.get("$ref") or next((part["$ref"] for part in node.get("allOf", []) if "$ref" in part), None)
    if reference is not None:
        name = reference.rpartition("/")[2]
        if name == _OBJECT_META:
            return {"type": "object", "properties": {"labels": dict(_STRING_MAP), "annotations": dict(_STRING_MAP)}}
        if name == _QUANTITY:
            return {"x-kubernetes-int-or-string": True, "minimum": 0, "pattern": QUANTITY_PATTERN}
        if name == _INT_OR_STRING:
            return {"x-kubernetes-int-or-string": True}
        target = components[name]
        if name in _LEFT_OUT:
            fields = {key: value for key, value in target["properties"].items() if key not in _LEFT_OUT[name]}
            target = {**target, "properties": fields}
        return _structural(target, components)
    schema: Schema = {key: node[key] for key in _KEPT if key in node}
    if "enum" in node:  # natively the empty string means "not given"
        schema["enum"] = sorted({"", *node["enum"]})
    if "properties" in node:
        schema["properties"] = {name: _structural(field, components) for name, field in node["properties"].items()}
    if isinstance(node.get("additionalProperties"), dict):
        schema["additionalProperties"] = _structural(node["additionalProperties"], components)
    if "items" in node:
        schema["items"] = _structural(node["items"], components)
    if "x-kubernetes-list-map-keys" in node:
        _key_list(schema, node, components)
    return schema


def _key_list(schema: Schema, node: Schema, components: Mapping[str, Schema]) -> None:
    """Make the list a map by its keys; a CRD wants each key to be required or to have a default."""
    keys = node["x-kubernetes-list-map-keys"]
    schema["x-kubernetes-list-map-keys"] = keys
    items = node["items"]
    reference = items.get("$ref") or items["allOf"][0]["$ref"]
    native = components[reference.rpartition("/")[2]]["properties"]
    for key in keys:
        if key not in schema["items"].get("required", []):
            schema["items"]["properties"][key]["default"] = native[key]["default"]


def main() -> None:
    """Read the OpenAPI document from the standard input and rewrite the kept file."""
    target = Path(__file__).with_name(FILE)
    target.write_text(compact(from_openapi(json.load(sys.stdin))), encoding="utf-8")
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
