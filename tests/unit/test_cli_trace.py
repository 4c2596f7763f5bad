"""Traces of the past: what `taskjob trace export` makes of jobs is a trace that the simulator takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from taskjob.cli.answers import Job
from taskjob.cli.command import run
from taskjob.cli.trace import trace
from taskjob.core.phases import Phase, Reason
from taskjob.simulate.trace import parse
from taskjob.simulate.virtual import VirtualCluster


def at(seconds: float) -> str:
    return f"2026-01-01T12:{int(seconds) // 60:02}:{seconds % 60:06.3f}Z"


def a_job(name: str, created: float, started: float | None, finished: float | None, **fields: Any) -> Job:
    shown = {
        "id": f"{name}-{created}",
        "namespace": "team-a",
        "name": name,
        "queue": "default",
        "priority": "Normal",
        "phase": "Succeeded" if finished is not None else "Running",
        "reason": "",
        "message": "",
        "attempt": 1,
        "dependsOn": [],
        "requests": None,
        "createdAt": at(created),
        "startedAt": at(started) if started is not None else None,
        "finishedAt": at(finished) if finished is not None else None,
        **fields,
    }
    return msgspec.convert(shown, Job)


PAST = [
    a_job("second", 5, 65, 95.5, queue="gpu", priority="High"),
    a_job("first", 0, 1, 61),
    a_job("bad", 6, 7, 17, phase="Failed"),
    a_job("skipped", 7, None, 17, phase="Skipped", dependsOn=[{"name": "bad", "condition": "Succeeded"}]),
    a_job("running", 8, 9, None),
    a_job("first", 70, 71, 72),
]


def test_what_was_is_what_the_simulator_is_told() -> None:
    text, left_out = trace(PAST, {"cpu": "2"}, "team-a")
    told = parse(text)
    assert left_out == 1
    assert [queue.name for queue in told.queues] == ["default", "gpu"]
    assert [(a.at, a.runs, a.job.name, a.job.queue, a.ends) for a in told.arrivals] == [
        (0, 60, "first", "default", Phase.SUCCEEDED),
        (5, 30.5, "second", "gpu", Phase.SUCCEEDED),
        (6, 10, "bad", "default", Phase.FAILED),
        (7, 0, "skipped", "default", Phase.SUCCEEDED),
        (70, 1, "first-again-2", "default", Phase.SUCCEEDED),
    ]
    assert {arrival.job.request for arrival in told.arrivals} == {(("cpu", 2000), ("pods", 1))}
    assert told.arrivals[1].job.priority == 100


def test_what_a_job_requested_is_what_it_asks_for_in_the_trace() -> None:
    known = {"cpu": "500m", "memory": "1Gi", "nvidia.com/gpu": "1"}
    jobs = [a_job("known", 0, 1, 2, requests=known), a_job("frugal", 1, 2, 3, requests={}), a_job("old", 2, 3, 4)]
    text, _ = trace(jobs, {"cpu": "2"}, "team-a")
    unknown = "# What 1 of the jobs requested history does not know; they are taken to ask for "
    assert f"{unknown}cpu=2.\n" in text
    assert f"{unknown}nothing (say --asks cpu=1).\n" in trace(jobs, {}, "team-a")[0]
    assert f"{unknown}cpu=2 memory=1Gi.\n" in trace(jobs, {"cpu": "2", "memory": "1Gi"}, "team-a")[0]
    assert [dict(arrival.job.request) for arrival in parse(text).arrivals] == [
        {"cpu": 500, "memory": 2**30, "nvidia.com/gpu": 1, "pods": 1},
        {"pods": 1},
        {"cpu": 2000, "pods": 1},
    ]


def test_a_quota_can_be_tried_on_it() -> None:
    text, _ = trace(PAST, {"cpu": "2"}, "team-a")
    limited = text.replace("{name: default, spec: {}}", '{name: default, spec: {quota: {cpu: "2"}}}')
    outcome = VirtualCluster(parse(limited)).run()
    assert {r.arrival.job.name: (r.status.phase, r.wait) for r in outcome.records} == {
        "first": (Phase.SUCCEEDED, 0),
        "second": (Phase.SUCCEEDED, 0),
        "bad": (Phase.FAILED, 54),
        "skipped": (Phase.SKIPPED, None),
        "first-again-2": (Phase.SUCCEEDED, 0),
    }
    assert outcome.records[3].status.reason is Reason.DEPENDENCY_NOT_SATISFIED


def test_of_nothing_a_trace_is_made_that_can_be_read() -> None:
    assert parse(trace([], {}, "team-a")[0]).arrivals == ()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--since", "yesterday"], "'yesterday' is not a time such as 90m, 24h or 7d"),
        (["--asks", "cpu"], "'cpu' is not a request such as cpu=1"),
    ],
)
def test_what_is_not_understood_is_said(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["trace", "export", *arguments])
    assert said in capsys.readouterr().err


def test_nothing_is_written_when_nobody_answers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = tmp_path / "trace.yaml"
    assert run(["trace", "export", "--api", "http://127.0.0.1:1", "-o", str(target)]) == 1
    assert "cannot be reached" in capsys.readouterr().err
    assert not target.exists()
