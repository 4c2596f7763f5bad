"""What is reported of TaskQueues: to the API server when it changed, and to Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from prometheus_client import REGISTRY

from builders import NOON, a_job, a_queue
from taskjob.control.mirror import Mirror
from taskjob.control.queues import REPORT_SECONDS, QueueReporter
from taskjob.core.decisions import SetQueueStatus
from taskjob.core.state import State


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return NOON

    def elapsed(self) -> float:
        return self.seconds


class Desk:
    """A reporter, and what it submitted."""

    def __init__(self) -> None:
        self.clock = Hand()
        self.mirror = Mirror(State(), self.clock, lambda: None)
        self.submitted: list[SetQueueStatus] = []
        self._report = QueueReporter(self.mirror, self.clock, self._submit)

    def _submit(self, news: Iterable[SetQueueStatus]) -> None:
        self.submitted.extend(news)

    def report(self) -> list[SetQueueStatus]:
        """What one report submits, when it is time for one."""
        self.clock.seconds += REPORT_SECONDS
        self.submitted.clear()
        self._report()
        return list(self.submitted)


def gauge(queue: str) -> float | None:
    return REGISTRY.get_sample_value("taskjobs_queue_jobs", {"queue": queue, "what": "pending"})


def test_a_queue_is_reported_when_its_figures_change_and_not_again() -> None:
    desk = Desk()
    desk.mirror.observe_queue(a_queue("figures"))
    assert [(each.pending, each.admitted) for each in desk.report()] == [(0, 0)]
    assert desk.report() == []
    desk.mirror.observe_job(a_job("a").in_queue("figures").build())
    assert [each.pending for each in desk.report()] == [1]
    assert gauge("figures") == 1


def test_a_queue_that_is_made_anew_under_its_name_is_reported_again_though_jobs_still_name_it() -> None:
    desk = Desk()
    queue = a_queue("anew")
    desk.mirror.observe_queue(queue)
    desk.mirror.observe_job(a_job("a").in_queue("anew").build())
    before = desk.report()
    desk.mirror.forget_queue(queue.name)
    assert desk.report() == []
    assert gauge("anew") is None, "a queue that is not there has no figures"
    desk.mirror.observe_queue(queue)
    assert [each.pending for each in desk.report()] == [each.pending for each in before] == [1]


def test_figures_that_did_not_reach_the_api_server_are_told_again() -> None:
    desk = Desk()
    desk.mirror.observe_queue(a_queue("lost"))
    (figures,) = desk.report()
    desk._report.not_told(figures)
    assert desk.report() == [figures]
    assert desk.report() == []
