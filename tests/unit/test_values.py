"""Values are what a frozen dataclass with slots is, made by another constructor."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field, is_dataclass

import pytest

from taskjob.core import decisions, facts, model, steps, tracked, why
from taskjob.core.values import replace, value


@dataclass(frozen=True, slots=True)
class Plain:
    name: str
    size: int = 1
    parts: list[str] = field(default_factory=list)


@value
@dataclass(frozen=True, slots=True)
class Quick:
    name: str
    size: int = 1
    parts: list[str] = field(default_factory=list)


def test_a_value_has_what_its_constructor_was_given_and_else_its_defaults() -> None:
    for arguments, words in ((("a",), {}), (("a", 2), {}), ((), {"name": "a", "parts": ["x"]}), (("a", 2, ["y"]), {})):
        quick, plain = Quick(*arguments, **words), Plain(*arguments, **words)  # type: ignore[arg-type]
        assert repr(quick) == repr(plain).replace("Plain", "Quick")
        assert type(quick) is Quick


def test_no_two_values_share_what_a_factory_makes() -> None:
    assert Quick("a").parts is not Quick("a").parts


@pytest.mark.parametrize("words", [{}, {"name": "a", "nothing": 1}])
def test_a_constructor_refuses_what_a_dataclass_would(words: dict[str, object]) -> None:
    with pytest.raises(TypeError, match=r"Quick.__init__\(\)"):
        Quick(**words)  # type: ignore[arg-type]


def test_a_value_cannot_be_changed_however_it_was_made() -> None:
    for each in (Quick("a"), replace(Quick("a"), size=3)):
        with pytest.raises(FrozenInstanceError):
            each.size = 2  # type: ignore[misc]
        with pytest.raises((AttributeError, TypeError)):
            each.other = 2  # type: ignore[attr-defined]


def test_values_are_equal_by_what_they_hold() -> None:
    assert replace(Quick("a"), size=3) == Quick("a", 3) != Quick("a")
    assert hash(model.Status(attempt=1)) == hash(replace(model.Status(), attempt=1))


def test_a_field_that_is_not_there_cannot_be_replaced() -> None:
    with pytest.raises(TypeError, match="Quick has no field nothing"):
        replace(Quick("a"), nothing=1)  # type: ignore[call-arg]


def test_what_the_core_makes_by_the_thousand_is_made_quickly() -> None:
    """A class that was forgotten costs five times as much, and nobody would see it."""
    made = [
        cls
        for module in (decisions, facts, model, steps, tracked, why)
        for cls in vars(module).values()
        if isinstance(cls, type) and is_dataclass(cls) and cls.__module__ == module.__name__
    ]
    frozen = [cls for cls in made if vars(cls)["__dataclass_params__"].frozen]
    assert len(frozen) > 20
    slow = [cls.__name__ for cls in frozen if "become" not in vars(cls)["__init__"].__code__.co_names]
    assert slow == [], "these lack @value"
