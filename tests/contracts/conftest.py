"""Each test of a history runs over the fake and over PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from history_subjects import Fake, Real, Subject
from taskjob.history.writer import HistoryWriter


@pytest.fixture(params=["fake", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    """None: the fake."""
    return None if request.param == "fake" else str(request.getfixturevalue("database_url"))


@pytest.fixture
async def subject(url: str | None) -> AsyncIterator[Subject]:
    if url is None:
        yield Fake()
        return
    writer = HistoryWriter(url)
    await writer.open(0)
    connection = await asyncpg.connect(url, timeout=10)
    yield Real(writer, connection)
    await connection.close()
    await writer.close()
