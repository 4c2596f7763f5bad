"""Frozen values, made and changed as quickly as Python can; and any value as people read it.

A plan makes some tens of values for each job. A frozen dataclass sets each of its fields by a call, which takes most
of the time that a plan has. One with the same slots that is not frozen just sets them: what was made so then becomes a
value of the frozen class. The functions that do it are written out once for each class, as `dataclasses` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, Field, fields, make_dataclass
from typing import TYPE_CHECKING, Any, TypeVar

_Value = TypeVar("_Value")

_THAWED: dict[type, type] = {}
_REPLACING: dict[tuple[type, tuple[str, ...]], Callable[..., Any]] = {}


def value(cls: type[_Value]) -> type[_Value]:
    """Decorates a frozen dataclass with slots, whose constructor takes its fields as they are: that constructor then
    takes a fifth of its time."""
    known: dict[str, Any] = {"thawed": _thawed(cls), "cls": cls, "MISSING": MISSING, "become": object.__setattr__}
    head, body = ["self"], ["become(self, '__class__', thawed)"]
    for field in fields(cls):  # type: ignore[arg-type]  # the type of dataclasses is in no module at run time
        head.append(_parameter(field, known))
        made = "" if field.default_factory is MISSING else f"factory_{field.name}() if {field.name} is MISSING else "
        body.append(f"self.{field.name} = {made}{field.name}")
    body.append("self.__class__ = cls")
    written = _written(f"def __init__({', '.join(head)})", body, known)
    written.__qualname__ = f"{cls.__qualname__}.__init__"
    cls.__init__ = written  # type: ignore[method-assign]  # to put another in its place is what this is for
    return cls


def _parameter(field: Field[Any], known: dict[str, Any]) -> str:
    """A field as the constructor takes it, with what it is if nothing is said."""
    if field.default_factory is not MISSING:
        known[f"factory_{field.name}"] = field.default_factory
        return f"{field.name}=MISSING"
    if field.default is not MISSING:
        known[f"default_{field.name}"] = field.default
        return f"{field.name}=default_{field.name}"
    return field.name


if TYPE_CHECKING:  # so that the names and types of the fields are checked
    from dataclasses import replace
else:

    def replace(value, /, **changes):
        """`dataclasses.replace` in a tenth of its time, for values as `value` makes them. TypeError for a field that is
        not there."""
        shape = (type(value), tuple(changes))
        replacing = _REPLACING.get(shape)
        if replacing is None:
            replacing = _REPLACING[shape] = _replacing(*shape)
        return replacing(value, **changes)


def _replacing(cls: type, changed: tuple[str, ...]) -> Callable[..., Any]:
    """A function that makes such a value with these fields changed."""
    names = [field.name for field in fields(cls)]
    if unknown := set(changed).difference(names):
        raise TypeError(f"{cls.__name__} has no field {', '.join(sorted(unknown))}")
    body = ["made = new(thawed)"]
    body += [f"made.{name} = {name if name in changed else f'value.{name}'}" for name in names]
    body += ["made.__class__ = cls", "return made"]
    known = {"thawed": _thawed(cls), "cls": cls, "new": object.__new__}
    return _written(f"def replacing(value, /, {', '.join(changed)})", body, known)


def _thawed(cls: type) -> type:
    """The class with the same slots that is not frozen."""
    if cls not in _THAWED:
        _THAWED[cls] = make_dataclass(cls.__name__, [field.name for field in fields(cls)], slots=True)
    return _THAWED[cls]


def _written(head: str, body: list[str], known: dict[str, Any]) -> Callable[..., Any]:
    """The function that this text defines; nothing of it comes from outside this program."""
    scope = dict(known)
    exec("\n    ".join([f"{head}:", *body]), scope)  # noqa: S102  # as `dataclasses` makes its constructors
    made: Callable[..., Any] = next(each for name, each in scope.items() if name not in known and callable(each))
    return made


def shown(value: object) -> str:
    """A value for people, short."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 80 else text[:76] + '..."'


__all__ = ["replace", "shown", "value"]
