"""Queues that lend to each other: what they may use, who goes first, what is kept for whom."""

from __future__ import annotations

from collections import Counter
from typing import Any

from builders import JobBuilder, a_job, a_queue, limits
from taskjob.core.model import Queue, QueueName
from taskjob.core.phases import Reason
from world import World


def a_cohort(*queues: Queue) -> World:
    world = World()
    for queue in queues:
        world.put_queue(queue)
    return world


def lender(name: str = "lender", cpu: float = 4, **terms: Any) -> Queue:
    return a_queue(name, {"cpu": cpu}, cohort="research", **terms)


def jobs(queue: str, count: int, cpu: float = 1, since: float = 0) -> list[JobBuilder]:
    return [a_job(f"{queue}-{n:03}").in_queue(queue).asking(cpu=cpu).created(since) for n in range(count)]


def running(world: World) -> Counter[str]:
    return Counter(pod.queue for pod in world.pods.values() if not pod.phase.ended)


# ------------------------------------------------------------------ borrowing
def test_a_queue_borrows_what_its_cohort_leaves_idle() -> None:
    world = a_cohort(lender(), lender("borrower", 2))
    world.submit(*jobs("borrower", 10))
    world.run()
    assert running(world) == {"borrower": 6}


def test_a_queue_without_a_cohort_borrows_nothing() -> None:
    world = a_cohort(lender(), a_queue("alone", {"cpu": 2}))
    world.submit(*jobs("alone", 10))
    world.run()
    assert running(world) == {"alone": 2}


def test_it_borrows_no_more_than_its_borrowing_limit() -> None:
    world = a_cohort(lender(), lender("borrower", 2, borrowing_limit=limits(cpu=1)))
    world.submit(*jobs("borrower", 10))
    world.run()
    assert running(world) == {"borrower": 3}


def test_it_is_lent_no_more_than_the_lending_limit() -> None:
    world = a_cohort(lender(lending_limit=limits(cpu=1)), lender("borrower", 2))
    world.submit(*jobs("borrower", 10), *jobs("lender", 10))
    world.run()
    assert running(world) == {"lender": 4, "borrower": 2}


def test_what_a_lender_keeps_stays_its_own_while_the_pool_is_overdrawn() -> None:
    world = a_cohort(lender(lending_limit=limits(cpu=2)), lender("borrower", 0))
    world.submit(*jobs("borrower", 2))
    world.run()
    world.put_queue(lender(cpu=2, lending_limit=limits(cpu=1)))
    world.submit(*jobs("lender", 4))
    world.run()
    assert running(world) == {"borrower": 2, "lender": 1}


def test_a_lender_gets_its_own_back_as_borrowers_end() -> None:
    world = a_cohort(lender(), lender("borrower", 2))
    world.submit(*jobs("borrower", 10))
    world.run()
    world.submit(*jobs("lender", 4, since=5))
    world.run()
    assert world.status("lender-000").reason is Reason.WAITING_FOR_QUOTA
    for n in range(4):
        world.finish(f"borrower-{n:03}")
    assert running(world) == {"borrower": 2, "lender": 4}, "what is its own goes before what borrows"


def test_what_can_never_fit_counts_what_may_be_borrowed() -> None:
    world = a_cohort(lender(), lender("borrower", 2, borrowing_limit=limits(cpu=3)))
    world.submit(a_job("fits").in_queue("borrower").asking(cpu=5), a_job("never").in_queue("borrower").asking(cpu=6))
    world.run()
    assert world.names_launched() == ["fits"]
    assert world.status("never").reason is Reason.EXCEEDS_QUOTA
    world.put_queue(lender("borrower", 2))
    world.run()
    assert world.status("never").reason is Reason.WAITING_FOR_QUOTA


def test_a_lender_that_lends_less_makes_a_borrowers_job_too_large_and_says_so() -> None:
    world = a_cohort(lender(), lender("borrower", 2))
    world.submit(*jobs("lender", 4), a_job("large").in_queue("borrower").asking(cpu=5))
    world.run()
    assert world.status("large").reason is Reason.WAITING_FOR_QUOTA
    world.put_queue(lender(lending_limit=limits(cpu=1)))
    world.run()
    assert world.status("large").reason is Reason.EXCEEDS_QUOTA


# ------------------------------------------------------------------ fairness
def test_between_borrowers_the_smaller_weighted_share_goes_first() -> None:
    world = a_cohort(lender("pool", 12), lender("one", 0), lender("three", 0, weight=3))
    world.submit(*jobs("one", 40), *jobs("three", 40))
    world.run()
    assert running(world) == {"one": 3, "three": 9}


def test_shares_follow_the_weights_whoever_came_first() -> None:
    world = a_cohort(lender("pool", 12), lender("one", 0), lender("three", 0, weight=3))
    world.submit(*jobs("one", 40))
    world.run()
    assert running(world) == {"one": 12}
    world.submit(*jobs("three", 40, since=9))
    for n in range(12):
        world.run()
        world.finish(f"one-{n:03}")
    assert running(world) == {"one": 3, "three": 9}


def test_a_borrower_of_higher_priority_does_not_pass_a_queue_with_a_smaller_share() -> None:
    world = a_cohort(lender("pool", 4), lender("one", 0), lender("other", 0))
    world.submit(*(job.of_priority("High") for job in jobs("one", 9)), *jobs("other", 9))
    world.run()
    assert running(world) == {"one": 2, "other": 2}


def test_the_share_counts_the_resource_that_is_borrowed_most() -> None:
    world = a_cohort(
        a_queue("pool", {"cpu": 10, "gpu": 10}, cohort="research"),
        a_queue("wide", {"cpu": 0, "gpu": 0}, cohort="research"),
        a_queue("deep", {"cpu": 0, "gpu": 0}, cohort="research"),
    )
    world.submit(
        *(a_job(f"wide-{n}").in_queue("wide").asking(cpu=1) for n in range(20)),
        *(a_job(f"deep-{n}").in_queue("deep").asking(cpu=0.1, gpu=2) for n in range(20)),
    )
    world.run()
    assert running(world) == {"wide": 9, "deep": 5}


# ------------------------------------------------------------------ changes of what is alive
def test_a_queue_that_joins_a_cohort_lends_and_borrows_at_once() -> None:
    world = a_cohort(lender(), a_queue("late", {"cpu": 2}))
    world.submit(*jobs("late", 10))
    world.run()
    assert running(world) == {"late": 2}
    world.put_queue(lender("late", 2))
    world.run()
    assert running(world) == {"late": 6}
    world.put_queue(a_queue("late", {"cpu": 2}))
    world.submit(*jobs("lender", 10))
    world.run()
    assert running(world) == {"late": 6, "lender": 4}, "what runs goes on; the lender's quota is its own again"
    assert world.state.queues.by_name[QueueName("late")].ledger.borrowed() == {"cpu": 4000}


def test_a_cohort_is_forgotten_with_its_last_queue() -> None:
    world = a_cohort(lender())
    world.delete_queue("lender")
    assert world.state.queues.cohorts == {}
