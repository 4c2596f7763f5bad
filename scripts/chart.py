"""Writes what the chart repeats: the CRDs as templates, the schema of the values and their table in the README.

    python scripts/chart.py [--check]

`values.yaml` is the source of the schema and of the table: the comment above a key is its description, and a line
`@schema {...}` in it gives what its default alone cannot tell. `crds/` is the source of the CRDs. With `--check`
nothing is written; the exit code is 1 when a file is not what would be written.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[1]
CHART: Final = ROOT / "charts" / "taskjobs"
_KEY: Final = re.compile(r"^( *)([A-Za-z][A-Za-z0-9]*):(.*)$")
_TABLE: Final = re.compile(r"(<!-- values: generated -->\n).*?(<!-- /values -->)", re.DOTALL)
_TYPES: Final = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}


@dataclass(frozen=True, slots=True)
class Value:
    """One key of `values.yaml`: its dotted path, default, description and what `@schema` adds."""

    path: str
    default: Any
    text: str
    extra: dict[str, Any]


def values(source: str) -> Iterator[Value]:
    """The keys that have a comment of their own, in order. Raises ValueError for a leaf without one."""
    defaults = yaml.safe_load(source)
    comment: list[str] = []
    parents: list[tuple[int, str]] = []
    inside = -1  # deeper lines belong to a value that has been described as a whole
    for line in source.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            comment.append(stripped.lstrip("#").strip())
            continue
        if not stripped:
            comment = []
            continue
        indent = len(line) - len(line.lstrip())
        if inside >= 0 and indent > inside:
            continue
        inside = -1
        found = _KEY.match(line)
        if found is None:
            continue
        parents = [parent for parent in parents if parent[0] < indent]
        parents.append((indent, found[2]))
        path = ".".join(name for _, name in parents)
        default = defaults
        for _, name in parents:
            default = default[name]
        if comment:
            extra = [json.loads(text.removeprefix("@schema")) for text in comment if text.startswith("@schema")]
            text = " ".join(text for text in comment if not text.startswith("@schema"))
            yield Value(path, default, text, extra[0] if extra else {})
            inside = indent
        elif not isinstance(default, dict) or not default:
            raise ValueError(f"values.yaml: {path} has no comment")
        comment = []


def schema(found: list[Value]) -> dict[str, Any]:
    """A JSON Schema of the values in which a misspelt key is an error."""
    top: dict[str, Any] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart taskjobs",
        "type": "object",
        "additionalProperties": False,
        "properties": {"global": {"type": "object"}},  # Helm's own: a chart that has this one below it may set it
    }
    for value in found:
        place = top
        *parents, name = value.path.split(".")
        for parent in parents:
            place = place["properties"].setdefault(
                parent, {"type": "object", "additionalProperties": False, "properties": {}}
            )
        described: dict[str, Any] = {"description": value.text, "type": _TYPES[type(value.default)]}
        if described["type"] == "object" and not value.default and "additionalProperties" not in value.extra:
            described["additionalProperties"] = True
        place["properties"][name] = described | value.extra
    return top


def table(found: list[Value]) -> str:
    """The values as a Markdown table."""
    lines = ["| Value | Default | Meaning |", "|---|---|---|"]
    for value in found:
        default = json.dumps(value.default, separators=(", ", ": ")).replace("|", "\\|")
        lines.append(f"| `{value.path}` | `{default}` | {value.text.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def crd_template(source: str) -> str:
    """A CRD as a template of the chart: its text as it is, with labels and whether it is kept."""
    head, metadata, rest = source.partition("metadata:\n")
    if not metadata or "{{" in source:
        raise ValueError("a CRD begins with its metadata and has no braces that Helm would read")
    name, _, body = rest.partition("\n")
    return (
        "{{- if .Values.crds.install }}\n"
        + head.replace("by `make generate`", "by `make generate` and `make chart-docs`")
        + metadata
        + name
        + "\n  labels:\n"
        + '    {{- include "taskjobs.labels" . | nindent 4 }}\n'
        + "  {{- if .Values.crds.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{- end }}\n"
        + body
        + "{{- end }}\n"
    )


def files() -> dict[Path, str]:
    """What should stand where. Raises ValueError where a source cannot be used."""
    found = list(values((CHART / "values.yaml").read_text()))
    readme = CHART / "README.md"
    made = {
        CHART / "values.schema.json": json.dumps(schema(found), indent=2) + "\n",
        readme: _TABLE.sub(lambda match: match[1] + table(found) + match[2], readme.read_text()),
    }
    for crd in sorted((ROOT / "crds").glob("*.yaml")):
        made[CHART / "templates" / "crds" / crd.name] = crd_template(crd.read_text())
    return made


def main(arguments: list[str]) -> int:
    """Write the files, or with `--check` only compare them."""
    stale = [path for path, text in files().items() if not path.exists() or path.read_text() != text]
    for path in stale:
        print(f"{'differs' if '--check' in arguments else 'wrote'}: {path.relative_to(ROOT)}")
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files()[path])
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
