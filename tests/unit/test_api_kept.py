"""A kept log in the form of a pod's own: lines with their times, and marks."""

from __future__ import annotations

from typing import Any

import pytest

from builders import NOON
from taskjob.history.views import LogPart, LogRow
from taskjob.ports import LogGap
from taskjob_api.kept import LINE_MAX, Line, Mark, as_text, contents, end_of, since


def a_row(*parts: tuple[int, bytes, bytes], **fields: Any) -> LogRow:
    given: dict[str, Any] = {
        "run": 0, "member": 0, "attempt": 1, "container": "main", "size": 9, "cut_bytes": 0, "note": "",
        "captured_at": NOON, "main": True, "complete": True, "head": 0, "tail": 0, "gaps": (), "resume": "",
    }  # fmt: skip
    return LogRow(parts=tuple(LogPart(*part) for part in parts), **(given | fields))


def test_lines_have_their_times_also_across_chunks() -> None:
    row = a_row((0, b"a\nlo", b"1\n2\n"), (1, b"ng", b""), (2, b" line\nb\nend", b"3\n4\n"))
    assert list(contents(row)) == [
        Line(b"1", b"a"),
        Line(b"2", b"long line"),
        Line(b"3", b"b"),
        Line(b"4", b"end", False),
    ]
    assert b"".join(as_text(contents(row))) == b"a\nlong line\nb\nend"
    assert b"".join(as_text(contents(row), timestamps=True)) == b"1 a\n2 long line\n3 b\n4 end"


def test_the_last_line_of_a_log_that_goes_on_is_left_to_whoever_reads_on() -> None:
    assert list(contents(a_row((0, b"a\nhalf", b"1\n2\n"), complete=False))) == [Line(b"1", b"a")]


def test_a_cut_within_a_line_is_told_and_times_stay_with_their_lines() -> None:
    row = a_row((0, b"a\nhe", b"1\n2\n"), (7, b"ad\nb\n", b"9\n"), cut_bytes=50, head=1, tail=7)
    assert list(contents(row)) == [
        Line(b"1", b"a"), Line(b"2", b"he", False), Mark("cut", 50), Line(b"", b"ad", begins=False),
        Line(b"9", b"b"),
    ]  # fmt: skip
    assert b"".join(as_text(contents(row))) == (
        b"a\nhe\n[taskjobs: 50 bytes are left out here: the log was longer than is kept]\nad\nb\n"
    )


def test_gaps_stand_where_they_were_also_at_both_ends() -> None:
    gaps = (LogGap(0, "at first"), LogGap(1, "between", 5), LogGap(2, "at last"))
    row = a_row((0, b"a\n", b"1\n"), (1, b"b\n", b"2\n"), gaps=gaps)
    found = list(contents(row))
    assert found == [
        Mark("gap", None, "at first"), Line(b"1", b"a"), Mark("gap", 5, "between"), Line(b"2", b"b"),
        Mark("gap", None, "at last"),
    ]  # fmt: skip
    assert "5 bytes, between" in found[2].sentence  # type: ignore[union-attr]


def test_a_very_long_line_comes_in_pieces() -> None:
    row = a_row((0, b"x" * (LINE_MAX + 1) + b"\n", b"1\n"))
    assert [(len(line.text), line.whole) for line in contents(row) if isinstance(line, Line)] == [
        (LINE_MAX, False),
        (1, True),
    ]


def test_a_log_of_an_earlier_release_has_no_times() -> None:
    assert list(contents(a_row((0, b"a\nb", b"")))) == [Line(b"", b"a"), Line(b"", b"b", False)]


def test_a_line_of_which_only_its_time_had_come_when_its_chunk_was_closed_keeps_that_time() -> None:
    row = a_row((0, b"a\n", b"1\n2\n"), (1, b"b\nc\n", b"3\n"))
    assert list(contents(row)) == [Line(b"1", b"a"), Line(b"2", b"b"), Line(b"3", b"c")]
    within = a_row((0, b"a\nlo", b"1\n2\n"), (1, b"ng\nb\n", b"3\n4\n"), (2, b"c\n", b""))
    assert list(contents(within)) == [Line(b"1", b"a"), Line(b"2", b"long"), Line(b"3", b"b"), Line(b"4", b"c")]


def test_the_rest_of_a_line_that_was_cut_away_does_not_let_older_lines_pass_as_new_ones() -> None:
    times = [b"2026-01-01T12:00:%02dZ\n" % second for second in (1, 3, 5)]
    row = a_row((0, b"a\n", times[0]), (7, b"st\nb\nc\n", times[1] + times[2]), cut_bytes=50, head=1, tail=7)
    assert [each.text for each in since(contents(row), "2026-01-01T12:00:04Z") if isinstance(each, Line)] == [b"c"]


@pytest.mark.parametrize(("complete", "unended"), [(True, 0), (False, 4)])
def test_where_a_kept_log_ends_is_counted_without_a_line_that_goes_on(complete: bool, unended: int) -> None:
    row = a_row((0, b"a\nlo", b"1\n2\n"), (1, b"ng", b""), size=105, complete=complete)
    assert end_of(row) == 105 - unended
