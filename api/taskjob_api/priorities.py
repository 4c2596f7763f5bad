"""A priority in requests: a name, or a number on the same scale."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BeforeValidator
from pydantic import WithJsonSchema as Shown

from taskjob.core.phases import PRIORITIES
from taskjob.resources.fields import PriorityOrNumber
from taskjob.resources.words import PRIORITY_MAX, Priority

_NUMBER: Final = re.compile(r"-?[0-9]{1,7}")
_Shown = Shown(
    {
        "anyOf": [
            {"type": "string", "enum": list(Priority)},
            {"type": "integer", "minimum": -PRIORITY_MAX, "maximum": PRIORITY_MAX},
        ]
    }
)


def _read(given: object) -> object:
    """In a query all is text."""
    return int(given) if isinstance(given, str) and _NUMBER.fullmatch(given) else given


RequestedPriority = Annotated[PriorityOrNumber, _Shown]
"""In a body."""
QueriedPriority = Annotated[PriorityOrNumber, BeforeValidator(_read), _Shown]
"""In a query."""


def level(priority: str | int) -> int:
    """The number that a priority stands for."""
    return priority if isinstance(priority, int) else PRIORITIES[priority]
