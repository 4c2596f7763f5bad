"""The demo without its cluster: its graph, its scripts, and the count that they are held against."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest
from demo import check
from demo.follow import Board
from demo.graph import EDGES, EXPECTED, GROUP, JOBS, PARTS, TASKS, as_yaml, graph, ground
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskjob.resources.taskjob import TaskJob
from taskjob.resources.taskqueue import TaskQueue

SCRIPTS = ("split", "count", "flaky", "rescue", "merge", "report")
# What words are made of, what separates them, and what is not ASCII or not even UTF-8.
ODD_TEXT = st.lists(st.sampled_from([b"a", b"Z", b"_", b"9", b"1e5", b" ", b"\n", b"\r\n", b".", b"\xc3\xa9", b"\xff"]))


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The scripts of the pods, with a folder of this test in the place of the shared volume."""
    found = {name: importlib.import_module(f"demo.tasks.{name}") for name in SCRIPTS}
    for script in found.values():
        monkeypatch.setattr(script, "SHARED", tmp_path)
    monkeypatch.setenv("TASKJOB_ATTEMPT", "3")
    return found


def _run(scripts: dict[str, ModuleType], capsys: pytest.CaptureFixture[str]) -> str:
    """The report, after every script did its part."""
    scripts["split"].main(PARTS)
    for part in range(1, PARTS + 1):
        scripts["count"].main(part)
    scripts["merge"].main(PARTS)
    scripts["flaky"].main()
    scripts["rescue"].main()
    capsys.readouterr()
    scripts["report"].main()
    return capsys.readouterr().out


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(ODD_TEXT.map(b"".join), max_size=12))
def test_the_pods_and_the_count_outside_agree_on_any_text(
    texts: list[bytes], scripts: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "text"
    for old in folder.glob("*.py"):
        old.unlink()
    folder.mkdir(exist_ok=True)
    for number, text in enumerate(texts):
        (folder / f"{number}.py").write_bytes(text)

    reported = check.read_report(_run(scripts, capsys))

    assert list(check.differences(reported, check.count(folder, shown=15))) == []


def test_a_report_that_is_wrong_in_one_word_is_found_out(
    scripts: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.py").write_text("one two two three\n")
    report = _run(scripts, capsys)
    counted = check.count(tmp_path / "text", shown=15)

    wrong = check.read_report(report.replace("       2  two", "       3  two"))

    assert list(check.differences(wrong, counted)) == ["rank 1: the report says two (3), counted outside is two (2)"]


def test_a_report_without_its_figures_is_refused() -> None:
    with pytest.raises(ValueError, match="words"):
        check.read_report("(its pod is gone, and no log of it was kept)")


def test_the_flaky_script_fails_at_the_first_two_attempts(
    scripts: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    for attempt in ("1", "2"):
        monkeypatch.setenv("TASKJOB_ATTEMPT", attempt)
        with pytest.raises(SystemExit, match=f"attempt {attempt}: the service is away"):
            scripts["flaky"].main()


def test_the_manifests_are_valid_and_stand_in_the_file_as_they_are() -> None:
    manifests = graph()
    assert [made["metadata"]["name"] for made in manifests] == list(JOBS)
    for made in manifests:
        assert TaskJob.model_validate(made).metadata.labels == {"taskjobs.dev/group": GROUP}
    (queue,) = (made for made in ground("any") if made["kind"] == "TaskQueue")
    TaskQueue.model_validate(queue)
    assert as_yaml(manifests).count("kind: TaskJob") == len(JOBS)


def test_the_edges_that_are_judged_are_those_of_the_manifests() -> None:
    manifests = {made["metadata"]["name"]: made["spec"] for made in graph()}
    declared = {(other["name"], name) for name, spec in manifests.items() for other in spec.get("dependsOn", ())}
    assert set(EDGES) == declared


def test_every_job_has_its_script() -> None:
    for made in graph():
        script = made["spec"]["template"]["spec"]["containers"][0]["command"][1]
        assert (TASKS / Path(script).name).exists()


def _told(name: str, phase: str, reason: str = "") -> dict[str, object]:
    return {"name": name, "phase": phase, "reason": reason, "message": "", "attempt": 1}


def test_the_board_is_over_when_every_job_has_ended_as_expected() -> None:
    changes: list[str] = []
    board = Board(EXPECTED, changes.append)
    over = []
    for name, phase in EXPECTED.items():
        board.take(_told(name, phase))
        board.take(_told(name, phase))
        over.append(board.over)
    assert over == [False] * (len(EXPECTED) - 1) + [True]
    assert board.wrong is None
    assert changes == list(EXPECTED)


def test_the_board_is_over_at_once_when_a_job_ends_otherwise() -> None:
    board = Board(EXPECTED, lambda _name: None)
    wrong = []
    for told in (_told("strict", "Failed"), _told("split", "Failed")):
        board.take(told)
        wrong.append(board.wrong)
    assert wrong == [None, "split"]
    assert board.over
