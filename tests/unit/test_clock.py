"""The cluster's time, from this machine's uninterrupted clock and the API server's Date headers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from hypothesis import given
from hypothesis import strategies as st

from taskjob.kube.clock import ClusterClock

NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


class Turned:
    """Two clocks that a test turns: this machine's (seconds since it started) and the server's."""

    def __init__(self, wall_is_off_by: float = 0.0) -> None:
        self.elapsed = 100.0
        self.server = NOON
        self.clock = ClusterClock(lambda: self.elapsed, lambda: self.server.timestamp() + wall_is_off_by)

    def pass_by(self, seconds: float) -> None:
        self.elapsed += seconds
        self.server += timedelta(seconds=seconds)

    def ask(self, there: float = 0.001, back: float = 0.001) -> None:
        """A request, and what its answer tells."""
        sent_at = self.elapsed
        self.pass_by(there)
        date = format_datetime(self.server.replace(microsecond=0), usegmt=True)
        self.pass_by(back)
        self.clock.observe(date, sent_at)

    @property
    def off_by(self) -> float:
        return abs((self.clock.now() - self.server).total_seconds())


def test_until_the_server_has_answered_the_machines_own_clock_has_to_do() -> None:
    turned = Turned(wall_is_off_by=3600)
    assert turned.off_by == 3600
    assert turned.clock.uncertainty_seconds is None


def test_one_answer_puts_a_wrong_wall_clock_right_to_half_a_second() -> None:
    turned = Turned(wall_is_off_by=-3600)
    turned.ask()
    assert turned.off_by <= 0.51
    assert turned.clock.uncertainty_seconds is not None
    assert turned.clock.uncertainty_seconds <= 0.51


def test_many_answers_tell_the_offset_to_some_milliseconds() -> None:
    turned = Turned(wall_is_off_by=-5)
    for _ in range(200):
        turned.pass_by(0.0137)
        turned.ask()
    assert turned.off_by < 0.02


def test_it_goes_on_while_nobody_answers() -> None:
    turned = Turned()
    turned.ask()
    before = turned.off_by
    turned.pass_by(3600)
    assert abs(turned.off_by - before) < 1e-6


def test_a_server_whose_clock_was_set_forward_is_followed_at_once() -> None:
    turned = Turned()
    turned.ask()
    turned.server += timedelta(hours=1)
    turned.ask()
    assert turned.off_by <= 0.51


def test_a_server_whose_clock_was_set_back_is_waited_for_at_half_speed() -> None:
    turned = Turned()
    turned.ask()
    before = turned.clock.now()
    turned.server -= timedelta(seconds=10)
    turned.ask()
    assert turned.clock.now() >= before
    turned.pass_by(4)
    assert timedelta(seconds=1.9) <= turned.clock.now() - before <= timedelta(seconds=2.1)
    for _ in range(30):
        turned.pass_by(1)
        turned.clock.now()
    assert turned.off_by <= 0.51


def test_a_header_that_is_no_date_changes_nothing() -> None:
    turned = Turned()
    turned.ask()
    before = turned.off_by
    for date in (None, "", "soon"):
        turned.clock.observe(date, turned.elapsed)
    assert turned.off_by == before


@given(
    st.lists(st.tuples(st.floats(0, 20), st.floats(0, 5), st.floats(0, 5), st.floats(-30, 30)), min_size=1, max_size=30)
)
def test_it_never_runs_backwards_whatever_the_servers_say(steps: list[tuple[float, float, float, float]]) -> None:
    turned = Turned()
    seen = [turned.clock.now()]
    for pause, there, back, jump in steps:
        turned.pass_by(pause)
        turned.server += timedelta(seconds=jump)
        seen.append(turned.clock.now())
        turned.ask(there, back)
        seen.append(turned.clock.now())
    assert seen == sorted(seen)


@given(st.lists(st.tuples(st.floats(0.01, 20), st.floats(0, 3), st.floats(0, 3)), min_size=1, max_size=30))
def test_the_truth_is_always_within_the_uncertainty(steps: list[tuple[float, float, float]]) -> None:
    turned = Turned(wall_is_off_by=-100)
    uncertainty: float | None = None
    for pause, there, back in steps:
        turned.pass_by(pause)
        turned.ask(there, back)
        uncertainty = turned.clock.uncertainty_seconds
        assert uncertainty is not None
        assert uncertainty <= 0.5 + (there + back) / 2 + 0.01
    # What slows `now` down is told apart: only the estimate itself is looked at.
    estimate = turned.elapsed + (turned.clock._low + turned.clock._high) / 2
    assert abs(estimate - turned.server.timestamp()) <= (uncertainty or 0) + 1e-5
