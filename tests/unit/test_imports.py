"""The import rule where import-linter has no words for it: allow-lists, and calls of the clock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
KOPF_MAY_STAND_IN = {"taskjob.kube.handlers"}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("taskjob", "taskjob_api", include_external_packages=True, cache_dir=None)


def test_core_imports_only_itself_and_the_standard_library(graph: grimp.ImportGraph) -> None:
    core = {"taskjob.core", *graph.find_descendants("taskjob.core")}
    assert len(core) > 10, "the core was found"
    strangers = {
        (module, imported)
        for module in core
        for imported in graph.find_modules_directly_imported_by(module)
        if imported not in core and imported.split(".")[0] not in sys.stdlib_module_names
    }
    assert strangers == set(), "the core is pure: move what needs this to a layer above"


def test_kopf_stands_only_where_it_is_wired(graph: grimp.ImportGraph) -> None:
    if "kopf" not in graph.modules:
        pytest.fail("nobody imports kopf: the operator is built on it")
    elsewhere = graph.find_modules_that_directly_import("kopf") - KOPF_MAY_STAND_IN
    assert elsewhere == set()


def test_resources_import_only_pydantic_and_the_standard_library(graph: grimp.ImportGraph) -> None:
    own = {"taskjob.resources", *graph.find_descendants("taskjob.resources")}
    strangers = {
        (module, imported)
        for module in own
        for imported in graph.find_modules_directly_imported_by(module)
        if imported not in own
        and imported.split(".")[0] not in {*sys.stdlib_module_names, "pydantic", "pydantic_core", "yaml"}
    }
    assert strangers == set()


def test_the_contracts_of_import_linter_are_kept() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_core_never_asks_for_the_time() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "operator/taskjob/core"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "import datetime\nNOW = datetime.datetime.now(datetime.UTC)\n",
        "from datetime import UTC, datetime\n\nNOW = datetime.now(UTC)\n",
        "from datetime import UTC\nfrom datetime import datetime as instant\n\nNOW = instant.now(UTC)\n",
    ],
)
def test_a_clock_in_the_core_would_be_found(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--stdin-filename", "operator/taskjob/core/clock.py", "-"],
        cwd=ROOT,
        input=code,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "TID251" in done.stdout, done.stdout + done.stderr
