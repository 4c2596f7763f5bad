"""When something is looked at again without an event."""

from __future__ import annotations

from builders import at
from taskjob.core.wakes import Wakes


def test_what_is_due_is_looked_at_once_in_the_order_of_instants() -> None:
    wakes: Wakes[str] = Wakes()
    for name, seconds in (("late", 9), ("second", 2), ("also-second", 2), ("first", 1)):
        wakes.at(name, at(seconds))
    assert list(wakes.due(at(2))) == ["first", "also-second", "second"]
    assert list(wakes.due(at(8.9))) == []
    assert list(wakes.due(at(9))) == ["late"]
    assert wakes.next_at is None


def test_of_one_only_the_earliest_instant_counts() -> None:
    wakes: Wakes[str] = Wakes()
    for seconds in (5, 3, 4):
        wakes.at("a", at(seconds))
    assert wakes.next_at == at(3)
    assert list(wakes.due(at(9))) == ["a"]


def test_an_instant_may_be_named_again_after_a_look_that_came_before_it() -> None:
    wakes: Wakes[str] = Wakes()
    wakes.at("a", at(5))
    wakes.at("a", at(3))
    assert list(wakes.due(at(3))) == ["a"]
    wakes.at("a", at(5))
    assert list(wakes.due(at(4))) == []
    assert list(wakes.due(at(5))) == ["a"]


def test_what_is_gone_is_never_due_and_what_has_no_instant_neither() -> None:
    wakes: Wakes[str] = Wakes()
    wakes.at("a", at(1))
    wakes.at("b", None)
    wakes.forget("a")
    wakes.forget("never named")
    assert list(wakes.due(at(9))) == []
