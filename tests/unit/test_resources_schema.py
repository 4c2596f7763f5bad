"""The generated CRDs: up to date, small enough, everything described and bounded."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from taskjob.resources.generate import crds, main, texts
from taskjob.resources.openapi import compact, from_openapi
from taskjob.resources.pod_template import FILE, pod_template_schema
from taskjob.resources.structural import at
from taskjob.resources.yaml_text import yaml_text

FOLDER = Path(__file__).parents[2] / "crds"
ANNOTATION_LIMIT = 262_144  # bytes that all annotations of one object may have together
FROM_KUBERNETES = (("spec", "template"), ("spec", "env", "*", "valueFrom"))


def root(crd: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def ours(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every schema node of ours with its path; not what was taken from Kubernetes, nor apiVersion, kind, metadata."""
    if path in FROM_KUBERNETES:
        return
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        if path or name in ("spec", "status"):
            yield from ours(field, (*path, name))
    if "items" in schema:
        yield from ours(schema["items"], (*path, "*"))
    if "additionalProperties" in schema:
        yield from ours(schema["additionalProperties"], (*path, "{}"))


EVERY_NODE = [
    pytest.param(path, node, id=".".join((crd["spec"]["names"]["kind"], *path)))
    for crd in crds().values()
    for path, node in ours(root(crd))
]
EVERY_RULE = [
    pytest.param(root(crd), path, rule, id=f"{crd['spec']['names']['kind']}: {rule['rule'][:80]}")
    for crd in crds().values()
    for path in ((), ("spec",), ("spec", "template", "spec"), ("spec", "retry", "rules", "*", "exitCodes"))
    if path == () or crd["spec"]["names"]["kind"] == "TaskJob"
    for rule in at(root(crd), path).get("x-kubernetes-validations", [])
]


def test_the_models_stand_on_pydantic_and_the_standard_library_alone() -> None:
    allowed = {"pydantic", "pydantic_core", *sys.stdlib_module_names}
    for path in (FOLDER.parent / "operator/taskjob/resources").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found = [one.name for one in node.names]
            elif isinstance(node, ast.ImportFrom):
                found = [node.module or "."]
            else:
                continue
            strangers = [
                one for one in found if not one.startswith("taskjob.resources") and one.split(".")[0] not in allowed
            ]
            assert not strangers, f"{path.name} imports {strangers}"


def test_the_files_are_what_the_models_say() -> None:
    assert {path.name for path in FOLDER.glob("*.yaml")} == set(texts())
    assert main(["--check"]) == 0, "run `make generate`"


def test_a_file_that_differs_fails_the_check_and_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--into", str(tmp_path)]) == 0
    changed = tmp_path / "taskjobs.dev_taskjobs.yaml"
    changed.write_text(changed.read_text().replace("maxLength: 200", "maxLength: 201"))
    capsys.readouterr()

    assert main(["--into", str(tmp_path), "--check"]) == 1
    assert str(changed) in capsys.readouterr().err
    assert "maxLength: 201" in changed.read_text(), "a check writes nothing"


@pytest.mark.parametrize("name", sorted(texts()))
def test_a_crd_fits_the_annotation_of_a_client_side_apply(name: str) -> None:
    assert len(texts()[name].encode()) < ANNOTATION_LIMIT
    assert len(json.dumps(crds()[name])) < ANNOTATION_LIMIT / 2


@pytest.mark.parametrize("name", sorted(texts()))
def test_the_yaml_reads_as_the_crd(name: str) -> None:
    assert yaml.safe_load(texts()[name]) == crds()[name]


@pytest.mark.parametrize(("path", "node"), EVERY_NODE)
def test_every_field_is_described(path: tuple[str, ...], node: dict[str, Any]) -> None:
    if path and path[-1] in ("*", "{}") and node.get("type") != "object":
        return  # a plain value in a list or map is described by the list
    description = node.get("description", "")

    assert description, "kubectl explain would have nothing to say"
    assert description[0].isupper() or description.startswith("taskjobs.dev")
    assert "`" not in description, "kubectl shows plain text"


@pytest.mark.parametrize(("path", "node"), EVERY_NODE)
def test_every_value_is_bounded(path: tuple[str, ...], node: dict[str, Any]) -> None:
    kind = "quantity" if "x-kubernetes-int-or-string" in node else node["type"]
    bounds = {
        "string": {"maxLength"},
        "array": {"maxItems"},
        "integer": {"minimum", "maximum"},
        "quantity": {"minimum", "maxLength", "pattern"},
        "object": {"maxProperties"} if "additionalProperties" in node else set(),
        "boolean": set(),
    }[kind]
    if "enum" in node or node.get("format") == "date-time":
        return
    if path[-1:] == ("observedGeneration",):
        bounds = {"minimum"}  # as large as the API server counts

    assert bounds <= node.keys()


@pytest.mark.parametrize(("path", "node"), EVERY_NODE)
def test_nothing_in_a_list_has_a_default(path: tuple[str, ...], node: dict[str, Any]) -> None:
    """The API server would write it into the stored list, and every `kubectl apply` would patch the list again."""
    assert "*" not in path or "default" not in node


@pytest.mark.parametrize(("schema", "path", "rule"), EVERY_RULE)
def test_a_rule_blames_a_field_that_exists_in_a_sentence(
    schema: dict[str, Any], path: tuple[str, ...], rule: dict[str, str]
) -> None:
    at(at(schema, path), tuple(rule.get("fieldPath", "").split(".")[1:]))  # KeyError: no such field
    assert len(rule["message"]) > 20
    assert "self" not in rule["message"].split(), "a message is for people, not about the rule"


def test_only_taskjobs_are_in_the_category_that_has_their_name() -> None:
    """kubectl reads `taskjobs` as the category first: `kubectl delete taskjobs --all` takes all that is in it."""
    names = {name: crd["spec"]["names"] for name, crd in crds().items()}

    assert names["taskjobs.dev_taskjobs.yaml"]["categories"] == ["taskjobs"]
    assert "categories" not in names["taskjobs.dev_taskqueues.yaml"]


# ---------------------------------------------------------------- the pod template
def test_the_kept_pod_template_is_written_as_the_command_writes_it() -> None:
    kept = Path(__file__).parents[2] / "operator/taskjob/resources" / FILE

    assert kept.read_text() == compact(pod_template_schema())
    assert kept.stat().st_size < 64 * 1024


def test_the_pod_template_has_what_a_pod_may_have_and_no_text() -> None:
    template = pod_template_schema()
    spec = template["properties"]["spec"]["properties"]

    assert {"containers", "initContainers", "volumes", "tolerations", "affinity", "securityContext"} <= spec.keys()
    assert "ephemeralContainers" not in spec
    assert template["properties"]["metadata"]["properties"].keys() == {"labels", "annotations"}
    assert '"description"' not in json.dumps(template)


SCHEMAS = "#/components/schemas/"
META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
SMALL_OPENAPI: dict[str, Any] = {
    "components": {
        "schemas": {
            "io.k8s.api.core.v1.PodTemplateSpec": {
                "description": "text",
                "type": "object",
                "properties": {
                    "metadata": {"allOf": [{"$ref": SCHEMAS + META}], "default": {}},
                    "spec": {"allOf": [{"$ref": SCHEMAS + "io.k8s.api.core.v1.PodSpec"}], "default": {}},
                },
            },
            "io.k8s.api.core.v1.PodSpec": {
                "type": "object",
                "required": ["containers"],
                "properties": {
                    "ephemeralContainers": {"type": "array", "items": {"type": "object"}},
                    "containers": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["port", "protocol"],
                        "x-kubernetes-patch-strategy": "merge",
                        "items": {"allOf": [{"$ref": SCHEMAS + "Port"}], "default": {}},
                    },
                },
            },
            "Port": {
                "type": "object",
                "required": ["port"],
                "properties": {
                    "port": {"type": "integer", "format": "int32", "default": 0},
                    "protocol": {"type": "string", "default": "TCP", "enum": ["UDP", "TCP"]},
                    "size": {"allOf": [{"$ref": SCHEMAS + QUANTITY}], "default": {}},
                },
            },
        }
    }
}


def test_an_openapi_document_becomes_a_structural_schema() -> None:
    schema = from_openapi(SMALL_OPENAPI)

    containers = at(schema, ("spec", "containers"))
    assert containers.keys() == {
        "type",
        "items",
        "minItems",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
    }
    port = containers["items"]["properties"]
    assert port["port"] == {"type": "integer", "format": "int32"}
    assert port["protocol"] == {"type": "string", "default": "TCP", "enum": ["", "TCP", "UDP"]}
    assert port["size"]["x-kubernetes-int-or-string"] is True
    assert "ephemeralContainers" not in at(schema, ("spec",))["properties"]
    assert json.loads(compact(schema)) == schema


def test_a_document_without_pods_is_refused_with_the_place_to_look() -> None:
    with pytest.raises(ValueError, match="/openapi/v3/api/v1"):
        from_openapi({"openapi": "3.0.0", "components": {"schemas": {}}})


# ---------------------------------------------------------------- the YAML
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs", "Cc"], codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abkeyno-1. ", max_size=6), inner, max_size=4),
    max_leaves=25,
)


@given(value=json_values)
def test_what_is_written_as_yaml_reads_as_the_same_value(value: object) -> None:
    assert yaml.safe_load(yaml_text(value)) == value


@pytest.mark.parametrize("text", ["no", "Yes", "null", "1", "1e3", "0x10", "1:30", "~", "a: b", "# x", "- x", "", "a "])
def test_text_that_yaml_would_read_as_something_else_is_quoted(text: str) -> None:
    assert yaml.safe_load(yaml_text({text: [text]})) == {text: [text]}


def test_what_json_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="not a JSON value"):
        yaml_text({"when": object()})
