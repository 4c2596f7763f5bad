"""What one elector does in each situation; `properties/test_election.py` plays what several do to each other."""

from __future__ import annotations

from random import Random

import pytest

from election_play import Play
from taskjob.kube.election import Candidacy, Kind, Look, Record, Step, Stop, Timing, Wait, Write

TIMING = Timing(lease=15, renew_deadline=10, retry=0.5)


def an_elector(identity: str = "me") -> Candidacy:
    return Candidacy(identity, TIMING)


def a_leader(at: float = 100.0, epoch: int = 7) -> Candidacy:
    """It acquired the lease by a write sent at `at`, answered a tenth of a second later."""
    elector = an_elector()
    elector.saw(Record("v1", "", epoch - 1), at)
    write = elector.next(at)
    assert write == Write(Kind.ACQUIRE, "v1", "me", epoch)
    elector.written(write, "v2", at, at + 0.1)
    return elector


def wait_of(step: Step) -> float:
    assert isinstance(step, Wait), step
    return step.seconds


def renewed(elector: Candidacy, version: str, sent_at: float, at: float) -> None:
    write = elector.next(sent_at)
    assert isinstance(write, Write), write
    assert write.kind is Kind.RENEW
    elector.written(write, version, sent_at, at)


# ------------------------------------------------------------------ standing for election
def test_it_looks_before_it_does_anything() -> None:
    assert an_elector().next(100) == Look()


def test_where_there_is_no_lease_it_makes_one_with_epoch_1() -> None:
    elector = an_elector()
    elector.saw(None, 100)
    assert elector.next(100) == Write(Kind.ACQUIRE, None, "me", 1)


def test_an_epoch_is_greater_than_any_that_the_cluster_shows_though_the_lease_was_deleted_or_restored() -> None:
    elector = an_elector()
    elector.saw(None, 100)
    assert elector.next(100, floor=41) == Write(Kind.ACQUIRE, None, "me", 42)
    elector.saw(Record("v", "", 12), 100)
    assert elector.next(100, floor=41) == Write(Kind.ACQUIRE, "v", "me", 42)


def test_a_lease_that_was_given_back_is_taken_at_once() -> None:
    elector = an_elector()
    elector.saw(Record("v1", "other", 3, 15), 100)
    assert elector.next(100) == Wait(0.5)
    elector.saw(Record("v2", "", 3, 1), 100.5)
    assert elector.next(100.5) == Write(Kind.ACQUIRE, "v2", "me", 4)


def test_a_lease_that_bears_our_own_name_is_taken_at_once_with_a_new_epoch() -> None:
    # The same pod's container before us, or an acquisition whose answer was lost.
    elector = an_elector()
    elector.saw(Record("v1", "me", 3, 15), 100)
    assert elector.next(100) == Write(Kind.ACQUIRE, "v1", "me", 4)


def test_a_held_lease_is_taken_when_it_has_not_changed_for_its_time_since_it_was_received() -> None:
    elector = an_elector()
    elector.saw(Record("v1", "other", 3, 15), 100)
    for look in range(1, 30):
        assert isinstance(elector.next(100 + look / 2 - 0.001), Wait)
        assert elector.next(100 + look / 2) == Look()
        elector.saw(Record("v1", "other", 3, 15), 100 + look / 2)
    assert wait_of(elector.next(114.9)) == pytest.approx(0.1), "the next step comes just when the lease is over"
    elector.saw(Record("v1", "other", 3, 15), 114.9)
    assert elector.next(115) == Write(Kind.ACQUIRE, "v1", "me", 4)


def test_any_change_of_a_held_lease_begins_its_time_anew() -> None:
    elector = an_elector()
    elector.saw(Record("v1", "other", 3, 15), 100)
    elector.saw(Record("v2", "other", 3, 15), 114.9)
    assert isinstance(elector.next(129.8), Look | Wait)
    elector.saw(Record("v2", "other", 3, 15), 129.8)
    assert isinstance(elector.next(129.89), Wait)
    assert isinstance(elector.next(129.9), Write)


def test_failed_looks_do_not_begin_the_time_of_a_held_lease_anew() -> None:
    elector = an_elector()
    elector.saw(Record("v1", "other", 3, 15), 100)
    elector.unanswered(110)
    assert wait_of(elector.next(110.4)) == pytest.approx(0.1)
    assert elector.next(116) == Look(), "what nobody answered is asked again before anything is taken"
    elector.saw(Record("v1", "other", 3, 15), 116)
    assert elector.next(116) == Write(Kind.ACQUIRE, "v1", "me", 4)


def test_a_holder_with_a_longer_lease_than_ours_gets_his_time() -> None:
    elector = an_elector()
    elector.saw(Record("v1", "other", 3, 60), 100)
    elector.saw(Record("v1", "other", 3, 60), 159.9)
    assert isinstance(elector.next(159.9), Wait)
    elector.saw(Record("v1", "other", 3, 60), 160)
    assert isinstance(elector.next(160), Write)


def test_who_was_faster_is_looked_at_and_waited_for() -> None:
    elector = an_elector()
    elector.saw(Record("v1", "", 3), 100)
    assert isinstance(elector.next(100), Write)
    elector.conflicted(100.1)
    assert elector.next(100.1) == Look()
    elector.saw(Record("v2", "other", 4, 15), 100.2)
    assert wait_of(elector.next(100.2)) == pytest.approx(0.5)
    assert not elector.leads


def test_an_acquisition_whose_answer_came_after_its_deadline_is_worth_nothing() -> None:
    elector = an_elector()
    elector.saw(Record("v1", "", 3), 100)
    write = elector.next(100)
    assert isinstance(write, Write)
    elector.written(write, "v2", 100, 110)
    assert not elector.leads
    assert elector.valid_until < 110
    assert elector.next(110) == Look(), "it stands again: nothing was done in the name of that epoch"


# ------------------------------------------------------------------ leading
def test_a_leadership_is_counted_from_when_its_write_was_sent() -> None:
    leader = a_leader(at=100)
    assert (leader.leads, leader.epoch, leader.valid_until) == (True, 7, 110)
    renewed(leader, "v3", sent_at=102, at=104)
    assert leader.valid_until == 112
    assert leader.epoch == 7


def test_a_renewal_that_fails_is_tried_again_after_a_look() -> None:
    leader = a_leader(at=100)
    assert leader.next(102) == Write(Kind.RENEW, "v2", "me", 7)
    leader.unanswered(104.5)
    assert wait_of(leader.next(104.9)) == pytest.approx(0.1)
    assert leader.next(105) == Look()
    leader.saw(Record("v3", "me", 7, 15), 105.1)  # it had been carried out
    assert leader.valid_until == 110, "to have been told of it is not to have been promised more time"
    renewed(leader, "v4", sent_at=105.1, at=105.2)
    assert leader.valid_until == pytest.approx(115.1)


def test_who_could_not_renew_before_the_deadline_stops_though_nobody_else_took_the_lease() -> None:
    leader = a_leader(at=100)
    assert not isinstance(leader.next(109.99), Stop)
    stop = leader.next(110)
    assert isinstance(stop, Stop)
    assert "10 s" in stop.why
    assert (leader.leads, leader.valid_until < 0) == (False, True)
    leader.saw(Record("v2", "me", 7, 15), 111)
    assert leader.next(111) == stop, "it does not come back to life"


@pytest.mark.parametrize(
    "found",
    [Record("v3", "other", 8, 15), Record("v3", "me", 8, 15), Record("v3", "", 7, 1), None],
    ids=["another holds it", "a later start of ours holds it", "somebody emptied it", "it was deleted"],
)
def test_who_sees_that_the_lease_is_no_longer_his_stops_at_once(found: Record | None) -> None:
    leader = a_leader(at=100)
    assert isinstance(leader.next(102), Write)
    leader.conflicted(102.1)
    assert leader.next(102.1) == Look()
    leader.saw(found, 102.2)
    assert leader.valid_until < 0, "nothing may be sent any more"
    assert isinstance(leader.next(102.2), Stop)


def test_a_stranger_who_writes_into_the_lease_does_not_end_a_leadership() -> None:
    leader = a_leader(at=100)
    leader.next(102)
    leader.conflicted(102.1)
    leader.saw(Record("v3", "me", 7, 15), 102.2)
    assert leader.next(102.2) == Write(Kind.RENEW, "v3", "me", 7)


def test_a_late_answer_to_a_renewal_does_not_bring_an_ended_leadership_back() -> None:
    leader = a_leader(at=100)
    write = leader.next(102)
    assert isinstance(write, Write)
    assert isinstance(leader.next(111), Stop)
    leader.written(write, "v3", 102, 111)
    assert leader.valid_until < 0


# ------------------------------------------------------------------ the end
def test_who_resigns_acts_no_more_and_then_empties_the_lease_keeping_its_epoch() -> None:
    leader = a_leader(at=100)
    leader.resign()
    assert leader.valid_until < 0
    release = leader.next(101)
    assert release == Write(Kind.RELEASE, "v2", "", 7)
    assert isinstance(release, Write)
    leader.written(release, "v3", 101, 101.1)
    assert isinstance(leader.next(101.1), Stop)


def test_who_was_deposed_by_a_greater_epoch_than_the_lease_knows_leaves_it_there() -> None:
    # History of a cluster that was restored from a backup: otherwise it would take as many starts as epochs were lost.
    leader = a_leader(at=100, epoch=7)
    leader.resign(floor=90)
    assert leader.next(101) == Write(Kind.RELEASE, "v2", "", 90)


def test_who_resigns_in_doubt_looks_first_and_leaves_alone_what_is_no_longer_his() -> None:
    for found, then in ((Record("v9", "me", 7, 15), Write), (Record("v9", "other", 8, 15), Stop), (None, Stop)):
        leader = a_leader(at=100)
        leader.next(102)
        leader.conflicted(102.1)
        leader.resign()
        assert leader.next(102.1) == Look()
        leader.saw(found, 102.2)
        assert isinstance(leader.next(102.2), then), found


def test_who_waits_and_resigns_is_done_and_what_it_had_asked_for_is_not_its_own() -> None:
    elector = an_elector()
    elector.saw(Record("v1", "", 3), 100)
    write = elector.next(100)
    assert isinstance(write, Write)
    elector.resign()
    assert isinstance(elector.next(100), Stop)
    elector.written(write, "v2", 100, 100.1)
    assert (elector.leads, elector.valid_until < 0) == (False, True)


# ------------------------------------------------------------------ several
def test_a_hand_over_takes_no_longer_than_a_look() -> None:
    play = Play(Random(1), TIMING, late=0.02)
    first, second = play.enter("first"), play.enter("second")
    play.until(lambda: play.leader() is not None, 2)
    leader = play.leader()
    assert leader is not None
    other = second if leader is first else first
    play.run(20)
    play.resign(leader)
    assert play.until(lambda: play.leader() is other, 2) <= 1.2  # its step, the release, a look, the acquisition
    assert play.lease.acquired == [(leader.name, 1), (other.name, 2)]


def test_a_killed_leader_is_succeeded_when_his_lease_is_over() -> None:
    play = Play(Random(2), TIMING, late=0.02)
    first = play.enter("first")
    play.until(lambda: play.leader() is first, 2)
    second = play.enter("second")
    play.run(21)
    play.kill(first)
    waited = play.until(lambda: play.leader() is second, 17)
    assert 15 - TIMING.renew_every - 0.1 <= waited <= 15 + TIMING.retry + 0.1
    assert play.faults == []


@pytest.mark.parametrize("timing", [TIMING, Timing(12, 10, 0.5), Timing(3, 2.5, 0.1)])
def test_clocks_that_drift_as_far_as_the_slack_allows_keep_the_deadline_within_the_lease(timing: Timing) -> None:
    """The slowest leader against the fastest observer, the leader stopped just after a renewal."""
    play = Play(Random(3), timing, late=0.001)
    slow = play.enter("slow", rate=10 / 11)
    play.until(lambda: play.leader() is slow, 2)
    fast = play.enter("fast", rate=12 / 11)
    play.run(timing.lease)
    play.pause(slow, 2 * timing.lease)
    play.until(lambda: play.lease.acquired[-1][0] == "fast", 2 * timing.lease)
    assert not slow.may_act(play.now), "the slow one still thought that it led"
    play.run(timing.lease)
    assert (play.leader(), fast.candidacy.epoch, play.faults) == (fast, 2, [])


@pytest.mark.parametrize(
    ("timing", "valid"),
    [(Timing(), True), (Timing(12, 10, 0.5), True), (Timing(11.9, 10, 0.5), False), (Timing(15, 0, 0.5), False)],
)
def test_a_timing_without_slack_is_not_valid(timing: Timing, valid: bool) -> None:
    assert timing.valid is valid


def test_several_tries_fit_into_the_deadline() -> None:
    for timing in (Timing(), Timing(3, 2, 0.5), Timing(2, 1, 0.2), Timing(60, 40, 0.5)):
        assert timing.renew_every + 2 * (timing.request + timing.retry) <= timing.renew_deadline + timing.retry
