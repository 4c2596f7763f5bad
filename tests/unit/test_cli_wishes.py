"""`taskjob cancel`, `suspend`, `resume` and `rerun` against a server that answers as the API does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cli_api import Api, a_job, forget_settings, taskjob
from taskjob.cli.command import run

JOBS = (200, {"items": [a_job("load"), a_job("train")], "next": None})
DONE = (200, a_job("load"))
FINISHED = (409, {"detail": "team-a/train has already finished: Succeeded"})


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_settings(monkeypatch, tmp_path)


def patched(api: Api) -> list[str]:
    return [str(request.rel_url) for request in api.asked if request.method == "PATCH"]


def a_page(*items: dict[str, Any], unchanged: int = 0, following: str | None = None) -> tuple[int, dict[str, Any]]:
    return 200, {"items": list(items), "unchanged": unchanged, "next": following}


def a_member(name: str, problem: str | None = None) -> dict[str, Any]:
    return {"id": name, "namespace": "team-a", "name": name, "phase": "Running", "problem": problem}


@pytest.mark.parametrize(
    ("wish", "said"),
    [("cancel", "is cancelled"), ("suspend", "is suspended"), ("resume", "is resumed"), ("rerun", "runs again")],
)
async def test_each_job_that_is_named_is_told_once(wish: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    api = Api({"/jobs/": JOBS, f"/jobs/uid-load/{wish}": DONE, f"/jobs/uid-train/{wish}": DONE})
    assert await taskjob(api, wish, "load", "train", "load", "-n", "team-a") == 0
    assert patched(api) == [f"/jobs/uid-load/{wish}", f"/jobs/uid-train/{wish}"]
    assert capsys.readouterr().out == f"team-a/load {said}\nteam-a/train {said}\n"


async def test_what_cannot_be_done_of_one_job_is_said_and_the_others_are_done(
    capsys: pytest.CaptureFixture[str],
) -> None:
    api = Api({"/jobs/": JOBS, "/jobs/uid-train/cancel": FINISHED, "/jobs/uid-load/cancel": DONE})
    assert await taskjob(api, "cancel", "train", "nobody", "load", "-n", "team-a") == 1
    said = capsys.readouterr()
    assert said.out == "team-a/load is cancelled\n"
    assert said.err.splitlines() == [
        "taskjob: team-a/train has already finished: Succeeded",
        'taskjob: there is no job "nobody" in namespace "team-a" that you may read',
    ]


async def test_a_group_is_told_page_by_page_and_what_failed_of_it_job_by_job(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = "/jobs/group/nightly/rerun"
    first = a_page(a_member("load"), a_member("train", "you may not"), unchanged=3, following="c/2")
    api = Api({path: first}, then={(path, "c/2"): a_page(a_member("report"), unchanged=1)})
    given = ("--group", "nightly", "--phase", "Failed", "--phase", "Skipped", "-n", "team-a")
    assert await taskjob(api, "rerun", *given) == 1
    query = "namespace=team-a&limit=100&phase=Failed&phase=Skipped"
    assert patched(api) == [f"{path}?{query}", f"{path}?{query}&cursor=c/2"]
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "team-a/load runs again",
        "team-a/report runs again",
        "4 other jobs of group nightly: nothing to do",
    ]
    assert said.err == "taskjob: team-a/train: you may not\n"


async def test_a_group_that_is_not_there_is_said_to_be_so(capsys: pytest.CaptureFixture[str]) -> None:
    api = Api({"/jobs/group/nihgtly/cancel": (404, {"detail": "no TaskJob has the label"})})
    assert await taskjob(api, "cancel", "--group", "nihgtly") == 1
    assert capsys.readouterr().err == "taskjob: no TaskJob has the label\n"


@pytest.mark.parametrize("arguments", [[], ["--group", ""], ["a", "--group", "b"], ["a", "--phase", "Failed"]])
def test_who_is_meant_must_be_clear(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["cancel", *arguments])
    assert ended.value.code == 2
    assert "usage: taskjob cancel" in capsys.readouterr().err
