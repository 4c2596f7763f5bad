"""What is reported of TaskQueues: to the API server when it changed, and to Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from prometheus_client import REGISTRY

from builders import NOON, a_job, a_pod, a_queue, amounts
from taskjob.control.mirror import Mirror
from taskjob.control.queues import REPORT_SECONDS, QueueReporter
from taskjob.core.capacity import Node, Occupant, Unknown
from taskjob.core.decisions import SetQueueStatus
from taskjob.core.model import PodUid, QuotaFromNodes
from taskjob.core.phases import StopPolicy
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

    def report(self, *, answered: bool = True) -> list[SetQueueStatus]:
        """What one report submits, when it is time for one; the API server takes it at once, if it answers."""
        self.clock.seconds += REPORT_SECONDS
        self.submitted.clear()
        self._report()
        for figures in self.submitted if answered else ():
            self.told(figures)
        return list(self.submitted)

    def told(self, figures: SetQueueStatus, *, again: bool = False) -> None:
        """What became of a report."""
        self._report.told(figures, again)


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
    (figures,) = desk.report(answered=False)
    desk.told(figures, again=True)
    assert desk.report() == [figures]
    assert desk.report() == []


def test_while_a_report_is_under_way_no_other_of_its_queue_is_sent_and_then_the_last_figures_are() -> None:
    desk = Desk()
    desk.mirror.observe_queue(a_queue("slow"))
    (first,) = desk.report(answered=False)
    for number in range(5):
        desk.mirror.observe_job(a_job(f"job-{number}").in_queue("slow").build())
        assert desk.report() == [], "it could overtake the one before it"
    desk.told(first)
    assert [each.pending for each in desk.report()] == [5]
    assert desk.report() == []


def test_figures_that_were_refused_are_told_again_a_while_later_but_others_at_once() -> None:
    desk = Desk()
    desk.mirror.observe_queue(a_queue("refused"))
    (first,) = desk.report(answered=False)
    desk.told(first)
    assert desk.report() == [], "the same could only be refused again"
    desk.mirror.observe_job(a_job("a").in_queue("refused").build())
    (second,) = desk.report(answered=False)
    assert second.pending == 1
    desk.told(second)
    desk.told(second, again=True)
    assert desk.report() == [second]


def test_a_refusal_whose_while_is_over_says_nothing_of_the_report_that_followed() -> None:
    desk = Desk()
    desk.mirror.observe_queue(a_queue("refused"))
    (first,) = desk.report(answered=False)
    desk.told(first)
    desk.mirror.observe_job(a_job("a").in_queue("refused").build())
    (second,) = desk.report(answered=False)
    desk.told(first, again=True)
    desk.mirror.observe_job(a_job("b").in_queue("refused").build())
    assert desk.report() == [], "the second is still under way"
    desk.told(second)
    assert [each.pending for each in desk.report()] == [2]


def conditions(told: SetQueueStatus) -> dict[str, tuple[bool, str]]:
    return {each.type: (each.holds, each.reason) for each in told.conditions}


def test_a_queue_says_whether_it_admits_and_whether_more_is_in_use_than_may_be() -> None:
    desk = Desk()
    desk.mirror.observe_queue(a_queue("figures", {"cpu": 2}))
    job = a_job("a").in_queue("figures").asking(cpu=2).build()
    desk.mirror.observe_job(job)
    desk.mirror.observe_pod(a_pod(job).running().build())
    (told,) = desk.report()
    assert conditions(told) == {"Active": (True, "Ready"), "OverQuota": (False, "WithinQuota")}
    assert (told.quota, told.usage) == ((("cpu", 2000),), (("cpu", 2000), ("pods", 1)))
    desk.mirror.observe_queue(a_queue("figures", {"cpu": 1}, version=2))
    (told,) = desk.report()
    assert conditions(told)["OverQuota"] == (True, "UsageAboveQuota")
    assert told.conditions[1].message.startswith("in use: cpu 2 of 1; ")


def test_a_queue_that_is_held_says_so() -> None:
    desk = Desk()
    desk.mirror.observe_queue(a_queue("figures", stop_policy=StopPolicy.HOLD))
    assert conditions(desk.report()[0])["Active"] == (False, "Held")


def test_what_is_borrowed_is_not_over_the_quota_until_it_passes_the_limit() -> None:
    desk = Desk()
    lender = a_queue("lender", {"cpu": 4}, cohort="research")
    desk.mirror.observe_queue(lender)
    borrower = a_queue("figures", {"cpu": 1}, cohort="research", borrowing_limit=(("cpu", 1000),))
    desk.mirror.observe_queue(borrower)
    for name, over in (("a", False), ("b", False), ("c", True)):
        job = a_job(name).in_queue("figures").build()
        desk.mirror.observe_job(job)
        desk.mirror.observe_pod(a_pod(job).running().build())
        (told,) = [each for each in desk.report() if each.queue.name == "figures"]
        assert conditions(told)["OverQuota"][0] is over
    assert told.borrowed == (("cpu", 2000),)


def test_in_a_cohort_who_uses_more_than_is_lent_any_more_says_so_whosever_quota_was_lowered() -> None:
    desk = Desk()
    for name, cpu in (("lender", 4), ("figures", 1)):
        desk.mirror.observe_queue(a_queue(name, {"cpu": cpu}, cohort="research"))
    job = a_job("a").in_queue("figures").asking(cpu=5).build()
    desk.mirror.observe_job(job)
    desk.mirror.observe_pod(a_pod(job).running().build())
    assert not any(conditions(told)["OverQuota"][0] for told in desk.report())
    desk.mirror.observe_queue(a_queue("lender", {"cpu": 2}, cohort="research", version=2))
    over = {str(told.queue.name): told.conditions[1] for told in desk.report()}
    assert over["figures"].holds
    assert over["figures"].message.startswith("in use: cpu 5 of 1; nothing more is admitted")
    assert not over["lender"].holds, "it uses nothing"


def test_a_queue_that_cannot_be_used_says_why() -> None:
    desk = Desk()
    desk.mirror.observe_queue(a_queue("figures", problem="spec.quota[cpu]: too odd"))
    (told,) = desk.report()
    assert conditions(told)["Active"] == (False, "InvalidSpec")
    assert told.conditions[0].message == "spec.quota[cpu]: too odd"


def test_a_quota_that_follows_the_nodes_is_reported_once_it_is_known_and_said_to_be_refused_before() -> None:
    desk = Desk()
    desk.mirror.observe_queue(a_queue("figures", quota_from_nodes=QuotaFromNodes(50)))
    assert desk.mirror.surroundings_needed.is_set()
    assert conditions(desk.report()[0])["Active"] == (False, "NodesNotListed")
    desk.mirror.surroundings_unknown(Unknown.FORBIDDEN, "grant it")
    desk.mirror.state.queues.follow_nodes()
    assert conditions(desk.report()[0])["Active"] == (False, "QuotaFromNodesForbidden")
    desk.mirror.replace_nodes(1, [Node("n1", frozenset(), amounts(cpu=4, pods=10))])
    desk.mirror.replace_occupants(1, [Occupant(PodUid("p"), "n1", amounts(cpu=0.5))])
    desk.mirror.surroundings_known()
    desk.mirror.state.queues.follow_nodes()
    (told,) = desk.report()
    assert (conditions(told)["Active"], told.quota) == ((True, "Ready"), (("cpu", 1500), ("memory", 0), ("pods", 4)))
