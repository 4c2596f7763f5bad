"""Retries: how many, how soon, and that none begins before the status shows it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from builders import a_job, a_queue, at
from taskjob.core.model import AttemptId, Retry, Uid
from taskjob.core.phases import FailureClass, Phase, Reason
from taskjob.core.retry import backoff_of_refusals, backoff_seconds, jitter_fraction
from world import World


def retry(**fields: Any) -> Retry:
    return replace(Retry(limit=9, initial_seconds=10, factor=2, max_seconds=600, jitter_percent=0), **fields)


def test_backoff_doubles_from_the_initial_and_is_capped() -> None:
    seconds = [backoff_seconds(retry(), n, 0.5) for n in range(1, 10)]
    assert seconds == [10, 20, 40, 80, 160, 320, 600, 600, 600]


def test_factor_one_is_a_constant_backoff() -> None:
    assert {backoff_seconds(retry(factor=1), n, 0) for n in range(1, 50)} == {10}


def test_a_huge_exponent_is_no_harm() -> None:
    assert backoff_seconds(retry(factor=10**9), 10**9, 0) == 600


@given(st.integers(1, 1000), st.floats(0, 1, exclude_max=True), st.integers(0, 100))
def test_jitter_only_adds_and_at_most_its_percentage(n: int, fraction: float, percent: int) -> None:
    plain = backoff_seconds(retry(), n, 0)
    jittered = backoff_seconds(retry(jitter_percent=percent), n, fraction)
    assert plain <= jittered <= plain * (1 + percent / 100) + 1e-9


def test_the_jitter_is_the_attempts_own() -> None:
    one = AttemptId(Uid("u"), 0, 0, 1)
    assert jitter_fraction(one) == jitter_fraction(AttemptId(Uid("u"), 0, 0, 1))
    fractions = {jitter_fraction(AttemptId(Uid("u"), 0, 0, n)) for n in range(100)}
    assert len(fractions) == 100
    assert all(0 <= fraction < 1 for fraction in fractions)


def test_refusals_back_off_from_five_seconds_to_five_minutes() -> None:
    assert [backoff_of_refusals(n) for n in (1, 2, 3, 6, 7, 8, 1000)] == [5, 10, 20, 160, 300, 300, 300]


def test_a_job_without_retries_fails_at_its_first_failure(world: World) -> None:
    world.submit(a_job("a"))
    world.run()
    world.fail("a")
    status = world.status("a")
    assert (status.phase, status.reason, status.exit_code) == (Phase.FAILED, Reason.ATTEMPT_FAILED, 1)
    assert status.message == "attempt 1 failed (ExitCode): it failed"


def test_every_failure_costs_a_retry_and_the_last_ends_the_job(world: World) -> None:
    world.submit(a_job("a").retrying(2, initial_seconds=10))
    world.run()
    for wait in (10, 20):
        world.fail("a")
        assert world.phase("a") is Phase.PENDING
        world.let_pass(wait)  # the second in which it ended does not count
        before = len(world.launched)
        world.let_pass(1)
        assert len(world.launched) == before + 1
    world.fail("a")
    assert (world.phase("a"), world.status("a").retries, world.status("a").attempt) == (Phase.FAILED, 2, 3)
    assert world.status("a").message.endswith(", the last of 3 allowed attempts")


def test_a_job_that_fails_twice_and_succeeds_at_the_third_attempt_succeeded(world: World) -> None:
    world.submit(a_job("a").retrying(5, initial_seconds=1))
    world.run()
    world.fail("a")
    world.let_pass(2)
    world.fail("a", failure=FailureClass.OOM_KILLED)
    world.let_pass(3)
    world.finish("a")
    status = world.status("a")
    assert (status.phase, status.attempt, status.retries, status.message) == (Phase.SUCCEEDED, 3, 2, "")


def test_the_next_attempt_waits_until_the_status_shows_the_retry(world: World) -> None:
    world.submit(a_job("a").retrying(1, initial_seconds=0))
    world.run()
    world.holding = True
    world.fail("a")
    for _ in range(3):
        world.now = at((world.now - at(0)).total_seconds() + 100)
        world.cycle()
    assert len(world.launched) == 1
    world.answer()
    assert [attempt.attempt for attempt in world.launched] == [1, 2]


def test_backing_off_holds_no_quota() -> None:
    world = World()
    world.put_queue(a_queue(quota={"cpu": 1}))
    world.submit(a_job("a").retrying(1, initial_seconds=100), a_job("b").created(1))
    world.run()
    world.fail("a")
    assert world.names_launched() == ["a", "b"]


def test_a_retry_goes_back_to_its_old_place_in_the_queue() -> None:
    world = World()
    world.put_queue(a_queue(quota={"cpu": 1}))
    world.submit(a_job("a").retrying(1, initial_seconds=1), a_job("b").created(1), a_job("c").created(2))
    world.run()
    world.fail("a")
    world.let_pass(2)
    world.finish("b")
    assert world.names_launched() == ["a", "b", "a"]
