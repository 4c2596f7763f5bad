"""History as it stands in PostgreSQL, read with plain SQL: what the recorder is judged by."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

LEGAL: Final[dict[str, frozenset[str]]] = {
    "": frozenset({"Pending"}),
    "Pending": frozenset({"Starting", "Failed", "Cancelled", "Skipped"}),
    "Starting": frozenset({"Running", "Succeeded", "Failed", "Cancelled", "Pending"}),
    "Running": frozenset({"Succeeded", "Failed", "Cancelled", "Pending"}),
    **dict.fromkeys(("Succeeded", "Failed", "Cancelled", "Skipped"), frozenset({"Pending"})),  # a rerun
}
"""Which phase may follow which, written down anew: the judge does not share the operator's code."""


@dataclass(slots=True)
class Told:
    """What history holds of one job."""

    job: dict[str, Any]
    transitions: list[dict[str, Any]] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    logs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def phases(self) -> list[str]:
        """The phases that it went through, in order."""
        return [row["to_phase"] for row in self.transitions]

    @property
    def ended(self) -> bool:
        """Whether history knows its end; logs come by a way of their own, before it or after."""
        return self.job["finished_at"] is not None

    def faults(self) -> list[str]:
        """What is wrong with the story in itself: gaps, doubles, leaps; empty if nothing is."""
        wrong = []
        numbers = [row["n"] for row in self.transitions]
        if numbers != list(range(len(numbers))):
            wrong.append(f"transitions are numbered {numbers}")
        before = ""
        for row in self.transitions:
            if row["from_phase"] != before:
                wrong.append(f"n={row['n']} goes from {row['from_phase']!r}, but the job was {before!r}")
            if row["to_phase"] not in LEGAL.get(row["from_phase"], frozenset()):
                wrong.append(f"n={row['n']}: {row['from_phase']!r} -> {row['to_phase']!r} is no legal transition")
            before = row["to_phase"]
        if self.job["phase"] != before:
            wrong.append(f"its row says {self.job['phase']}, its last transition {before}")
        kept = [(row["run"], row["attempt"]) for row in self.attempts]
        for run in {run for run, _ in kept}:
            numbers = [attempt for of, attempt in kept if of == run]
            if numbers != list(range(1, len(numbers) + 1)):
                wrong.append(f"attempts of run {run} are numbered {numbers}")
        launched = [(row["run"], row["attempt"]) for row in self.transitions if row["to_phase"] == "Starting"]
        if launched != kept:
            wrong.append(f"launched were attempts {launched}, kept are {kept}, as (run, attempt)")
        return wrong


def read_history(url: str, namespace: str | None = None) -> dict[str, Told]:
    """History of the jobs of a namespace (of all), by name; by name and uid where a name was used twice."""
    return asyncio.run(_read(url, namespace))


async def _read(url: str, namespace: str | None) -> dict[str, Told]:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        if await connection.fetchval("SELECT to_regclass('jobs')") is None:
            return {}
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            jobs = await connection.fetch(
                "SELECT * FROM jobs WHERE $1::text IS NULL OR namespace = $1 ORDER BY created_at, uid", namespace
            )
            rows = {
                table: await connection.fetch(f"SELECT * FROM {table} ORDER BY {order}")  # noqa: S608 - our own words
                for table, order in (
                    ("transitions", "uid, n, seq"),
                    ("attempts", "uid, run, member, attempt"),
                    ("logs", "uid, run, member, attempt, container"),
                )
            }
    finally:
        await connection.close()
    by_uid = {row["uid"]: Told(dict(row)) for row in jobs}
    for table, found in rows.items():
        for row in found:
            if row["uid"] in by_uid:
                getattr(by_uid[row["uid"]], table).append(dict(row))
    names: dict[str, list[Told]] = defaultdict(list)
    for told in by_uid.values():
        names[told.job["name"]].append(told)
    return {
        (name if len(all_told) == 1 else f"{name}/{told.job['uid']}"): told
        for name, all_told in names.items()
        for told in all_told
    }


def wait_history(
    url: str, condition: Callable[[dict[str, Told]], bool], seconds: float, what: str, namespace: str | None = None
) -> dict[str, Told]:
    """Read history until the condition holds of it; AssertionError after so many seconds.

    It does not hold as long as history lacks a job of which it speaks.
    """
    give_up_at = time.monotonic() + seconds
    while True:
        told = read_history(url, namespace)
        with contextlib.suppress(KeyError):
            if condition(told):
                return told
        if time.monotonic() > give_up_at:
            shown = "\n".join(f"  {name}: {one.phases} {one.job['reason']}" for name, one in list(told.items())[:40])
            raise AssertionError(f"history did not say within {seconds:.0f} s: {what}\n{shown}")
        time.sleep(0.1)
