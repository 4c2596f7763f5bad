"""The verdict of the soak on courses that are made up: one that never says no proves nothing."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import pytest

from chaos import soak
from chaos.faults import TABLE
from chaos.soak import Course, Sample, judged, lived_through, under_strikes
from chaos.stage import Fault, Stage

RATE = 10.0
SECONDS = 400.0


def a_course(
    *,
    megabytes: float = 0,
    leaks: float = 0,
    descriptors: int = 0,
    lag: float = 0,
    unfinished: int = 0,
    left: int = 0,
    restarts: int = 0,
) -> Course:
    """A flat course, but for what it grew by over its second half, or all the time (`leaks`), and for jobs that did not
    end."""
    course = Course(SECONDS, begun=0.0)
    for name in ("operator", "api"):
        course.samples[name] = [
            Sample(
                at,
                100 + leaks * at / SECONDS + megabytes * (at > SECONDS / 2),
                50 + descriptors * (at > SECONDS / 2),
            )
            for at in range(0, int(SECONDS), 2)
        ]
    course.left_behind, course.restarts = left, [("replica-0", 1)] * restarts
    for number in range(int(RATE * SECONDS)):
        at = number / RATE
        course.seen.created[f"j{number}"] = at
        if number >= unfinished:
            course.seen.finished[f"j{number}"] = at + 1 + lag * (at > SECONDS / 2)
    return course


def missed(course: Course) -> tuple[list[str], dict[str, bool]]:
    lines: list[str] = []
    said = judged(course, RATE, out=lines.append)
    figures = [json.loads(line) for line in lines if line.startswith("{")]
    return said, {each["figure"]: each["met"] for each in figures}


def test_a_flat_course_meets_every_figure() -> None:
    said, met = missed(a_course())
    assert said == []
    assert all(met.values())
    assert len(met) == 9


@pytest.mark.parametrize(
    ("course", "figures"),
    [
        (a_course(megabytes=11), {"soak_operator_rss_ratio", "soak_api_rss_ratio"}),
        (a_course(leaks=25), {"soak_operator_rss_ratio", "soak_api_rss_ratio"}),
        (a_course(descriptors=6), {"soak_operator_descriptors_growth", "soak_api_descriptors_growth"}),
        (a_course(lag=0.3), {"soak_lag_ratio"}),
        (a_course(unfinished=1), {"soak_unfinished"}),
        (a_course(unfinished=int(RATE * SECONDS)), {"soak_unfinished"}),
        (a_course(left=1), {"soak_left_behind"}),
        (a_course(restarts=1), {"soak_restarts"}),
    ],
)
def test_what_grows_or_stays_is_named(course: Course, figures: set[str]) -> None:
    said, met = missed(course)
    assert {name for name, is_met in met.items() if not is_met} == figures
    assert {sentence.partition(" ")[0] for sentence in said} == figures


def test_the_faults_of_a_soak_end_no_process_of_ours() -> None:
    played = {fault.name for fault in lived_through()}
    assert {"requests-lied-about", "watches-cut", "postgres-killed", "kubelets-frozen"} <= played
    assert not {fault.name for fault in TABLE if fault.part in ("operator", "control plane")} & played


def test_faults_strike_in_the_thread_that_waits_since_what_they_start_anew_ends_with_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    struck, threads = threading.Event(), list[int]()

    @contextmanager
    def play(_: Stage) -> Iterator[None]:
        threads.append(threading.get_ident())
        yield
        struck.set()

    monkeypatch.setattr(soak, "BETWEEN_STRIKES", (0.0, 0.0))
    monkeypatch.setattr(soak, "lived_through", lambda: [Fault("a", "b", (0.0, 0.0), play)])
    course, stage = Course(1), cast(Stage, None)

    def load() -> None:
        assert struck.wait(10)
        raise ValueError("the load fails")

    with pytest.raises(ValueError, match="the load fails"):
        under_strikes(stage, random.Random(1), course, load)
    assert set(threads) == {threading.get_ident()}
    assert course.strikes == ["a"] * len(threads)
