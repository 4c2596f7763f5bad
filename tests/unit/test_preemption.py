"""Whom `preemption.choose` chooses: enough, few, young, of the lowest priority, and nobody who would strike back."""

from __future__ import annotations

import pytest

from rooms import Cohort, a_contender, running
from taskjob.core.phases import Preempt
from taskjob.core.preemption import Candidate, choose

LOW, NORMAL, HIGH = -100, 0, 100


def a_queue_of(cpu: int, memory: int = 100) -> Cohort:
    return Cohort({"q": {"cpu": cpu, "memory": memory}})


def test_nobody_is_evicted_where_the_rule_is_never() -> None:
    room = a_queue_of(1)
    low = running(room, a_contender("q", LOW, cpu=1))
    assert choose(a_contender("q", HIGH, within=Preempt.NEVER, cpu=1), [low], room) is None


def test_nobody_is_evicted_for_a_job_that_fits() -> None:
    room = a_queue_of(2)
    one = running(room, a_contender("q", LOW, cpu=1))
    assert choose(a_contender("q", HIGH, cpu=1), [one], room) is None


def test_the_lowest_priority_goes_first_then_the_youngest() -> None:
    room = a_queue_of(4)
    old, young = (running(room, a_contender("q", LOW, cpu=1), since) for since in (1, 9))
    others = [running(room, a_contender("q", NORMAL, cpu=1), 20), running(room, a_contender("q", NORMAL, cpu=1), 30)]
    assert choose(a_contender("q", HIGH, cpu=1), [*others, old, young], room) == (young,)
    assert choose(a_contender("q", HIGH, cpu=2), [*others, old, young], room) == (young, old)


def test_neither_an_equal_nor_a_higher_priority_makes_room_under_lower_priority() -> None:
    room = a_queue_of(2)
    all_ = [running(room, a_contender("q", HIGH, created=9, cpu=1)), running(room, a_contender("q", HIGH + 1, cpu=1))]
    assert choose(a_contender("q", HIGH, cpu=1), all_, room) is None


def test_under_any_an_equal_makes_room_for_the_earlier_and_never_for_the_later() -> None:
    room = a_queue_of(1)
    running_one = running(room, a_contender("q", NORMAL, created=5, cpu=1))
    earlier = a_contender("q", NORMAL, created=4, within=Preempt.ANY, cpu=1)
    later = a_contender("q", NORMAL, created=6, within=Preempt.ANY, cpu=1)
    assert choose(earlier, [running_one], room) == (running_one,)
    assert choose(later, [running_one], room) is None


def test_nobody_is_evicted_if_all_of_them_would_not_be_enough() -> None:
    room = a_queue_of(4)
    lower = running(room, a_contender("q", LOW, cpu=2))
    running(room, a_contender("q", HIGH, cpu=2))
    assert choose(a_contender("q", HIGH, cpu=3), [lower], room) is None
    assert room.used("cpu") == 4, "the room is left as it was"


def test_one_large_victim_is_better_than_many_small_ones() -> None:
    room = a_queue_of(8)
    small = [running(room, a_contender("q", LOW, cpu=1), 50 + n) for n in range(4)]
    large = running(room, a_contender("q", LOW, cpu=4), 1)
    assert choose(a_contender("q", HIGH, cpu=4), [*small, large], room) == (large,)


def test_of_two_that_are_large_enough_the_younger_goes() -> None:
    room = a_queue_of(7)
    old = running(room, a_contender("q", LOW, cpu=4), 1)
    young = running(room, a_contender("q", LOW, cpu=3), 9)
    assert choose(a_contender("q", HIGH, cpu=3), [old, young], room) == (young,)


def test_small_ones_of_low_priority_go_before_a_large_one_of_a_higher() -> None:
    room = a_queue_of(4)
    small = [running(room, a_contender("q", LOW, cpu=1), n) for n in range(2)]
    running_large = running(room, a_contender("q", NORMAL, cpu=2), 50)
    assert choose(a_contender("q", HIGH, cpu=2), [*small, running_large], room) == (small[1], small[0])


def test_what_does_not_give_what_lacks_goes_on() -> None:
    room = a_queue_of(cpu=4, memory=4)
    memory = running(room, a_contender("q", LOW, memory=3), 50)
    cpu = running(room, a_contender("q", LOW, cpu=4), 1)
    assert choose(a_contender("q", HIGH, cpu=1, memory=1), [memory, cpu], room) == (cpu,)


def test_two_lacking_resources_are_got_from_one_that_holds_both() -> None:
    room = a_queue_of(cpu=4, memory=4)
    cpu = running(room, a_contender("q", LOW, cpu=2), 50)
    memory = running(room, a_contender("q", LOW, memory=2), 50)
    both = running(room, a_contender("q", LOW, cpu=2, memory=2), 1)
    assert choose(a_contender("q", HIGH, cpu=2, memory=2), [cpu, memory, both], room) == (both,)


class TestReclaiming:
    """Two queues of one cohort, 4 CPUs each, all idle quota lent."""

    room: Cohort

    @pytest.fixture(autouse=True)
    def cohort(self) -> None:
        self.room = Cohort({"mine": {"cpu": 4}, "theirs": {"cpu": 4}})

    def borrowers(self, *sizes: int, priority: int = NORMAL) -> list[Candidate]:
        return [running(self.room, a_contender("theirs", priority, cpu=size), n) for n, size in enumerate(sizes)]

    def test_a_queue_takes_back_what_is_borrowed_and_no_more(self) -> None:
        theirs = self.borrowers(2, 2, 2, 2)
        assert choose(a_contender("mine", reclaim=Preempt.ANY, cpu=4), theirs, self.room) == (theirs[3], theirs[2])

    def test_not_from_a_queue_that_borrows_nothing(self) -> None:
        theirs = self.borrowers(4, priority=LOW)
        running(self.room, a_contender("mine", HIGH, cpu=4))
        assert choose(a_contender("mine", HIGH, reclaim=Preempt.ANY, cpu=1), theirs, self.room) is None

    def test_not_beyond_its_own_quota(self) -> None:
        theirs = self.borrowers(2, 2, 2)
        running(self.room, a_contender("mine", HIGH, cpu=2))
        assert choose(a_contender("mine", HIGH, reclaim=Preempt.ANY, cpu=3), theirs, self.room) is None
        assert choose(a_contender("mine", HIGH, reclaim=Preempt.ANY, cpu=2), theirs, self.room) == (theirs[2],)

    def test_any_takes_back_from_a_higher_priority_and_lower_priority_does_not(self) -> None:
        theirs = self.borrowers(4, 4, priority=HIGH)
        assert choose(a_contender("mine", LOW, reclaim=Preempt.LOWER_PRIORITY, cpu=1), theirs, self.room) is None
        assert choose(a_contender("mine", LOW, reclaim=Preempt.ANY, cpu=1), theirs, self.room) == (theirs[1],)

    def test_who_stands_within_the_quota_of_his_own_queue_once_it_is_over_is_spared(self) -> None:
        theirs = self.borrowers(1, 4, 3)  # of the 4 that are borrowed
        assert choose(a_contender("mine", reclaim=Preempt.ANY, cpu=4), theirs, self.room) == (theirs[1],)

    def test_own_jobs_of_lower_priority_and_borrowers_are_one_pool(self) -> None:
        theirs = self.borrowers(2, 2, 2)
        own = running(self.room, a_contender("mine", LOW, cpu=2), 50)
        high = a_contender("mine", HIGH, reclaim=Preempt.LOWER_PRIORITY, cpu=4)
        assert choose(high, [*theirs, own], self.room) == (own, theirs[2])

    def test_a_victim_that_would_take_back_from_others_what_it_lost_is_no_victim(self) -> None:
        theirs = self.borrowers(3, 3, priority=LOW)
        own = running(self.room, a_contender("mine", LOW, cpu=2, reclaim=Preempt.ANY), 50)
        high = a_contender("mine", HIGH, reclaim=Preempt.ANY, cpu=2)
        assert choose(high, [*theirs, own], self.room) == (theirs[1],), "the younger own one would evict it in turn"
