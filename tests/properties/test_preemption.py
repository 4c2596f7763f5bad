"""Rules of `preemption.choose` over random cohorts, held against all sets of victims that there are."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from copy import deepcopy
from dataclasses import dataclass
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from rooms import Cohort, a_contender, running
from taskjob.core.phases import Preempt
from taskjob.core.preemption import Candidate, Contender, choose, may_preempt

QUEUES = ["a", "b", "c"]
PRIORITIES = [-100, 0, 100]


@dataclass
class Situation:
    room: Cohort
    running: list[Candidate]
    preemptor: Contender

    def without(self, victims: Iterable[Candidate]) -> Cohort:
        room = deepcopy(self.room)
        for victim in victims:
            room.release(victim.contender.queue, victim.held)
        return room

    def suffice(self, victims: Iterable[Candidate]) -> bool:
        return self.without(victims).fits(self.preemptor.queue, self.preemptor.request)

    def who_strikes_back(self, victims: Collection[Candidate]) -> list[Candidate]:
        """The victims that would preempt somebody in the state that follows."""
        after = self.without(victims)
        after.charge(self.preemptor.queue, self.preemptor.request)
        still_running = [each for each in self.running if each not in victims]
        return [each for each in victims if choose(each.contender, still_running, after) is not None]


@st.composite
def situations(draw: st.DrawFn, queues: int = 3, resources: tuple[str, ...] = ("cpu", "gpu")) -> Situation:
    names = QUEUES[: draw(st.integers(1, queues))]
    room = Cohort({name: {resource: draw(st.integers(0, 6)) for resource in resources} for name in names})
    rules = {name: (draw(st.sampled_from(Preempt)), draw(st.sampled_from(Preempt))) for name in names}

    def contender(most: int) -> Contender:
        queue = draw(st.sampled_from(names))
        request = {resource: draw(st.integers(0, most)) for resource in resources}
        within, reclaim = rules[queue]
        return a_contender(
            queue, draw(st.sampled_from(PRIORITIES)), draw(st.integers(0, 5)), within=within, reclaim=reclaim, **request
        )

    admitted = []
    for _ in range(draw(st.integers(0, 7))):
        one = contender(4)
        if any(dict(one.request).values()) and room.fits(one.queue, one.request):
            admitted.append(running(room, one, draw(st.integers(0, 5))))
    return Situation(room, admitted, contender(6))


@given(situations())
@settings(max_examples=400)
def test_victims_are_enough_and_nobody_of_them_is_too_many(there: Situation) -> None:
    before = deepcopy(there.room)
    victims = choose(there.preemptor, there.running, there.room)
    assert there.room == before, "it was only tried"
    if victims is None:
        return
    assert victims
    assert there.suffice(victims)
    assert all(may_preempt(there.preemptor, victim.contender) for victim in victims)
    for spared in victims:
        others = [victim for victim in victims if victim is not spared]
        within = there.without(others).within_quota(there.preemptor.queue, there.preemptor.request)
        reclaims = any(other.contender.queue != there.preemptor.queue for other in others)
        assert not there.suffice(others) or (reclaims and not within), f"{spared} need not have gone"


@given(situations())
@settings(max_examples=400)
def test_of_another_queue_goes_only_what_it_borrows_and_only_for_what_is_the_preemptors_own(there: Situation) -> None:
    victims = choose(there.preemptor, there.running, there.room) or ()
    after = there.without(victims)
    for victim in victims:
        if victim.contender.queue != there.preemptor.queue:
            assert after.within_quota(there.preemptor.queue, there.preemptor.request)
            assert not after.within_quota(victim.contender.queue, victim.held), (
                "it was within the quota of its own queue"
            )


@given(situations())
@settings(max_examples=400)
def test_whom_it_preempted_preempts_nobody_in_the_state_that_follows(there: Situation) -> None:
    victims = choose(there.preemptor, there.running, there.room)
    if victims is None:
        return
    assert there.who_strikes_back(victims) == []


@given(situations(queues=1, resources=("cpu",)))
@settings(max_examples=400)
def test_where_one_resource_lacks_there_is_no_better_set(there: Situation) -> None:
    """The highest priority among the victims is as low as can be; of such sets it is one of the smallest. Only sets
    of which nobody strikes back count: among those that suffice the smallest may be one that does."""
    victims = choose(there.preemptor, there.running, there.room)
    able = [each for each in there.running if may_preempt(there.preemptor, each.contender)]
    sets = [
        chosen
        for n in range(1, len(able) + 1)
        for chosen in combinations(able, n)
        if there.suffice(chosen) and not there.who_strikes_back(chosen)
    ]
    if victims is None:
        assert not sets or there.suffice(())
        return
    assert rank(victims) == min(map(rank, sets))


def rank(victims: tuple[Candidate, ...]) -> tuple[int, int]:
    return max(victim.contender.priority for victim in victims), len(victims)


@given(situations(queues=1, resources=("cpu",)))
@settings(max_examples=200)
def test_of_alike_the_youngest_go_and_under_any_the_last(there: Situation) -> None:
    victims = choose(there.preemptor, there.running, there.room) or ()
    spared = [e for e in there.running if e not in victims and may_preempt(there.preemptor, e.contender)]
    for victim in victims:
        for other in spared:
            alike = (other.contender.priority, other.held) == (victim.contender.priority, victim.held)
            if there.preemptor.within_queue is Preempt.ANY:
                assert not alike or other.contender.place <= victim.contender.place, f"{other} stands behind {victim}"
            else:
                assert not alike or other.since <= victim.since, f"{other} is younger than {victim}"
