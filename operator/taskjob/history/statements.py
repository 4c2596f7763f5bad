"""Every SQL statement by its name, from `queries.sql`: no SQL stands in Python."""

from __future__ import annotations

import re
from importlib.resources import files
from types import MappingProxyType
from typing import Final

_NAME = re.compile(r"^-- name: ([a-z_]+)$", re.MULTILINE)


def parse(text: str) -> dict[str, str]:
    """Statements by name, comments kept. Raises ValueError for a name that stands twice."""
    parts = _NAME.split(text)
    found: dict[str, str] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        if name in found:
            raise ValueError(f"queries.sql: the name {name!r} stands twice")
        found[name] = f"-- {name}\n{body.strip()}"
    return found


SQL: Final = MappingProxyType(parse((files(__package__) / "queries.sql").read_text(encoding="utf-8")))
