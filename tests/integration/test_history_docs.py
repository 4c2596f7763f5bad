"""docs/history.md documents what is there: every table, every column, and queries that run."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg

from taskjob.history.writer import HistoryWriter

TEXT = (Path(__file__).parents[2] / "docs" / "history.md").read_text()


def documented() -> set[tuple[str, str]]:
    """(table, column) for each row of the tables under a heading that names a table."""
    found = set()
    for section in re.split(r"^### ", TEXT, flags=re.MULTILINE)[1:]:
        table = section.split("`")[1]
        for cell in re.findall(r"^\| (`[^|]+) \|", section, flags=re.MULTILINE):
            found |= {(table, column) for column in re.findall(r"`([a-z_]+)`", cell)}
    return found


async def test_every_column_is_documented_and_every_documented_column_exists(database_url: str) -> None:
    writer = HistoryWriter(database_url)
    await writer.open(1)
    await writer.close()
    connection = await asyncpg.connect(database_url, timeout=10)
    rows = await connection.fetch(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
    )
    assert documented() == {(row["table_name"], row["column_name"]) for row in rows}
    for query in re.findall(r"```sql\n(.*?)```", TEXT, flags=re.DOTALL):
        await connection.fetch(query)
    await connection.close()
