"""docs/lifecycle.md: its tables say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from taskjob.core.deadlines import START_TIMEOUT_SECONDS
from taskjob.core.model import Retry
from taskjob.core.phases import TRANSITIONS, FailureClass, Reason, RetryAction
from taskjob.core.retry import FREE_RETRIES_MAX, judge
from taskjob.resources.taskjob import Retry as RetryOfTheSpec
from taskjob.resources.taskjob import TaskJobSpec

PAGE = (Path(__file__).parents[2] / "docs" / "lifecycle.md").read_text(encoding="utf-8")


def table(first_header: str) -> list[list[str]]:
    """The rows of the table whose first column has that header."""
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


def test_the_phases_and_their_transitions_are_those_of_the_code() -> None:
    told = {row[0]: {word.strip() for word in row[1].split(",") if word.strip()} for row in table("from")}
    assert told == {str(phase): set(map(str, after)) for phase, after in TRANSITIONS.items()}


def test_every_class_of_failure_is_told_with_what_follows_it() -> None:
    told = {row[0]: row[-1] for row in table("class")}
    assert told == {str(failure): str(judge(Retry(), failure).action) for failure in FailureClass}


def test_every_action_is_told() -> None:
    assert [row[0] for row in table("action")] == list(map(str, RetryAction))


def test_the_bounds_are_told() -> None:
    assert f"{FREE_RETRIES_MAX} attempts at most are free" in PAGE
    assert f"({START_TIMEOUT_SECONDS} where nothing is said)" in PAGE


def test_every_timeout_is_told_and_is_a_field() -> None:
    fields = {field.alias for field in TaskJobSpec.model_fields.values()}
    told = [row[0].strip("`") for row in table("field")]
    assert set(told) == {
        alias for alias in fields if alias is not None and alias.endswith(("meoutSeconds", "lineSeconds"))
    }


def test_every_reason_that_a_job_can_end_with_is_told_as_an_event_or_is_its_ordinary_end() -> None:
    told = {word.strip() for row in table("reason") for word in row[0].split(",")}
    assert told <= {*map(str, Reason)}
    ends = {Reason.ATTEMPT_FAILED, Reason.DEADLINE_EXCEEDED, Reason.DEPENDENCY_CYCLE, Reason.DEPENDENCY_NOT_SATISFIED}
    ends |= {Reason.CANCELLED_BY_USER, Reason.OUTCOME_UNKNOWN, Reason.POD_REFUSED, Reason.QUEUE_TIMEOUT_EXCEEDED}
    assert set(map(str, ends)) <= told


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_the_examples_are_valid(block: str) -> None:
    RetryOfTheSpec.model_validate(yaml.safe_load(block)["retry"])
