"""The `taskjob` command against a server that answers as the API does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli_api import Api, a_job, forget_settings, taskjob
from taskjob.cli.command import run
from taskjob.simulate.trace import parse


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_settings(monkeypatch, tmp_path)


def a_kubeconfig(path: Path, **user: str) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "one", "user": "me", "namespace": "team-a"}}],
        "clusters": [{"name": "one", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "me", "user": user}],
    }
    path.write_text(json.dumps(config))
    return path


def an_explanation(**fields: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "place": None,
        "lacking": None,
        "behind": None,
        "holders": [],
        "holdersTotal": 0,
        "until": None,
    }
    return {**a_job("train"), "queue": "gpu", **known, "dependencies": [], "dependenciesTotal": 0, **fields}


JOBS = {
    "/jobs/": (200, {"items": [a_job("train-2"), a_job("train")], "next": None}),
    "/jobs/uid-train/explain": (200, an_explanation()),
}


async def test_explain_finds_the_job_of_exactly_that_name(capsys: pytest.CaptureFixture[str]) -> None:
    api = Api(JOBS)
    assert await taskjob(api, "explain", "train", "-n", "team-a") == 0
    assert capsys.readouterr().out == "team-a/train is Pending: WaitingForQuota\n  needs cpu 4\n"
    assert dict(api.asked[0].query) == {"namespace": "team-a", "name": "train", "limit": "500"}


async def test_explain_shows_place_and_holders(capsys: pytest.CaptureFixture[str]) -> None:
    holders = [
        {"namespace": "team-a", "name": "large", "queue": "gpu", "amount": "10"},
        {"namespace": None, "name": None, "queue": None, "amount": "2"},
    ]
    lacking = {"resource": "cpu", "asked": "4", "available": "0", "limit": "20"}
    told = an_explanation(place={"position": 3, "of": 17}, lacking=lacking, holders=holders, holdersTotal=12)
    assert await taskjob(Api(JOBS | {"/jobs/uid-train/explain": (200, told)}), "explain", "train") == 0
    assert capsys.readouterr().out.splitlines() == [
        "team-a/train is Pending: WaitingForQuota",
        "  needs cpu 4",
        '  number 3 of 17 that wait in queue "gpu"',
        "",
        "cpu is held by 12 jobs, among them:",
        '  10  team-a/large                 queue "gpu"',
        "  2   a job that you may not read",
    ]


async def test_explain_shows_dependencies_with_their_phases(capsys: pytest.CaptureFixture[str]) -> None:
    waiting = [
        {"name": "extract", "condition": "Succeeded", "phase": "Running"},
        {"name": "x", "condition": "Finished", "phase": None},
    ]
    told = an_explanation(dependencies=waiting, dependenciesTotal=2, until="2026-01-01T12:00:00Z")
    assert await taskjob(Api(JOBS | {"/jobs/uid-train/explain": (200, told)}), "explain", "train") == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "  not before 2026-01-01T12:00:00Z",
        "",
        "it waits for 2 jobs:",
        "  extract  Running          Succeeded is asked",
        "  x        not created yet  Finished is asked",
    ]


async def test_explain_passes_on_why_nobody_can_say(capsys: pytest.CaptureFixture[str]) -> None:
    away = {"/jobs/uid-train/explain": (503, {"detail": "no operator that leads can be asked: standby: nobody"})}
    assert await taskjob(Api(JOBS | away), "explain", "train") == 1
    assert capsys.readouterr().err == "taskjob: no operator that leads can be asked: standby: nobody\n"


async def test_explain_prints_what_the_api_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert await taskjob(Api(JOBS), "explain", "train", "--json") == 0
    assert json.loads(capsys.readouterr().out) == an_explanation()


async def test_a_name_is_looked_for_on_further_pages(capsys: pytest.CaptureFixture[str]) -> None:
    api = Api(JOBS | {"/jobs/": (200, {"items": [a_job("train-2")], "next": "more"})})
    assert await taskjob(api, "explain", "train") == 0
    assert capsys.readouterr().out.startswith("team-a/train ")


async def test_a_job_that_is_not_there_is_said_to_be_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert await taskjob(Api({"/jobs/": (200, {"items": [], "next": None})}), "explain", "train") == 1
    assert capsys.readouterr().err == 'taskjob: there is no job "train" in namespace "default" that you may read\n'


async def test_the_kubeconfig_gives_token_and_namespace(tmp_path: Path) -> None:
    api = Api(JOBS)
    assert await taskjob(api, "explain", "train", "--kubeconfig", str(a_kubeconfig(tmp_path / "c", token="t0k"))) == 0
    assert api.asked[0].headers["Authorization"] == "Bearer t0k"
    assert api.asked[0].query["namespace"] == "team-a"


async def test_the_variable_goes_before_the_token_of_the_kubeconfig(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Api(JOBS)
    monkeypatch.setenv("KUBECONFIG", str(a_kubeconfig(tmp_path / "c", token="t0k")))
    monkeypatch.setenv("TASKJOBS_TOKEN", "given")
    assert await taskjob(api, "explain", "train") == 0
    assert api.asked[0].headers["Authorization"] == "Bearer given"


async def test_a_kubeconfigs_token_goes_nowhere_in_clear_text(tmp_path: Path) -> None:
    from argparse import Namespace

    from taskjob.cli.connection import Place

    config = a_kubeconfig(tmp_path / "c", token="t0k")

    async def token(url: str) -> str | None:
        return (await Place.find(Namespace(api=url, kubeconfig=config, namespace=None))).token

    assert await token("http://taskjobs.example.org") is None
    assert await token("https://taskjobs.example.org/") == "t0k"
    assert await token("http://localhost:8080") == "t0k"


async def test_who_sends_no_token_is_told_how_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    api = Api({"/jobs/": (401, {"detail": "send a bearer token"})})
    assert await taskjob(api, "explain", "train", "--kubeconfig", str(a_kubeconfig(tmp_path / "c"))) == 1
    said = capsys.readouterr().err
    assert said.startswith("taskjob: send a bearer token. No token was sent: set TASKJOBS_TOKEN")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--api", "taskjobs:8080"], "taskjobs:8080 is no address of an API"),
        (["--api", "http://127.0.0.1:1"], "the API at http://127.0.0.1:1 cannot be reached"),
        (["--kubeconfig", "/nowhere/config"], "cannot read kubeconfig /nowhere/config"),
    ],
)
def test_what_cannot_be_reached_is_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "train", *arguments]) == 1
    assert capsys.readouterr().err.startswith(f"taskjob: {said}")


async def test_another_server_is_not_taken_for_the_api(capsys: pytest.CaptureFixture[str]) -> None:
    assert await taskjob(Api({"/jobs/": (200, "<html>")}), "explain", "train") == 1
    assert "does not answer as the API of Taskjobs would" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["explain"], ["nothing"]])
def test_a_command_line_that_is_not_understood_ends_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    assert ended.value.code == 2
    assert "usage: taskjob" in capsys.readouterr().err


async def test_a_trace_is_made_of_all_pages(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    times = {"startedAt": "2026-01-01T12:00:10Z", "finishedAt": "2026-01-01T12:00:40Z"}
    api = Api({"/jobs/": (200, {"items": [a_job("done", phase="Succeeded", **times)], "next": "more"})})
    target = tmp_path / "trace.yaml"
    assert await taskjob(api, "trace", "export", "--since", "2d", "--queue", "gpu", "-o", str(target)) == 0
    assert [request.query.get("cursor") for request in api.asked] == [None, "more"]
    assert (api.asked[0].query["queue"], "namespace" in api.asked[0].query) == ("gpu", False)
    assert capsys.readouterr().err == "taskjob: left out, since they have not ended: 1\n"
    (arrival,) = parse(target.read_text()).arrivals
    assert (arrival.job.name, arrival.runs) == ("done", 30)


@pytest.mark.parametrize("following", ["", "itself"])
async def test_a_page_that_names_itself_as_the_next_is_no_answer_of_the_api(
    following: str, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (200, {"items": [a_job("train-2")], "next": following})
    assert await taskjob(Api({"/jobs/": page}), "explain", "train") == 1
    assert "a page names itself as the next one" in capsys.readouterr().err
