"""What is kept of a log, whatever way it comes: cut anywhere, broken off anywhere, taken up again, with secrets."""

from __future__ import annotations

import re
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from taskjob.control import redact, stamped
from taskjob.control.logbook import GAPS_TOLD, LogBook
from taskjob.control.redact import Redactor
from taskjob.control.stamped import Cursor, Stamped
from taskjob.core.model import AttemptId, Uid
from taskjob.ports import KeptLog, Log, LogChunk, LogGap

ATTEMPT = AttemptId(Uid("u"), 0, 0, 1)
LINES = st.lists(
    st.tuples(
        st.integers(0, 2),  # the time goes on by so many hundreds of milliseconds
        st.one_of(
            st.binary(max_size=12).map(lambda text: text.replace(b"\n", b"\r")),
            st.just(b"2026-01-01T00:00:00Z looks like a time"),
            st.integers(50, 200).map(lambda n: b"x" * n),
        ),
    ),
    max_size=30,
)


def written(lines: list[tuple[int, bytes]], *, ends: bool) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Lines with their times, and all that the container wrote."""
    tenths, timed = 0, []
    for step, text in lines:
        tenths += step
        timed.append((b"2026-01-01T12:00:%02d.%d00000000Z" % divmod(tenths, 10), text + b"\n"))
    if timed and not ends:
        timed[-1] = (timed[-1][0], timed[-1][1][:-1] or b"x")
    return timed, b"".join(text for _, text in timed)


def served(timed: list[tuple[bytes, bytes]], since: str | None) -> bytes:
    return b"".join(time + b" " + text for time, text in timed if time[:19].decode() >= (since or "")[:19])


@patch.object(stamped, "LONG_LINE_BYTES", 60)
@given(LINES, st.booleans(), st.lists(st.integers(0, 2000), max_size=6), st.integers(1, 500))
def test_a_log_that_is_broken_off_and_taken_up_again_loses_and_doubles_nothing(
    lines: list[tuple[int, bytes]], ends: bool, breaks: list[int], step: int
) -> None:
    timed, whole = written(lines, ends=ends)
    got, times = bytearray(), list[bytes]()
    reading = Stamped()
    for n, until in enumerate([*breaks, None]):
        if n % 2:  # another operator goes on
            reading = Stamped(Cursor.parse(str(reading.cursor)))
        reading.restart()
        stream = served(timed, reading.cursor.since)[:until]
        pieces = [piece for at in range(0, len(stream), step) for piece in reading.feed(stream[at : at + step])]
        for piece in (*pieces, *reading.finish(broken=until is not None)):
            got += piece.body
            times += piece.times
        assert not reading.missed
    assert bytes(got) == whole
    assert times == [time for time, _ in timed]


def test_a_line_that_is_not_there_any_more_is_missed() -> None:
    reading = Stamped(Cursor(b"2026-01-01T12:00:00.5Z", 1, 4))
    pieces = list(reading.feed(b"2026-01-01T12:00:07.1Z later\n"))
    assert reading.missed
    assert [piece.body for piece in pieces] == [b"later\n"]


def test_what_the_kubelet_says_itself_is_no_line_of_the_container() -> None:
    reading = Stamped()
    bodies = [p.body for p in reading.feed(b"2026-01-01T12:00:00Z a\nfailed to watch file\n2026-01-01T12:00:00Z b\n")]
    assert (b"".join(bodies), reading.said) == (b"a\nb\n", "failed to watch file")


# ---------------------------------------------------------------- head and tail
class Shelf:
    """History as far as one log goes."""

    def __init__(self) -> None:
        self.chunks: dict[int, LogChunk] = {}
        self.log: Log | None = None

    def put(self, log: Log) -> None:
        self.chunks |= {chunk.n: chunk for chunk in log.chunks}
        self.chunks = {n: c for n, c in self.chunks.items() if n < log.head or log.tail <= n < log.number}
        self.log = log

    @property
    def kept(self) -> KeptLog:
        assert self.log is not None
        return KeptLog(self.log, tuple((n, len(self.chunks[n].body)) for n in sorted(self.chunks)))


@given(
    st.integers(1024, 6000),
    st.lists(st.tuples(st.binary(max_size=900), st.integers(0, 3)), max_size=60),
)
def test_head_and_tail_are_kept_and_the_cut_is_counted(limit: int, fed: list[tuple[bytes, int]]) -> None:
    whole = b"".join(body for body, _ in fed)
    shelf, book = Shelf(), LogBook(ATTEMPT, "main", limit)
    shelf.put(book.take(Cursor()))
    for body, then in fed:
        book.feed(body, (), line_ends=True)
        if then == 1:
            shelf.put(book.take(Cursor()))
        if then == 2:  # another operator goes on
            shelf.put(book.take(Cursor()))
            book = LogBook.of(shelf.kept, limit)
    log = book.take(Cursor(), complete=True)
    shelf.put(log)
    head = b"".join(c.body for n, c in sorted(shelf.chunks.items()) if n < log.head)
    tail = b"".join(c.body for n, c in sorted(shelf.chunks.items()) if n >= log.tail) + log.body
    assert log.size == len(whole)
    assert log.cut_bytes == len(whole) - len(head) - len(tail)
    assert whole.startswith(head)
    assert whole.endswith(tail)
    assert len(head) + len(tail) <= limit + 2000
    if len(whole) <= limit // 2:
        assert log.cut_bytes == 0
    if log.cut_bytes:
        assert len(tail) >= limit // 2 - 1


def test_gaps_stand_between_chunks_and_move_to_the_cut_with_what_is_left_out() -> None:
    book = LogBook(ATTEMPT, "main", 1024)
    book.feed(b"a" * 100, (), line_ends=True)
    book.gap("rotated", 7)
    assert [gap.before for gap in book.gaps] == [1]
    for _ in range(40):
        book.feed(b"b" * 100 + b"\n", (), line_ends=True)
    book.gap("rotated again")
    before = book.gaps[-1].before
    for _ in range(40):
        book.feed(b"c" * 100 + b"\n", (), line_ends=True)
    log = book.take(Cursor())
    assert log.gaps[0].before == 1, "in the head"
    assert log.gaps[1].before == log.tail > before


@given(st.lists(st.one_of(st.integers(1, 900).map(lambda n: -n), st.integers(1, 99)), max_size=300))
def test_whatever_is_left_out_each_gap_within_what_is_kept_is_told_at_its_place_and_all_are_counted(
    fed: list[int],
) -> None:
    """Fed are lines (below 0: so many bytes) and gaps (of that size)."""
    book, whole, gaps = LogBook(ATTEMPT, "main", 4096), 0, list[tuple[int, int]]()
    for each in fed:
        if each < 0:
            book.feed(b"x" * (-each - 1) + b"\n", (), line_ends=True)
            whole += -each
        else:
            book.gap("rotated", each)
            gaps.append((whole, each))
    shelf = Shelf()
    log = book.take(Cursor(), complete=True)
    shelf.put(log)
    ends, at = {0: 0}, 0  # by chunk: how much was written before it
    for n in range(log.head):
        at += len(shelf.chunks[n].body)
        ends[n + 1] = at
    head_ends, tail_begins = at, at + log.cut_bytes
    at = tail_begins
    for n in range(log.tail, log.number):
        ends[n] = at
        at += len(shelf.chunks[n].body)
    ends[log.number] = at
    told = [(ends[gap.before], gap.size) for gap in log.gaps]
    inside = [gap for gap in gaps if log.cut_bytes and head_ends <= gap[0] <= tail_begins]
    kept = [gap for gap in gaps if gap not in inside]
    at_cut = [(tail_begins, sum(size for _, size in inside))] if inside else []
    wanted = sorted([*kept, *at_cut], key=lambda gap: gap[0])
    assert told == wanted or len(wanted) > GAPS_TOLD
    assert sum(gap.size or 0 for gap in log.gaps) == sum(size for _, size in gaps)
    assert len(log.gaps) <= GAPS_TOLD


def test_of_a_log_with_too_many_gaps_the_last_are_told_together_and_none_of_their_bytes_is_lost() -> None:
    book = LogBook(ATTEMPT, "main", 10**6)
    for _ in range(GAPS_TOLD + 5):
        book.gap("rotated", 2)
        book.feed(b"a\n", (), line_ends=True)
    assert [gap.size for gap in book.gaps] == [2] * (GAPS_TOLD - 1) + [12]
    book.gap("lost")
    book.gap_before_all("the beginning")
    assert (book.gaps[0].why, book.gaps[-1]) == ("the beginning", LogGap(GAPS_TOLD + 5, "lost", None))


# ---------------------------------------------------------------- redaction
SECRET = re.compile(rb"token=[a-z]+|pw[0-9]{3}")
PARTS = st.lists(
    st.sampled_from([b"token=", b"abc", b"pw", b"123", b" ", b"\n", b"x" * 40, b"\r", b"\xff"]), max_size=40
)


@patch.object(redact, "OVERLAP_BYTES", 30)
@given(PARTS, st.integers(1, 60))
def test_no_secret_comes_out_wherever_a_line_is_cut(parts: list[bytes], step: int) -> None:
    text = b"".join(parts)
    redactor, out = Redactor(SECRET), bytearray()
    for line in text.splitlines(keepends=True) if b"\r" not in text else re.findall(rb"[^\n]*\n|[^\n]+", text):
        if len(line) <= step and line.endswith(b"\n"):
            out += redactor.feed(line, line_ends=True)
            continue
        for at in range(0, len(line), step):
            piece = line[at : at + step]
            out += redactor.feed(piece, line_ends=piece.endswith(b"\n"))
    out += redactor.finish()
    assert SECRET.search(bytes(out)) is None
    if SECRET.search(text) is None:
        assert bytes(out) == text
    assert out.count(b"\n") == text.count(b"\n")


def test_a_match_longer_than_what_is_held_back_takes_the_rest_of_its_line_with_it() -> None:
    redactor = Redactor(SECRET)
    out = redactor.feed(b"say token=" + b"a" * 50_000, line_ends=False)
    out += redactor.feed(b"a" * 50_000 + b" more\n", line_ends=True)
    out += redactor.feed(b"the next\n", line_ends=True)
    assert out == b"say [redacted to the end of the line]\nthe next\n"
