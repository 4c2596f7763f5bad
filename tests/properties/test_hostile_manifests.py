"""Objects of any shape against the parsers: what the CRDs' schemas allow, and the same with anything anywhere in it.

The API server refuses most of it; what was written past the schema (an older CRD) reaches the operator all the same.
"""

from __future__ import annotations

import json
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskjob.kube.schema import parse_job, parse_queue
from taskjob_cluster.paths import CHECKOUT

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("9" * 400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
WORDS = st.sampled_from(
    ["a", "1", "100m", "1e999", "-1", "2026-01-01T00:00:00Z", "9999-99-99T99:99:99Z", "\u0000", "ä"]
)


def schema_of(kind: str) -> dict[str, Any]:
    """The schema of a generated CRD."""
    crd = yaml.safe_load((CHECKOUT / "crds" / f"taskjobs.dev_{kind}.yaml").read_text())
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


def an_object(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    """An object with the metadata that the API server gives, and any spec and status."""
    schema = schema_of(kind)["properties"]
    metadata = {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 1}
    return st.fixed_dictionaries(
        {"metadata": st.just(metadata | {"creationTimestamp": "2026-01-01T00:00:00Z"})},
        optional={"spec": shaped(schema["spec"]), "status": shaped(schema["status"])},
    )


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(an_object("taskjobs"))
def test_whatever_stands_in_a_taskjob_it_becomes_a_job_or_a_sentence_about_it(found: dict[str, Any]) -> None:
    job = parse_job(json.loads(json.dumps(found)))
    assert (job.uid, job.name) == ("u", "a")
    if not isinstance(found.get("spec"), dict):
        assert job.problem, "nothing can be run, and no sentence says so"


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(an_object("taskqueues"))
def test_whatever_stands_in_a_taskqueue_it_becomes_a_queue(found: dict[str, Any]) -> None:
    assert parse_queue(json.loads(json.dumps(found))).name == "a"
