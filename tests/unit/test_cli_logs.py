"""`taskjob logs -f` against a server that answers as the API does: attempt after attempt, and always to an end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from cli_api import Answer, Api, Silence, a_job, an_event, forget_settings, taskjob
from taskjob.cli import connection, logs
from taskjob.cli.command import run

JOB, LOGS = "/jobs/uid-train", "/jobs/uid-train/logs"
NO_LOG: Answer = (404, {"detail": "attempt 1 has no log: its container never started"})


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    forget_settings(monkeypatch, tmp_path)
    monkeypatch.setattr(logs, "_AGAIN_SECONDS", 0)


def now(attempt: int, phase: str, reason: str = "") -> Answer:
    return 200, a_job("train", attempt=attempt, phase=phase, reason=reason, message="")


def a_log(text: bytes, job_phase: str) -> Answer:
    return 200, an_event("message", text, "1") + an_event("end", {"jobPhase": job_phase})


def an_api(*states: Answer, attempts: dict[int, Answer]) -> Api:
    """One that shows the job in these states, one at each look and then the last, with these logs."""
    found = (200, {"items": [states[0][1]], "next": None})
    by_attempt = {(LOGS, str(attempt)): log for attempt, log in attempts.items()}
    return Api({"/jobs/": found, JOB: states[-1]}, by_attempt, {JOB: list(states)})


async def ended(command: Awaitable[int]) -> int:
    """Its exit code: a command that would go on for ever fails the test instead."""
    return await asyncio.wait_for(command, 20)


async def test_attempts_are_followed_one_after_the_other(capfdbinary: Any) -> None:
    api = an_api(
        now(1, "Running"),
        now(1, "Pending", "BackingOff"),
        now(2, "Running"),
        attempts={1: a_log(b"one\n", "Pending"), 2: a_log(b"two\n", "Succeeded")},
    )
    assert await ended(taskjob(api, "logs", "-f", "train", "--tail", "5")) == 0
    said = capfdbinary.readouterr()
    assert (said.out, said.err) == (b"one\ntwo\n", b"taskjob: train waits: BackingOff\n")
    assert [request.query.get("tail") for request in api.asked if request.path == LOGS] == ["5", None]


async def test_a_job_that_is_cancelled_before_its_next_attempt_is_not_followed_for_ever(capfdbinary: Any) -> None:
    api = an_api(
        now(1, "Running"),
        now(1, "Pending", "BackingOff"),
        now(1, "Cancelled", "CancelRequested"),
        attempts={1: a_log(b"one\n", "Pending")},
    )
    assert await ended(taskjob(api, "logs", "-f", "train")) == 0
    assert capfdbinary.readouterr().out == b"one\n"


async def test_an_attempt_that_an_ended_job_never_had_is_not_waited_for(capfdbinary: Any) -> None:
    api = an_api(now(2, "Failed"), attempts={})
    assert await ended(taskjob(api, "logs", "-f", "train", "--attempt", "5")) == 1
    assert capfdbinary.readouterr().err == b"taskjob: train has no attempt 5: its last one is 2\n"


async def test_an_ended_job_that_never_started_is_said_to_be_so(capfdbinary: Any) -> None:
    api = an_api(now(0, "Cancelled", "CancelRequested"), attempts={})
    assert await ended(taskjob(api, "logs", "-f", "train")) == 1
    assert capfdbinary.readouterr().err == b"taskjob: train never started: Cancelled, CancelRequested\n"


@pytest.mark.parametrize("attempt", ["0", "-1", "x"])
def test_attempts_are_counted_from_one(attempt: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        run(["logs", "-f", "train", f"--attempt={attempt}"])
    assert refused.value.code == 2
    assert "argument --attempt" in capsys.readouterr().err


async def test_an_attempt_without_a_log_is_passed_over_for_the_next_one(capfdbinary: Any) -> None:
    api = an_api(
        now(1, "Starting"),
        now(1, "Starting"),
        now(2, "Running"),
        attempts={1: NO_LOG, 2: a_log(b"two\n", "Succeeded")},
    )
    assert await ended(taskjob(api, "logs", "-f", "train")) == 0
    said = capfdbinary.readouterr()
    assert (said.out, said.err) == (b"two\n", b"taskjob: attempt 1 has no log: its container never started\n")


async def test_an_attempt_without_a_log_is_an_error_where_it_is_the_one_that_was_asked_for(capfdbinary: Any) -> None:
    api = an_api(now(2, "Running"), attempts={1: NO_LOG})
    assert await ended(taskjob(api, "logs", "-f", "train", "--attempt", "1")) == 1
    assert capfdbinary.readouterr().err == b"taskjob: attempt 1 has no log: its container never started\n"


async def test_the_log_of_a_job_that_ended_between_two_looks_is_shown(capfdbinary: Any) -> None:
    """No log yet, and at the next look the job has ended: by then there is one."""
    api = an_api(now(1, "Starting"), now(1, "Succeeded"), attempts={1: a_log(b"one\n", "Succeeded")})
    api.turns[LOGS] = [NO_LOG]
    assert await ended(taskjob(api, "logs", "-f", "train")) == 0
    assert capfdbinary.readouterr().out == b"one\n"


async def test_a_connection_on_which_nothing_comes_any_more_is_left_for_another(
    capfdbinary: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_SILENCE_SECONDS", 1.5)
    api = an_api(now(1, "Running"), attempts={1: (200, an_event("end", {"jobPhase": "Succeeded"}))})
    api.turns[LOGS] = [(200, Silence(an_event("message", b"one\n", "7")))]
    assert await ended(taskjob(api, "logs", "-f", "train")) == 0
    assert capfdbinary.readouterr().out == b"one\n"
    asked = [request.headers.get("Last-Event-ID") for request in api.asked if request.path == LOGS]
    assert asked == [None, "7"]


async def test_a_log_of_which_nothing_had_come_when_the_api_left_is_followed_on(
    capfdbinary: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_SILENCE_SECONDS", 1.5)
    api = an_api(now(1, "Running"), attempts={1: a_log(b"one\n", "Succeeded")})
    api.turns[LOGS] = [(200, Silence(": still here\n\n"))]
    assert await ended(taskjob(api, "logs", "-f", "train")) == 0
    assert capfdbinary.readouterr().out == b"one\n"


async def test_a_log_that_is_refused_at_once_is_not_asked_for_again(capfdbinary: Any) -> None:
    api = an_api(now(1, "Running"), attempts={1: (403, {"detail": "alice may not read logs"})})
    assert await ended(taskjob(api, "logs", "-f", "train")) == 1
    assert capfdbinary.readouterr().err == b"taskjob: alice may not read logs\n"
    assert len([request for request in api.asked if request.path == LOGS]) == 1
