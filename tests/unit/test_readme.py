"""What README and the other pages tell people to type, open or apply has to be there."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from taskjob.resources.taskjob import TaskJob
from taskjob.resources.taskqueue import TaskQueue
from taskjob_api.bodies import submission

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#]*)#?([^)]*)\)")
_CODE = re.compile(r"`([^`\n]+)`")


def _fences(page: Path, language: str) -> Iterator[str]:
    return (body for found, body in _FENCE.findall(page.read_text()) if found == language)


def _make_targets() -> set[str]:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^  ([a-z0-9-]+)  +\S", shown, re.MULTILINE))


def _commands() -> list[Any]:
    """Each line of a `console` fence, and each `make ...` in running text, with its page."""
    return [
        pytest.param(command, id=f"{page.name}: {command}")
        for page in PAGES
        for command in dict.fromkeys(
            [
                *(line for body in _fences(page, "console") for line in body.splitlines()),
                *(code for code in _CODE.findall(page.read_text()) if re.fullmatch(r"make [a-z].*", code)),
            ]
        )
    ]


@pytest.fixture(scope="module")
def make_targets() -> set[str]:
    return _make_targets()


@pytest.mark.parametrize("command", _commands())
def test_what_a_page_says_to_type_is_a_target_that_make_help_lists(command: str, make_targets: set[str]) -> None:
    program, target, *rest = command.split(maxsplit=2)
    assert program == "make", "a console fence has make's targets only; use another language for other commands"
    assert target in make_targets
    if rest:
        variable = rest[0].partition("=")[0]
        assert re.search(rf"^{variable} \?=|\$\({variable}\)", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_make_help_lists_every_target() -> None:
    declared = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    targets = {target for line in declared for target in line.split()}
    assert targets - _make_targets() == {"go"}, "every target but the internal one needs a ## sentence"


def _anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page: Path) -> None:
    missing = []
    for link, anchor in _LINK.findall(page.read_text()):
        there = page.parent / link if link else page
        if "://" not in link and not (there.exists() and (not anchor or anchor in _anchors(there))):
            missing.append(f"{link}#{anchor}")
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_is_named_exists(page: Path) -> None:
    top = {place.name for place in ROOT.iterdir() if not place.name.startswith(".")}
    named = [code for code in _CODE.findall(page.read_text()) if re.fullmatch(r"[\w.-]+/[\w./-]*", code)]
    missing = [path for path in named if path.split("/")[0] in top and not (ROOT / path).exists()]
    assert not missing


def test_the_manifests_of_the_readme_are_valid() -> None:
    manifests = [made for body in _fences(ROOT / "README.md", "yaml") for made in yaml.safe_load_all(body)]
    kinds = {"TaskJob": TaskJob, "TaskQueue": TaskQueue}
    assert {made["kind"] for made in manifests} == set(kinds)
    for made in manifests:
        kinds[made["kind"]].model_validate(made)


def test_the_body_of_the_readmes_post_is_one_that_the_api_takes() -> None:
    (text,) = _fences(ROOT / "README.md", "sh")
    bodies = re.findall(r"-d '(\{.*?\})'", text, re.DOTALL)
    assert bodies
    for body in bodies:
        assert submission(json.loads(body)).manifest["spec"]["image"]


def test_ci_types_what_the_readme_says() -> None:
    typed = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line.startswith("make ")]
    assert "make test" in typed
    assert "make test" in "".join(_fences(ROOT / "README.md", "console")).splitlines()
