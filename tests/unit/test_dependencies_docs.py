"""docs/dependencies.md: its table is what happens."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from builders import a_job, a_queue
from taskjob.core.dependencies import Edge, edge
from taskjob.core.phases import TERMINAL, Condition, OnDependencyFailure, Phase, Reason
from world import World

DOCUMENT = Path(__file__).parents[2] / "docs" / "dependencies.md"


def rows() -> list[tuple[str, Condition, str]]:
    """Each cell: what became of the dependency, the condition, the word."""
    text = DOCUMENT.read_text(encoding="utf-8")
    found = re.search(r"^## What satisfies what\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    table = [
        [cell.strip(" `") for cell in line.strip("|").split("|")] for line in found[1].splitlines() if line[:1] == "|"
    ]
    header, _, *body = table
    return [
        (story, Condition(name), word) for story, *words in body for name, word in zip(header[1:], words, strict=True)
    ]


def end(world: World, phase: Phase) -> None:
    world.start("dep")
    if phase is Phase.SUCCEEDED:
        world.finish("dep")
    else:
        world.fail("dep")


def rerun(world: World) -> None:
    world.edit("dep", rerun=1)
    world.run()


def ended(*phases: Phase) -> Callable[[World], None]:
    """Runs, one after another, that end so."""

    def tell(world: World) -> None:
        world.submit(a_job("dep"))
        world.run()
        end(world, phases[0])
        if phases[1:]:
            rerun(world)
            end(world, phases[1])

    return tell


def retried(world: World) -> None:
    world.submit(a_job("dep").retrying(1))
    world.run()
    world.fail("dep")


def cancelled(world: World) -> None:
    world.submit(a_job("dep").cancelled())
    world.run()


def skipped(world: World) -> None:
    world.submit(a_job("other"), a_job("dep").after("other"))
    world.run()
    world.fail("other")


def in_a_cycle(world: World) -> None:
    world.submit(a_job("dep").after("other"), a_job("other").after("dep"))
    world.run()


def deleted(world: World) -> None:
    ended(Phase.SUCCEEDED)(world)
    world.delete("dep")
    world.run()


def made_anew(world: World) -> None:
    ended(Phase.FAILED)(world)
    world.delete("dep")
    world.submit(a_job("dep").with_uid("another"))
    world.run()


def deleted_while_it_ran(world: World) -> None:
    world.submit(a_job("dep"))
    world.run()
    world.start("dep")
    world.delete("dep", with_pods=True)
    world.run()


def to_run_again(world: World) -> None:
    world.submit(a_job("dep"))
    world.run()
    world.edit("dep", rerun=1)
    world.fail("dep")


def runs(world: World) -> None:
    world.submit(a_job("dep"))
    world.run()
    world.start("dep")


STORIES: dict[str, Callable[[World], None]] = {
    "does not exist": lambda _: None,
    "has not started": lambda world: world.submit(a_job("dep").suspended()),
    "runs": runs,
    "failed, and will be retried": retried,
    "ended Succeeded": ended(Phase.SUCCEEDED),
    "ended Failed": ended(Phase.FAILED),
    "ended Cancelled": cancelled,
    "ended Skipped": skipped,
    "ended Failed, for it was in a cycle": in_a_cycle,
    "ended Succeeded, and was deleted": deleted,
    "ended Failed, was deleted and made anew": made_anew,
    "was deleted while it ran": deleted_while_it_ran,
    "ended Failed, and a rerun is asked for": to_run_again,
    "ended Failed, then its rerun Succeeded": ended(Phase.FAILED, Phase.SUCCEEDED),
    "ended Succeeded, then its rerun Failed": ended(Phase.SUCCEEDED, Phase.FAILED),
}
EACH = [pytest.param(*row, id=f"{row[0]}-{row[1]}") for row in rows()]


def the_word(world: World) -> str:
    """What the dependency is worth to the job `it`, which waits in vain by choice."""
    status = world.status("it")
    if "it" in world.names_launched():
        return "met"
    assert status.reason is Reason.WAITING_FOR_DEPENDENCIES
    return "never" if "ended" in status.message else "waits"


@pytest.mark.parametrize(("story", "condition", "word"), EACH)
@pytest.mark.parametrize("first", ["dependency", "dependent"])
def test_the_table_says_what_happens(story: str, condition: Condition, word: str, first: str) -> None:
    world = World()
    world.put_queue(a_queue())
    it = a_job("it").after("dep", condition=condition).on_dependency_failure(OnDependencyFailure.WAIT)
    if first == "dependent":
        # It must not start on what comes before the last sentence of the story.
        world.submit(it.suspended())
        world.run()
    STORIES[story](world)
    if first == "dependent":
        world.edit("it", suspend=False)
    else:
        world.submit(it)
    world.run()
    assert the_word(world) == word


def test_every_story_is_in_the_table() -> None:
    assert set(STORIES) == {story for story, _, _ in rows()}


def test_the_rows_of_what_has_ended_are_what_edges_are_worth() -> None:
    words = {"met": Edge.MET, "never": Edge.IMPOSSIBLE, "waits": Edge.WAITING}
    told = {(story, condition): words[word] for story, condition, word in rows() if story.startswith("ended ")}
    assert {(phase, c): told[f"ended {phase}", c] for phase in TERMINAL for c in Condition} == {
        (phase, c): edge(c, phase) for phase in TERMINAL for c in Condition
    }


def test_what_has_not_ended_or_does_not_exist_is_waited_for() -> None:
    for phase in (None, *(set(Phase) - TERMINAL)):
        assert {edge(condition, phase) for condition in Condition} == {Edge.WAITING}
