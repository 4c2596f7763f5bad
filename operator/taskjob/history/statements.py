"""Every SQL statement by its name, from `queries.sql`: no SQL stands in Python.

`{name}` in a statement stands for the fragment of that name, so that four queries share one list of columns.
"""

from __future__ import annotations

import re
from importlib.resources import files
from types import MappingProxyType
from typing import Final

_NAME = re.compile(r"^-- name: ([a-z_]+)$", re.MULTILINE)
_FRAGMENT = re.compile(r"\{([a-z_]+)\}")
_REMARK = re.compile(r"^--.*$\n?", re.MULTILINE)


def parse(text: str) -> dict[str, str]:
    """Statements by name, fragments filled in. Raises ValueError for a name that stands twice or is not known."""
    parts = _NAME.split(text)
    found: dict[str, str] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        if name in found:
            raise ValueError(f"queries.sql: the name {name!r} stands twice")
        found[name] = _REMARK.sub("", body).strip()

    def filled(match: re.Match[str]) -> str:
        if match[1] not in found:
            raise ValueError(f"queries.sql: there is no fragment {match[1]!r}")
        return found[match[1]]

    return {name: f"-- {name}\n{_FRAGMENT.sub(filled, body)}" for name, body in found.items()}


SQL: Final = MappingProxyType(parse((files(__package__) / "queries.sql").read_text(encoding="utf-8")))
