"""A job that does not fit: who may pass it, for how long, and what is then kept for it."""

from __future__ import annotations

from typing import Any

from builders import a_job, a_queue
from taskjob.core.model import Queue
from taskjob.core.phases import Reason, Strategy
from world import World


def a_full_world(cpu: float = 4, **terms: Any) -> World:
    """A queue in which one job leaves 1 CPU, and `large`, which asks 3, is first in line."""
    world = World()
    world.put_queue(a_queue(quota={"cpu": cpu}, **terms))
    world.submit(a_job("running").asking(cpu=cpu - 1))
    world.run()
    world.submit(a_job("large").asking(cpu=3).of_priority("High"))
    world.run()
    return world


# ------------------------------------------------------------------ strategies
def test_in_a_strict_queue_nobody_passes_the_first_in_line() -> None:
    world = a_full_world(strategy=Strategy.STRICT_FIFO)
    world.submit(a_job("small"))
    world.run()
    assert world.names_launched() == ["running"]
    assert world.status("small").reason is Reason.WAITING_FOR_QUOTA
    world.finish("running")
    assert world.names_launched() == ["running", "large", "small"]


def test_what_can_never_fit_blocks_nobody_not_even_in_a_strict_queue() -> None:
    world = World()
    world.put_queue(a_queue(quota={"cpu": 2}, strategy=Strategy.STRICT_FIFO))
    world.submit(a_job("never").asking(cpu=3).of_priority("High"), a_job("small"))
    world.run()
    assert world.names_launched() == ["small"]


# ------------------------------------------------------------------ reservations
def test_a_blocked_head_may_be_passed_until_it_has_waited_long_enough() -> None:
    world = a_full_world()
    world.submit(a_job("early"))
    world.run()
    assert world.names_launched() == ["running", "early"]
    world.finish("early")
    world.let_pass(60)
    world.submit(a_job("late"))
    world.run()
    assert world.names_launched() == ["running", "early"], "the 1 CPU that is left is kept for the first in line"
    assert world.status("late").reason is Reason.WAITING_FOR_QUOTA
    assert "kept for a job that comes first" in world.status("late").message
    world.finish("running")
    assert world.names_launched() == ["running", "early", "large", "late"]


def test_what_the_head_does_not_need_may_still_be_used() -> None:
    world = World()
    world.put_queue(a_queue(quota={"cpu": 8, "gpu": 1}))
    world.submit(a_job("running").asking(cpu=1, gpu=1))
    world.run()
    world.submit(a_job("large").asking(cpu=5, gpu=1).of_priority("High"))
    world.run()
    world.let_pass(61)
    world.submit(a_job("a").asking(cpu=2), a_job("b").asking(cpu=1))
    world.run()
    assert world.names_launched() == ["running", "a"], "of the 7 CPUs that are left 5 are kept"
    assert world.status("b").reason is Reason.WAITING_FOR_QUOTA
    world.finish("running")
    assert world.names_launched() == ["running", "a", "large", "b"]


def test_a_large_job_starts_though_small_ones_keep_coming() -> None:
    world = World()
    world.put_queue(a_queue(quota={"cpu": 4}))
    world.submit(*(a_job(f"s{n:02}").created(n) for n in range(4)))
    world.run()
    world.submit(a_job("large").asking(cpu=4).created(4))
    for n in range(4, 30):
        world.submit(a_job(f"s{n:02}").created(n + 1))
        world.run()
        world.let_pass(20)
        oldest = next(pod for pod in world.pods.values() if not pod.phase.ended)
        world.finish(oldest.job_name)
        if "large" in world.names_launched():
            break
    assert "large" in world.names_launched()
    assert world.names_launched().index("large") < 12


def test_a_job_of_higher_priority_may_use_what_was_kept_for_the_one_before() -> None:
    world = a_full_world()
    world.let_pass(61)
    world.submit(a_job("urgent").of_priority("Critical"))
    world.run()
    assert world.names_launched() == ["running", "urgent"]


def test_without_the_head_nothing_is_kept() -> None:
    world = a_full_world()
    world.let_pass(61)
    world.submit(a_job("small"))
    world.run()
    world.edit("large", cancel=True)
    world.run()
    assert world.names_launched() == ["running", "small"]


def test_reserve_after_seconds_may_be_zero() -> None:
    world = a_full_world(reserve_after_seconds=0)
    world.submit(a_job("small"))
    world.run()
    assert world.names_launched() == ["running"]


# ------------------------------------------------------------------ in a cohort
def in_a_cohort(name: str, cpu: float, **terms: Any) -> Queue:
    return a_queue(name, {"cpu": cpu}, cohort="research", **terms)


def test_what_a_lender_waits_for_is_not_borrowed_any_more() -> None:
    world = World()
    for name, cpu in (("lender", 4), ("borrower", 0)):
        world.put_queue(in_a_cohort(name, cpu))
    world.submit(*(a_job(f"b{n}").in_queue("borrower").created(n) for n in range(20)))
    world.run()
    world.submit(a_job("large").in_queue("lender").asking(cpu=4).created(30))
    world.run()
    world.finish("b0")
    assert "b4" in world.names_launched(), "it may be passed for a while"
    world.let_pass(60)
    for n in range(1, 5):
        world.finish(f"b{n}")
    assert world.names_launched()[5:] == ["large"], "what became free was kept for it"
    assert world.status("b5").reason is Reason.WAITING_FOR_QUOTA


def test_a_claim_keeps_no_other_queue_from_its_own_quota() -> None:
    world = World()
    for name, cpu in (("pool", 4), ("owner", 2), ("borrower", 0)):
        world.put_queue(in_a_cohort(name, cpu))
    world.submit(a_job("first").in_queue("pool").asking(cpu=3))
    world.run()
    world.submit(a_job("large").in_queue("borrower").asking(cpu=4).created(5))
    world.run()
    world.let_pass(70)
    world.submit(*(a_job(f"own{n}").in_queue("owner").created(10) for n in range(3)))
    world.run()
    assert world.names_launched() == ["first", "own0", "own1"], "the third would be borrowed"
    assert world.status("own2").reason is Reason.WAITING_FOR_QUOTA


def test_two_large_borrowers_do_not_block_each_other() -> None:
    world = World()
    for name, cpu in (("pool", 4), ("one", 0), ("other", 0)):
        world.put_queue(in_a_cohort(name, cpu))
    world.submit(a_job("running").in_queue("pool").asking(cpu=2))
    world.run()
    world.submit(a_job("x").in_queue("one").asking(cpu=4), a_job("y").in_queue("other").asking(cpu=4))
    world.let_pass(120)
    world.finish("running")
    assert world.names_launched() == ["running", "x"]
    world.finish("x")
    assert world.names_launched() == ["running", "x", "y"]
