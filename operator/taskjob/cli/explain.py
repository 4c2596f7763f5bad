"""`taskjob explain NAME`: why a job is where it is."""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from taskjob.cli.answers import Behind, Explanation, Holder
from taskjob.cli.connection import add_options, connect


def register(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "explain",
        help="say why a job does not run, or what became of it",
        description="Says why a job does not run, with figures: its place in the queue, what it lacks and who holds "
        "that, or which jobs it waits for.",
    )
    parser.add_argument("name", metavar="NAME", help="the job's name")
    parser.add_argument("--json", action="store_true", help="print what the API answers")
    add_options(parser)
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    print(asyncio.run(_ask(given)))
    return 0


async def _ask(given: argparse.Namespace) -> str:
    async with connect(given) as api:
        path = f"/jobs/{(await api.find(given.name)).id}/explain"
        if given.json:
            return json.dumps(await api.get(path, dict[str, Any]), indent=2)
        return text(await api.get(path, Explanation))


def text(told: Explanation) -> str:
    """An explanation for people."""
    lines = [f"{told.namespace}/{told.name} is {told.phase}: {told.reason}"]
    if told.message:
        lines.append(f"  {told.message}")
    if (place := told.place) is not None:
        lines.append(f'  number {place.position} of {place.of} that wait in queue "{told.queue}"')
    if told.until is not None:
        lines.append(f"  not before {told.until}")
    if (behind := told.behind) is not None:
        lines.append(f"  that job is {_who(behind)}")
    if told.holders:
        what = told.lacking.resource if told.lacking is not None else "the key"
        lines += ["", f"{what} is held by {_counted(told.holders_total, len(told.holders))}:"]
        lines += _columns([[holder.amount, _who(holder), _where(holder)] for holder in told.holders])
    if told.dependencies:
        lines += ["", f"it waits for {_counted(told.dependencies_total, len(told.dependencies))}:"]
        lines += _columns(
            [[each.name, each.phase or "not created yet", f"{each.condition} is asked"] for each in told.dependencies]
        )
    return "\n".join(lines)


def _counted(total: int, named: int) -> str:
    jobs = f"{total} job{'s' if total != 1 else ''}"
    return jobs if total == named else f"{jobs}, among them"


def _who(holder: Behind) -> str:
    return f"{holder.namespace}/{holder.name}" if holder.name is not None else "a job that you may not read"


def _where(holder: Holder) -> str:
    return f'queue "{holder.queue}"' if holder.queue is not None else ""


def _columns(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
