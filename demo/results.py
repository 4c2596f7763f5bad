"""What came of the jobs, and whether it is what has to come of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from demo import check
from demo.graph import EDGES, EXPECTED
from demo.stack import DemoError


@dataclass(frozen=True, slots=True)
class Result:
    """A job at its end, as the API tells it, with its log."""

    job: dict[str, Any]
    log: str

    @property
    def last_line(self) -> str:
        """What it said last."""
        return " ".join(next(reversed(self.log.strip().splitlines()), "").split())

    def instant(self, which: str) -> datetime:
        """One of its instants. Raises DemoError when the API does not know it."""
        if self.job[which] is None:
            raise DemoError("history", f"the job {self.job['name']} has no {which}")
        return datetime.fromisoformat(self.job[which])


def summary(results: dict[str, Result]) -> tuple[list[str], list[list[str]]]:
    """A table of the results: its columns and its rows."""
    rows = []
    for name, result in results.items():
        job = result.job
        ran = (result.instant("finishedAt") - result.instant("startedAt")).total_seconds()
        rows.append([name, job["phase"], str(job["attempt"]), f"{ran:.0f} s", result.last_line])
    return ["job", "phase", "attempts", "ran", "said"], rows


def judge(results: dict[str, Result], counted: check.Figures) -> None:
    """Raises DemoError with everything that is not as it must be."""
    wrong = [
        f"{name} ended {result.job['phase']}, not {EXPECTED[name]}: {result.job['message']}\n{result.log}"
        for name, result in results.items()
        if result.job["phase"] != EXPECTED[name]
    ]
    flaky = results["flaky"].job
    if (flaky["attempt"], flaky["retries"]) != (3, 2):
        wrong.append(f"flaky had {flaky['attempt']} attempts and {flaky['retries']} retries, not 3 and 2")
    for first, then in EDGES:
        if results[then].instant("startedAt") < results[first].instant("finishedAt"):
            wrong.append(f"{then} started before {first} had ended")
    try:
        reported = check.read_report(results["report"].log)
        wrong += check.differences(reported, counted)
    except ValueError as error:
        wrong.append(str(error))
    if wrong:
        raise DemoError("the result", "\n".join(wrong))
