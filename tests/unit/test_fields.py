"""Fields of objects: instants, in and out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from taskjob.kube.fields import instant, rfc3339

NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-01-01T12:00:00Z", NOON),
        ("2026-01-01T13:00:00+01:00", NOON),
        ("2026-01-01T12:00:00.250000Z", NOON + timedelta(milliseconds=250)),
        ("2026-01-01T12:00:00", None),  # of which place?
        ("0001-01-01T00:00:00+05:00", None),  # before all time
        ("noon", None),
        ("", None),
        (12, None),
        (None, None),
    ],
)
def test_an_instant_is_read_or_unknown(text: object, at: datetime | None) -> None:
    found = instant(text)
    assert found == at
    assert found is None or found.tzinfo is UTC


def test_an_instant_is_written_in_whole_seconds_and_utc() -> None:
    assert rfc3339(NOON + timedelta(milliseconds=999)) == "2026-01-01T12:00:00Z"
    assert rfc3339(None) is None
