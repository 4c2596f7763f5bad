"""Which launches are sent, and which wait for others of their namespace."""

from __future__ import annotations

from builders import a_job
from taskjob.control.launches import STUCK_LAUNCHES, STUCK_SECONDS, Launches
from taskjob.core.decisions import Launch
from taskjob.core.model import AttemptId


def launching(name: str, namespace: str = "x") -> Launch:
    job = a_job(name).in_namespace(namespace).build()
    return Launch(job, AttemptId(job.uid, 0, 0, 1), None)


def all_of(launches: Launches, now: float) -> list[Launch]:
    """All that may be sent at once."""
    taken: list[Launch] = []
    while (launch := launches.take(now)) is not None:
        taken.append(launch)
    return taken


def flooded(*namespaces: str, at_once: int = 48) -> Launches:
    launches = Launches(at_once)
    for namespace in namespaces:
        for number in range(100):
            launches.push(launching(f"{namespace}-{number}", namespace), 0)
    return launches


def test_launches_are_sent_in_their_order_whosever_they_are() -> None:
    launches = Launches(48)
    wanted = [launching(name, namespace) for name, namespace in (("b", "x"), ("c", "y"), ("a", "x"), ("d", "y"))]
    for launch in wanted:
        launches.push(launch, 0)
    assert all_of(launches, 0) == wanted


def test_a_namespace_gets_half_of_what_may_be_under_way_and_all_of_them_leave_a_quarter() -> None:
    assert len(all_of(flooded("x"), 0)) == 24
    launches = flooded("x", "y", "z")
    assert [launch.job.namespace for launch in all_of(launches, 0)] == ["x"] * 24 + ["y"] * 12


def test_launches_that_are_answered_follow_each_other_without_end() -> None:
    launches = flooded("x")
    for _ in range(5):
        for launch in all_of(launches, 0):
            launches.answered(launch, definite=True)
    assert not len(launches)
    assert not launches.in_doubt


def test_of_what_is_asked_for_again_a_namespace_has_few_under_way_and_nothing_new_before_it_is_known() -> None:
    launches = flooded("x")
    doubtful = all_of(launches, 0)
    for launch in doubtful:
        launches.answered(launch, definite=False)
    assert all_of(launches, 1) == [], "nothing new"
    for launch in doubtful:
        launches.push(launch, 1)
    assert all_of(launches, 1) == doubtful[:6]
    launches.push(other := launching("other", "y"), 1)
    assert all_of(launches, 1) == [other]


def test_one_that_is_asked_for_again_does_not_wait_for_an_end_of_the_new_ones() -> None:
    launches = flooded("x")
    failed, *_ = all_of(launches, 0)
    launches.answered(failed, definite=False)
    launches.push(failed, 1)
    assert launches.take(1) is failed


def test_a_namespace_whose_creates_are_in_doubt_for_long_takes_no_room_and_what_waits_in_it_can_be_withdrawn() -> None:
    launches = flooded("x")
    doubtful = all_of(launches, 0)
    assert launches.waiting(STUCK_SECONDS - 0.1) == 76
    assert launches.withdraw(STUCK_SECONDS - 0.1, lambda *_: True) == []
    assert launches.waiting(STUCK_SECONDS) == 0
    assert [launch.job.name for launch in launches.withdraw(STUCK_SECONDS, lambda launch, _: launch.job.name == "x-50")]
    assert len(launches) == 75
    for launch in doubtful[: 1 - STUCK_LAUNCHES]:
        launches.answered(launch, definite=True)
    assert launches.waiting(STUCK_SECONDS) == 75
    assert len(all_of(launches, STUCK_SECONDS)) == 24 - 7


def test_what_was_decided_while_a_namespace_was_stuck_does_not_fill_the_room_of_all_afterwards() -> None:
    launches = flooded("x")
    doubtful = all_of(launches, 0)
    assert launches.beyond(48, STUCK_SECONDS) == [], "it takes no room"
    for launch in doubtful:
        launches.answered(launch, definite=True)
    assert launches.waiting(STUCK_SECONDS) == 76
    assert [launch.job.name for launch in launches.beyond(48, STUCK_SECONDS)] == [f"x-{n}" for n in range(99, 71, -1)]
    assert launches.waiting(STUCK_SECONDS) == 48


def test_an_attempt_that_is_launched_anew_while_an_earlier_create_of_it_is_in_doubt_is_sent_as_well() -> None:
    launches = Launches(48)
    first, second = launching("a"), launching("a")
    launches.push(first, 0)
    launches.push(second, 0)
    assert all_of(launches, 0) == [first, second]
    launches.answered(first, definite=True)
    launches.answered(second, definite=True)
    assert not launches.in_doubt
