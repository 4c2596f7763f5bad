"""docs/lifecycle.md as values: its tables, which tests hold the code to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, NamedTuple

from taskjob.core.phases import FailureClass, Phase, Reason, RetryAction

PAGE: Final = (Path(__file__).parents[1] / "docs" / "lifecycle.md").read_text(encoding="utf-8")


class Becomes(NamedTuple):
    """What becomes of a job."""

    phase: Phase
    reason: Reason


def table(first_header: str) -> list[list[str]]:
    """The rows of the table whose first column has that header, header excluded."""
    lines = iter(PAGE.splitlines())
    for line in lines:
        if line.startswith(f"| {first_header} |"):
            break
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    assert rows, f"no table {first_header}"
    return rows


def _cell(text: str) -> Becomes | None:
    if not text:
        return None
    found = re.fullmatch(r"([A-Za-z]+): `([A-Za-z]+)`", text)
    assert found is not None, f"not a phase and a reason: {text}"
    return Becomes(Phase(found[1]), Reason(found[2]))


MAY_BECOME: Final = {
    Phase(row[0]): {Phase(word.strip()) for word in row[1].split(",") if word.strip()} for row in table("from")
}
HAPPENS: Final = {row[0]: tuple(map(_cell, row[1:])) for row in table("what happens")}
"""By what happens: what becomes of a job that is pending, that has an attempt under way, that has ended."""

WITHOUT_A_RULE: Final = {FailureClass(row[0]): RetryAction(row[-1]) for row in table("class")}
CHARGED: Final = {RetryAction(row[0]): row[-1] == "yes" for row in table("action")}


def column(phase: Phase) -> int:
    """Which column of `HAPPENS` a phase is in."""
    return 2 if phase.terminal else 1 if phase.active else 0
