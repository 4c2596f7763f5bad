"""Head and tail of a log, in bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from taskjob.kube.logs import Clipper


def clipped(limit: int, *pieces: bytes) -> tuple[bytes, int]:
    clipper = Clipper(limit)
    for piece in pieces:
        clipper.feed(piece)
    return clipper.body, clipper.size


def test_a_short_log_is_kept_whole() -> None:
    assert clipped(10, b"abc", b"", b"def") == (b"abcdef", 6)
    assert clipped(6, b"abcdef") == (b"abcdef", 6)


def test_of_a_long_log_head_and_tail_are_kept() -> None:
    assert clipped(5, b"abcdefgh") == (b"abcgh", 8)
    assert clipped(4, *(bytes([letter]) for letter in b"abcdefgh")) == (b"abgh", 8)
    assert clipped(1, b"abc") == (b"a", 3)


@given(st.integers(1, 40), st.lists(st.binary(max_size=30), max_size=20))
def test_the_kept_part_is_the_first_and_the_last_half_however_it_arrives(limit: int, pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    body, size = clipped(limit, *pieces)
    assert size == len(whole)
    if len(whole) <= limit:
        assert body == whole
    else:
        tail = limit // 2
        assert body == whole[: limit - tail] + (whole[-tail:] if tail else b"")


@given(st.integers(1, 40), st.lists(st.binary(max_size=30), max_size=50))
def test_no_more_is_held_than_the_limit_and_one_piece(limit: int, pieces: list[bytes]) -> None:
    clipper = Clipper(limit)
    for piece in pieces:
        clipper.feed(piece)
        assert len(clipper._head) + sum(map(len, clipper._tail)) <= limit + 30
