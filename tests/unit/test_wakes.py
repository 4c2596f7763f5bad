"""When something is looked at again without an event."""

from __future__ import annotations

from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st

from builders import at
from taskjob.core.wakes import Wakes

YEAR = 365 * 24 * 3600.0


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


def test_what_is_gone_long_before_its_instant_takes_no_memory_until_then() -> None:
    wakes: Wakes[str] = Wakes()
    wakes.at("kept", at(YEAR))
    for n in range(10_000):
        wakes.at(f"brief-{n}", at(YEAR - n))
        wakes.forget(f"brief-{n}")
        assert len(wakes) <= 1004
    assert list(wakes.due(at(2 * YEAR))) == ["kept"]


NAMES = st.sampled_from([f"k{n}" for n in range(8)])
ACTIONS = st.one_of(
    st.tuples(st.just("at"), NAMES, st.integers(0, 50)),
    st.tuples(st.just("forget"), NAMES, st.just(0)),
    st.tuples(st.just("due"), st.just(""), st.integers(0, 20)),
    st.tuples(st.just("come and go"), st.just(""), st.integers(1, 1500)),
)


@given(st.lists(ACTIONS, max_size=40))
def test_whatever_comes_and_goes_those_that_are_known_are_due_at_their_earliest_instant(
    actions: list[tuple[str, str, int]],
) -> None:
    wakes: Wakes[str] = Wakes()
    model: dict[str, datetime] = {}
    now = 0
    for action, name, number in actions:
        match action:
            case "at":
                wakes.at(name, at(now + number))
                model[name] = min(model.get(name, at(now + number)), at(now + number))
            case "forget":
                wakes.forget(name)
                model.pop(name, None)
            case "come and go":
                for n in range(number):
                    wakes.at(f"brief-{n}", at(YEAR))
                    wakes.forget(f"brief-{n}")
            case _:
                now += number
                due = sorted((instant, key) for key, instant in model.items() if instant <= at(now))
                assert list(wakes.due(at(now))) == [key for _, key in due]
                for _, key in due:
                    del model[key]
    assert list(wakes.due(at(YEAR))) == [key for _, key in sorted((instant, key) for key, instant in model.items())]
