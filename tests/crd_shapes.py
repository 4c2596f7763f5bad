"""Values made from the schemas of the CRDs: what the API server may let pass, and what it must not."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml
from hypothesis import strategies as st

from taskjob_cluster.paths import CHECKOUT

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("9" * 400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
WORDS = st.sampled_from(
    ["a", "1", "100m", "1e999", "-1", "2026-01-01T00:00:00Z", "9999-99-99T99:99:99Z", "\u0000", "ä"]
)


@cache
def schema_of(kind: str) -> dict[str, Any]:
    """The schema of a generated CRD."""
    crd = yaml.load((CHECKOUT / "crds" / f"taskjobs.dev_{kind}.yaml").read_text(), yaml.CSafeLoader)
    found: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def shaped(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values of the shape that a schema describes; one in some has anything in the place of what it should have."""
    return st.one_of(*[_shaped(schema)] * 5, ANYTHING)


def _shaped(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return st.integers() | WORDS
    match schema.get("type"):
        case "object" if "properties" in schema:
            return st.fixed_dictionaries({}, optional={key: shaped(of) for key, of in schema["properties"].items()})
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return st.dictionaries(WORDS, shaped(schema["additionalProperties"]), max_size=3)
        case "array":
            return st.lists(shaped(schema["items"]), max_size=3)
        case "integer":
            return st.integers(schema.get("minimum"), schema.get("maximum"))
        case "string":
            return WORDS | st.text(max_size=20)
        case "boolean":
            return st.booleans()
    return ANYTHING


def conforming(schema: dict[str, Any], depth: int = 4) -> st.SearchStrategy[Any]:
    """Values that a schema lets pass; its rules (CEL) and what else the API server checks are not known here. Fields
    that may be absent are so below that depth."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("x-kubernetes-int-or-string"):
        return st.integers(0, 2**40) | st.sampled_from(["0", "1", "100m", "1.5", "64Mi", "1e3", "9" * 18])
    match schema.get("type"):
        case "object" if "properties" in schema:
            needed = schema.get("required", ())
            parts = {key: conforming(of, depth - 1) for key, of in schema["properties"].items()}
            return st.fixed_dictionaries(
                {key: parts[key] for key in needed},
                optional={key: part for key, part in parts.items() if key not in needed} if depth > 0 else {},
            )
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            keys = st.sampled_from(["a", "cpu", "memory", "example.org/b", "A_b.c-d"])
            return st.dictionaries(keys, conforming(schema["additionalProperties"], depth - 1), max_size=2)
        case "array":
            least = schema.get("minItems", 0)
            unique = "x-kubernetes-list-map-keys" in schema or schema.get("x-kubernetes-list-type") == "set"
            return st.lists(
                conforming(schema["items"], depth - 1),
                min_size=least,
                max_size=max(least, 2),
                unique_by=repr if unique else None,
            )
        case "integer":
            return st.integers(schema.get("minimum", -(2**31)), schema.get("maximum", 2**31 - 1))
        case "number":
            return st.floats(schema.get("minimum", 0), schema.get("maximum", 1e6))
        case "string":
            return _text(schema)
        case "boolean":
            return st.booleans()
    return st.just({})


def _text(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    if schema.get("format") == "date-time":
        return st.just("2026-01-01T00:00:00Z")
    if (pattern := schema.get("pattern")) is not None:
        limit = schema.get("maxLength", 40)
        return st.from_regex(pattern.replace("$", r"\Z"), alphabet=st.characters(codec="ascii")).filter(
            lambda text: len(text) <= limit
        )
    words = st.sampled_from(["a", "b-1", "größe 漢字 🚀", "$(HOME)", "x" * min(200, schema.get("maxLength", 200))])
    return words if schema.get("minLength", 0) else words | st.just("")


def an_object(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    """An object with the metadata that the API server gives, and any spec and status."""
    schema = schema_of(kind)["properties"]
    metadata = {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 1}
    return st.fixed_dictionaries(
        {"metadata": st.just(metadata | {"creationTimestamp": "2026-01-01T00:00:00Z"})},
        optional={"spec": shaped(schema["spec"]), "status": shaped(schema["status"])},
    )
