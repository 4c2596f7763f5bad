"""Cursors: opaque to clients, small, and refused when they are not ours. Pure.

A cursor of a list is the place of the last job on the page; a cursor of the stream is a sequence number together with
the incarnation of the database that gave it.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar
from uuid import UUID

import msgspec

T = TypeVar("T")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class CursorUnknownError(ValueError):
    """Not a cursor of this history, or no longer: start anew."""


class Place(NamedTuple):
    """Where a page of jobs ended."""

    created_at: datetime
    uid: str


class Position(NamedTuple):
    """How far a client has read the transitions of one incarnation."""

    incarnation: UUID
    seq: int


def age_key(created_at: datetime) -> int:
    """The column `age_key`: microseconds since 1970."""
    return (created_at - _EPOCH) // _MICROSECOND


def write_place(place: Place) -> str:
    """A place as text."""
    return _write([age_key(place.created_at), place.uid])


def read_place(cursor: str) -> Place:
    """The place in a cursor. Raises `CursorUnknownError`."""
    micros, uid = _read(cursor, tuple[int, str])
    try:
        return Place(_EPOCH + micros * _MICROSECOND, uid)
    except OverflowError:
        raise CursorUnknownError("the cursor is none of this list's") from None


def write_position(position: Position) -> str:
    """A position as text."""
    return _write([position.incarnation, position.seq])


def read_position(cursor: str) -> Position:
    """The position in a cursor. Raises `CursorUnknownError`."""
    incarnation, seq = _read(cursor, tuple[UUID, int])
    if not 0 <= seq < 2**63:
        raise CursorUnknownError("the cursor is none of this stream's")
    return Position(incarnation, seq)


def _write(value: object) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(value)).decode().rstrip("=")


def _read(cursor: str, kind: type[T]) -> T:
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return msgspec.msgpack.decode(packed, type=kind)
    except (ValueError, msgspec.MsgspecError):
        raise CursorUnknownError("the cursor cannot be read: send one as it was received") from None
