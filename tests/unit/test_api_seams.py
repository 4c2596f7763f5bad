"""Where two parts of a log meet: lines in order, none twice, and a mark where something may be missing."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from builders import NOON
from taskjob.rotation import ROTATED_BYTES, Sequence
from taskjob_api.kept import Line, Mark
from taskjob_api.place import Place
from taskjob_api.seams import PASSED_OVER, Flow, unsent


def a_line(tenths: int, text: bytes = b"", **fields: bool) -> Line:
    """Written so many tenths of a second after noon."""
    return Line(b"2026-01-01T12:00:%02d.%d00000000Z" % divmod(tenths, 10), text or b"at %d" % tenths, **fields)


# ---------------------------------------------------------------- within a stream
def flowed(lines: Iterable[Line], *, volume: int = ROTATED_BYTES, opened: int = 100) -> tuple[list[Line], Flow]:
    """What a stream that was opened so many tenths after noon gives, read long after."""
    sequence = Sequence(volume)
    sequence.opened(NOON + timedelta(seconds=opened / 10))
    flow = Flow(sequence)
    return [given for line in lines for given in flow.feed(line, NOON + timedelta(minutes=1))], flow


def test_a_line_made_of_the_ends_of_two_files_is_not_given_out() -> None:
    lines = [a_line(111), a_line(112), a_line(113, b"the beginning, and the end of another"), a_line(213)]
    given, flow = flowed(lines)
    assert (given, flow.leapt, flow.release()) == (lines[:2], True, [])


def test_while_nothing_can_be_missing_every_line_is_given_at_once() -> None:
    lines = [a_line(111), a_line(311), a_line(511)]
    assert flowed(lines, volume=0)[0] == lines
    flow = flowed([])[1]
    flow._sequence.at_end()
    kept_up = [flow.feed(a_line(n), NOON + timedelta(seconds=n / 10)) for n in (111, 511)]
    assert kept_up == [[a_line(111)], [a_line(511)]]


def test_what_was_written_well_before_the_stream_was_opened_waits_for_nothing() -> None:
    lines = [a_line(0), a_line(50)]
    assert flowed(lines, opened=200)[0] == lines


@given(st.lists(st.integers(0, 19), max_size=20), st.booleans())
def test_in_doubt_lines_come_later_but_they_come(waits: list[int], ends: bool) -> None:
    at, lines = 50, []
    for wait in waits:
        at += wait
        lines.append(a_line(at % 600))
        if at >= 600:
            break
    lines = [line for line in lines if line.time >= lines[0].time]
    if lines and not ends:
        lines[-1] = Line(lines[-1].time, b"no end", whole=False)
    given, flow = flowed(lines)
    assert [*given, *flow.release()] == lines
    assert not flow.leapt


# ---------------------------------------------------------------- between history and a file of the kubelet's
def sent(until: int) -> Place:
    """All lines up to that one were."""
    place = Place()
    place.new(a_line(until))
    return place


def told(
    place: Place, found: Iterable[Line | Mark], until: int | None = None, *, text: bytes = b"", ends: bool = False
) -> list[Line | Mark]:
    return list(unsent(place, found, until=None if until is None else a_line(until, text), ends=ends))


CUT = Mark("cut", 99)
GAP = Mark("gap", None, "the node went")
LONGER = Mark("gap", None, "the log was longer than is kept")


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 9))
def test_history_fills_what_lies_between_two_lines_and_no_more(last: int, beyond: int, length: int) -> None:
    place, until = sent(last), last + 1 + beyond
    assert told(place, [a_line(n) for n in range(20 + length)], until) == [a_line(n) for n in range(last + 1, until)]
    assert not place.lacks(a_line(until)), "the next line follows"


def test_what_history_lacks_before_the_next_line_is_not_taken_for_filled() -> None:
    place = sent(3)
    assert told(place, [a_line(n) for n in range(6)], 8) == [a_line(4), a_line(5)], "history ends there"
    assert place.lacks(a_line(8))
    place = sent(3)
    assert told(place, [a_line(n) for n in (0, 1, 2, 3, 9)], 8) == [], "history has a line after it, and not that line"
    assert place.lacks(a_line(8))


def test_a_mark_of_history_between_the_two_is_the_one_that_is_shown() -> None:
    place = sent(3)
    assert told(place, [a_line(2), a_line(3), CUT, a_line(8)], 8) == [CUT], "it lies between them, and has its size"
    assert not place.lacks(a_line(8))
    place = sent(3)
    assert told(place, [a_line(3), a_line(4), GAP], 8) == [a_line(4), GAP]
    assert not place.lacks(a_line(8))


def test_of_a_cut_that_holds_what_was_shown_or_is_still_to_be_the_size_is_not_told() -> None:
    before: list[Line | Mark] = [a_line(0), CUT, a_line(5), a_line(6)]
    place = sent(3)
    assert told(place, before) == [LONGER, a_line(5), a_line(6)], "a part of it was shown"
    place = sent(0)
    assert told(place, before, 4) == [LONGER], "a part of it comes from the pod"
    assert not place.lacks(a_line(4))


def test_a_history_that_skips_the_line_that_was_sent_last_without_a_word_gets_a_mark() -> None:
    assert told(sent(3), [a_line(0), a_line(5)]) == [PASSED_OVER, a_line(5)]
    place = sent(3)
    assert told(place, [a_line(0), a_line(5)], 5) == []
    assert place.lacks(a_line(5)), "and so does the line after it, if that is the next"


def test_marks_at_the_end_of_a_history_that_has_not_come_so_far_are_of_what_was_shown() -> None:
    assert told(sent(3), [a_line(0), GAP]) == []
    assert told(sent(3), [a_line(0), GAP], ends=True) == [GAP], "unless it will come no further"
    assert told(Place(), [GAP, a_line(0), CUT, a_line(5), GAP]) == [GAP, a_line(0), CUT, a_line(5), GAP]


# ---------------------------------------------------------------- a line within which the kubelet began a new file
WHOLE, BEGINNING, REST = a_line(4, b"begun and ended"), a_line(4, b"begun and ", whole=False), a_line(5, b"ended")


def sent_last(line: Line) -> Place:
    place = sent(3)
    place.new(line)
    return place


def test_the_rest_of_a_line_that_history_has_whole_is_not_shown_again() -> None:
    place = sent(3)
    assert told(place, [a_line(3), WHOLE, a_line(6)], until=5, text=b"ended") == [WHOLE]
    assert not place.lacks(REST)
    assert [place.rest(REST), place.rest(a_line(6))] == [None, a_line(6)]


def test_behind_a_mark_what_may_be_the_rest_of_the_line_before_it_is_not_shown() -> None:
    place = sent_last(WHOLE)
    assert told(place, [a_line(0), CUT, a_line(9)], until=5, text=b"ended") == [LONGER]
    assert not place.lacks(REST)
    assert place.rest(REST) is None
    assert told(sent_last(WHOLE), [a_line(0), CUT, REST, a_line(9)]) == [LONGER, a_line(9)]
    same = sent_last(a_line(4, b"ended"))
    assert told(same, [a_line(0), CUT, a_line(9)], until=5, text=b"ended") == [LONGER]
    assert same.rest(REST) == REST, "the same text once more is a line of its own"


def test_whoever_has_both_parts_of_a_line_apart_has_no_more_than_who_has_it_whole() -> None:
    assert told(sent_last(WHOLE), [a_line(3), BEGINNING, GAP, REST, a_line(9)]) == [a_line(9)]
    assert told(sent_last(REST), [a_line(3), WHOLE, a_line(9)]) == [a_line(9)]
    assert told(sent_last(BEGINNING), [a_line(3), BEGINNING, GAP, REST]) == [GAP, REST], "that, nobody knows"
    assert told(sent_last(BEGINNING), [a_line(3), WHOLE]) == [Line(WHOLE.time, b"ended", begins=False)]


# ---------------------------------------------------------------- marks
def test_a_mark_goes_before_its_line_and_is_not_told_again_to_who_comes_back_between_them() -> None:
    place = sent(3)
    events = unsent(place, [a_line(3), GAP, a_line(5)], ends=False)
    assert next(events) == GAP
    back = Place.parse(place.identity(0, 1), 0, 1)
    assert back is not None
    assert list(events) == [a_line(5)]
    assert told(back, [a_line(3), GAP, a_line(5), CUT, a_line(9)]) == [a_line(5), CUT, a_line(9)]


def test_a_mark_at_the_end_of_a_history_that_goes_on_is_told_once() -> None:
    place = sent(3)
    assert [told(place, [a_line(3), GAP]) for _ in range(2)] == [[GAP], []]
    assert told(place, [a_line(3), GAP, a_line(5)]) == [a_line(5)]


def test_a_cut_that_ends_where_history_ended_when_it_was_last_asked_leaves_nothing_out() -> None:
    for ends_at, marks in ((500, []), (501, [LONGER])):
        place = sent(3)
        assert list(unsent(place, [a_line(3), a_line(4)], ends=False, ends_at=500)) == [a_line(4)]
        cut = Mark("cut", 99, ends_at=ends_at)
        assert told(place, [a_line(0), cut, a_line(8)]) == [*marks, a_line(8)]


def test_the_rest_of_a_line_whose_beginning_was_left_out_comes_with_the_cut_before_it_or_not_at_all() -> None:
    found: list[Line | Mark] = [a_line(0), CUT, Line(b"", b"rest", begins=False), a_line(5)]
    assert told(sent(0), found) == found[1:]
    assert told(sent(3), found) == [LONGER, a_line(5)]
    assert told(sent(5), found) == []
    assert told(sent(0), found[:-1], ends=True) == found[1:-1]
