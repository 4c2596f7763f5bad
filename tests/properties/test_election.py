"""Whatever happens to electors, clocks and requests: never two leaders, epochs only rise, in the end somebody leads."""

from __future__ import annotations

from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from election_play import Elector, Play
from taskjob.kube.election import SLACK, Timing

DRIFT = (SLACK - 1) / (SLACK + 1)
"""How fast or slow a clock may run: two of them, one at each end, still keep the deadline within the lease."""

EVENTS = ("kill", "restart", "same", "pause", "long pause", "resign", "enter", "delete", "annotate", "wait")


def live(play: Play, event: str, draw: Random) -> None:
    """One thing that can happen to a running system."""
    living = [each for each in play.electors if not each.stopped]
    chosen: Elector | None = draw.choice([*living, *play.who()]) if living else None
    fresh = f"p{len(play.electors)}"
    if event == "enter" or chosen is None:
        play.enter(fresh, rate=draw.uniform(1 - DRIFT, 1 + DRIFT))
    elif event == "kill":
        play.kill(chosen)
    elif event == "restart":
        play.restart(chosen, fresh)
    elif event == "same":  # the same pod's container, restarted
        play.restart(chosen, chosen.name)
    elif event == "pause":
        play.pause(chosen, draw.uniform(0, play.timing.lease))
    elif event == "long pause":
        play.pause(chosen, draw.uniform(0.5, 4) * play.timing.lease)
    elif event == "resign":
        play.resign(chosen)
    elif event == "annotate" and play.lease.record is not None:
        play.lease.record = play.lease.record._replace(version=play.lease.record.version + "'")
    elif event == "delete" and not play.who() and not play.writes_under_way:
        # While somebody leads, or may yet, only his epoch can keep him and the next one apart.
        play.floor = play.lease.record.epoch if play.lease.record is not None else play.floor
        play.lease.delete()


@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 2**32),
    electors=st.integers(1, 4),
    network=st.tuples(st.sampled_from((0.0, 0.1, 0.5)), st.sampled_from((0.05, 1.0, 8.0, 30.0))),
    timing=st.sampled_from((Timing(), Timing(3, 2, 0.5), Timing(12, 10, 0.5), Timing(60, 20, 2))),
    events=st.lists(st.tuples(st.sampled_from(EVENTS), st.floats(0, 30)), max_size=25),
)
def test_never_two_leaders_epochs_rise_and_in_the_end_one_leads(
    seed: int, electors: int, network: tuple[float, float], timing: Timing, events: list[tuple[str, float]]
) -> None:
    draw, (trouble, late) = Random(seed), network
    play = Play(draw, timing, trouble, late)
    for _ in range(electors):
        live(play, "enter", draw)
    for event, seconds in events:
        play.run(seconds)
        live(play, event, draw)
        play.floor = max([play.floor, *(epoch for _, epoch in play.lease.acquired)])
    assert play.faults == []
    # The network heals, a process comes: it leads when what is left of the others is over.
    play.trouble, play.late = 0.0, 0.1
    play.enter("last")
    for each in play.electors:
        each.paused_until = min(each.paused_until, play.now)
    play.run(late)  # what is still under way arrives
    slowest = (timing.lease + late) / (1 - DRIFT) + 10 * timing.retry
    play.until(lambda: play.leader() is not None, slowest)
    play.run(3 * timing.lease)
    assert play.faults == []
    leader = play.leader()
    assert leader is not None, "who leads goes on leading"
    assert play.lease.record is not None
    assert (play.lease.record.holder, play.lease.record.epoch) == (leader.name, leader.candidacy.epoch)
