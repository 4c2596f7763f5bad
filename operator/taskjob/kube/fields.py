"""Fields of an object that may hold anything: read with a complaint that names the field, never with an exception."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, TypeVar

import msgspec

from taskjob.core.values import shown

Object = Mapping[str, Any]
"""A Kubernetes object as decoded JSON; `Any` because nothing about its values may be taken for granted."""

LONGEST_MESSAGE: Final = 1024
"""Characters of `status.message` and of a condition's message; longer ones are cut."""

LARGEST_INT: Final = 2**31 - 1
"""As seconds 68 years: added to any instant that is told, it is an instant still."""

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises of bytes that are no JSON, or not of the shape that is asked for."""

_Choice = TypeVar("_Choice", bound=StrEnum)


class Reader:
    """Reads fields of one object; the first one that cannot be used is remembered as `problem`."""

    __slots__ = ("problem",)

    def __init__(self) -> None:
        self.problem: str | None = None

    def complain(self, field: str, why: str) -> None:
        """Remember the first complaint."""
        if self.problem is None:
            self.problem = f"{field}: {why}"

    def integer(self, of: Object, name: str, where: str, default: int, least: int = 0) -> int:
        """An integer within bounds, else the default."""
        value = of.get(name)
        if value is None:
            return default
        if type(value) is not int:
            self.complain(where + name, f"{shown(value)} is not an integer")
            return default
        if not least <= value <= LARGEST_INT:
            self.complain(where + name, f"{value} is not between {least} and {LARGEST_INT}")
            return default
        return value

    def optional_integer(self, of: Object, name: str, where: str, least: int = 0) -> int | None:
        """An integer within bounds, None if there is none."""
        # `least - 1` is no possible value: it stands for "not given".
        value = self.integer(of, name, where, least - 1, least) if name in of else least - 1
        return None if value < least else value

    def boolean(self, of: Object, name: str, where: str) -> bool:
        """True or false; false if there is none."""
        value = of.get(name)
        if value is None:
            return False
        if value is not True and value is not False:
            self.complain(where + name, f"{shown(value)} is not true or false")
            return False
        return bool(value)

    def text(self, of: Object, name: str, where: str, default: str) -> str:
        """A text that is not empty, else the default."""
        value = of.get(name)
        if value is None:
            return default
        if type(value) is not str or not value:
            self.complain(where + name, f"{shown(value)} is not a text")
            return default
        return value

    def choice(self, of: Object, name: str, where: str, default: _Choice) -> _Choice:
        """A member of the default's enum, else the default."""
        value = of.get(name)
        if value is None:
            return default
        try:
            return type(default)(value)
        except ValueError:
            self.complain(where + name, f"{shown(value)} is not one of {', '.join(type(default))}")
            return default

    def items(self, of: Object, name: str, where: str) -> Sequence[Any]:
        """A list; an empty one if there is none."""
        value = of.get(name)
        if value is None:
            return ()
        if not isinstance(value, list):
            self.complain(where + name, f"{shown(value)} is not a list")
            return ()
        return value

    def mapping(self, of: Object, name: str, where: str) -> Object:
        """An object; an empty one if there is none."""
        value = of.get(name)
        if value is None:
            return NOTHING
        if not isinstance(value, dict):
            self.complain(where + name, f"{shown(value)} is not an object")
            return NOTHING
        return value


NOTHING: Final[Object] = {}


def instant(value: object) -> datetime | None:
    """An RFC 3339 text as an aware UTC instant; None for anything else."""
    if type(value) is not str:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    if found.tzinfo is None:
        return None
    return found if found.tzinfo is UTC else _in_utc(found)


def _in_utc(found: datetime) -> datetime | None:
    try:
        return found.astimezone(UTC)
    except OverflowError:
        return None


def rfc3339(at: datetime | None) -> str | None:
    """An instant as Kubernetes writes it: UTC, whole seconds (rounded down)."""
    return at.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z" if at is not None else None


def whole(value: object) -> int:
    """A non-negative integer of metadata (resourceVersions are texts); 0 if it is none."""
    if type(value) is int:
        return max(value, 0)
    if type(value) is str and len(value) <= 20 and value.isascii() and value.isdigit():
        return int(value)
    return 0


def seconds(value: int | None, default: int) -> int:
    """A duration of an object that the API server bounds by 64 bits alone, as one that instants can be moved by."""
    return default if value is None else min(max(value, 0), LARGEST_INT)


def cut(message: str) -> str:
    """A message as long as the CRD allows."""
    return message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 1] + "…"
