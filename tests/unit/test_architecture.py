"""What docs/architecture.md draws is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from taskjob.core.phases import TERMINAL, TRANSITIONS, Phase

DOCUMENT = Path(__file__).parents[2] / "docs" / "architecture.md"


def section() -> str:
    text = DOCUMENT.read_text(encoding="utf-8")
    found = re.search(r"^## The life of a job\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None, "docs/architecture.md has no section `## The life of a job`"
    return found.group(1)


def arrows() -> set[tuple[str, str]]:
    found = re.search(r"```mermaid\nstateDiagram-v2\n(.*?)```", section(), re.DOTALL)
    assert found is not None, "the section has no mermaid state diagram"
    lines = [line.strip() for line in found.group(1).splitlines() if line.strip()]
    pairs = [re.fullmatch(r"(\S+) --> (\S+?)(?:: .+)?", line) for line in lines]
    assert None not in pairs, f"not an arrow: {[line for line, pair in zip(lines, pairs, strict=True) if pair is None]}"
    return {(pair.group(1), pair.group(2)) for pair in pairs if pair is not None}


def test_the_state_diagram_shows_exactly_the_legal_transitions() -> None:
    drawn = {(before, after) for before, after in arrows() if "[*]" not in (before, after)}
    legal = {(str(before), str(after)) for before, afters in TRANSITIONS.items() for after in afters}
    assert drawn == legal


def test_the_state_diagram_begins_in_pending_and_ends_in_the_terminal_phases() -> None:
    assert {after for before, after in arrows() if before == "[*]"} == {Phase.PENDING}
    assert {before for before, after in arrows() if after == "[*]"} == set(TERMINAL)


def test_out_of_a_terminal_phase_leads_a_rerun_alone() -> None:
    assert {phase for phase, after in TRANSITIONS.items() if after == {Phase.PENDING}} == set(TERMINAL)


def test_every_module_of_the_core_stands_beside_its_question() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    table = text.partition("## The core, by its questions")[2].partition("\n## ")[0]
    named = re.findall(r"`([a-z]+)`", table.replace("`core`", ""))
    there = [path.stem for path in (DOCUMENT.parents[1] / "operator/taskjob/core").glob("[a-z]*.py")]
    assert sorted(named) == sorted(there), "the table of docs/architecture.md tells of each module of the core, once"
