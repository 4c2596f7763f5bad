"""Frozen values with some fields changed, as quickly as Python can; and any value as people read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # so that the names and types of the fields are checked
    from dataclasses import replace
else:
    _SHAPES: dict[type, tuple[Callable[[Any], tuple[Any, ...]], dict[str, int]]] = {}

    def replace(value, /, **changes):
        """`dataclasses.replace` in a third of its time, of which a plan spends most: for classes of two fields or
        more, all of which their constructor takes. KeyError for a field that is not there."""
        cls = type(value)
        shape = _SHAPES.get(cls)
        if shape is None:
            names = [field.name for field in fields(cls)]
            shape = _SHAPES[cls] = (attrgetter(*names), {name: at for at, name in enumerate(names)})
        get, positions = shape
        values = list(get(value))
        for name, new in changes.items():
            values[positions[name]] = new
        return cls(*values)


def shown(value: object) -> str:
    """A value for people, short."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:76] + '..."'


__all__ = ["replace", "shown"]
