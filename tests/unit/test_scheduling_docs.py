"""docs/scheduling.md is true: each of its traces comes to what stands below it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from taskjob.simulate.report import jobs_text
from taskjob.simulate.trace import parse
from taskjob.simulate.virtual import VirtualCluster

PAGE = Path(__file__).parents[2] / "docs" / "scheduling.md"
_EXAMPLE = re.compile(r"^```yaml\n(.*?)^```\n(?:```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


def _examples() -> list[tuple[str, str, str]]:
    """By section: the trace, and what it is said to come to."""
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    return [
        (section.partition("\n")[0], trace, outcome)
        for section in sections
        for trace, outcome in _EXAMPLE.findall(section)
    ]


@pytest.mark.parametrize(("section", "trace", "outcome"), _examples(), ids=lambda each: str(each).partition("\n")[0])
def test_a_rule_is_as_its_example_shows(section: str, trace: str, outcome: str) -> None:
    assert jobs_text(VirtualCluster(parse(trace)).run()) == outcome.rstrip("\n"), f"section {section}"


def test_every_section_but_the_first_has_an_example() -> None:
    sections = re.findall(r"^## (.+)$", PAGE.read_text(), re.MULTILINE)
    assert set(sections) - {"Traces"} == {section for section, _, _ in _examples()}
