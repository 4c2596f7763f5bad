"""docs/lifecycle.md: its tables say what the code does."""

from __future__ import annotations

import re

import pytest
import yaml

from lifecycle_page import CHARGED, HAPPENS, MAY_BECOME, PAGE, WITHOUT_A_RULE, column, table
from taskjob.core.deadlines import START_TIMEOUT_SECONDS
from taskjob.core.model import Retry
from taskjob.core.phases import TRANSITIONS, FailureClass, Phase, Reason, RetryAction
from taskjob.core.retry import FREE_RETRIES_MAX, judge
from taskjob.resources.taskjob import Retry as RetryOfTheSpec
from taskjob.resources.taskjob import TaskJobSpec


def test_the_phases_and_their_transitions_are_those_of_the_code() -> None:
    assert {phase: set(after) for phase, after in TRANSITIONS.items()} == MAY_BECOME


def test_what_happens_leads_only_where_the_table_of_phases_does() -> None:
    for event, cells in HAPPENS.items():
        for at, cell in enumerate(cells):
            if cell is not None and cell.phase is not Phase.PENDING:
                assert any(cell.phase in MAY_BECOME[phase] for phase in Phase if column(phase) == at), event


def test_every_way_of_the_table_of_phases_is_told_with_what_leads_there() -> None:
    ways = {(column(phase), after) for phase, phases in MAY_BECOME.items() for after in phases}
    told = {(at, cell.phase) for cells in HAPPENS.values() for at, cell in enumerate(cells) if cell is not None}
    assert ways <= told


def test_every_class_of_failure_is_told_with_what_follows_it() -> None:
    assert {failure: judge(Retry(), failure).action for failure in FailureClass} == WITHOUT_A_RULE


def test_every_action_is_told() -> None:
    assert set(CHARGED) == set(RetryAction)


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
