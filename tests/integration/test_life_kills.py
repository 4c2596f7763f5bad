"""Jobs of every class of failure and success, while the operator is killed again and again: none is lost, no attempt is
doubled, no retry charged that should not be.

`make test` plays a small form, the same each time; `make test-life` plays the long one (marker `life`), from a seed
that it draws, and prints its figures.
"""

from __future__ import annotations

import random
import time

import pytest

from killer import Killer
from life_hand import REFUSES, Hand, judge, open_ones
from life_story import counted, endings, random_lives
from operators import Site
from replicas import figure
from seeds import a_seed
from verdict import tell

pytestmark = [pytest.mark.cluster]

PRIORITY_DECIDES = {"preemption": {"withinQueue": "LowerPriority", "minRuntimeSeconds": 0}}
QUOTAS = "/api/v1/namespaces/{namespace}/resourcequotas"
SEED = a_seed()


def play(site: Site, seed: int, size: int, kills: int, at_once: int) -> dict[str, list[str]]:
    """The whole story; what is wrong, by figure."""
    print(f"TASKJOBS_SEED={seed} repeats the jobs and the killer's dice")
    draw, begun = random.Random(seed), time.monotonic()
    lives = random_lives(seed, size)
    ends = endings(lives)
    print(f"{len(lives)} jobs; attempts in a run by fate: {counted(lives, ends)}")
    site.api.create_queue(f"{site.queue}-narrow", pods=at_once)
    for life in lives:
        if life.own_queue and not life.by_hand:
            site.api.create_queue(f"{site.queue}-{life.name}", PRIORITY_DECIDES, pods=1)
    quotas = QUOTAS.format(namespace=site.namespace)
    site.api.call("POST", quotas, REFUSES)
    site.cluster.wait_for("-n", site.namespace, "--for=jsonpath={.status.hard}", "quota/refuses", timeout_seconds=30)
    operator = site.operator()
    killer = Killer(site, operator, draw)
    unmade = [life for life in reversed(lives) if not life.by_hand]
    with Hand(site, lives, random.Random(seed + 1)) as hand:
        while killer.kills < kills:
            for _ in range(len(unmade) // (kills - killer.kills)):
                site.here.create(unmade.pop().manifest(site.queue))
            killer.strike()
        print(f"{kills} kills in {time.monotonic() - begun:.0f} s, {killer.between} between a create and its status")
        refused = [life for life in lives if life.kind == "refused" and life.rules]
        with operator.start():
            site.jobs.wait_until(
                lambda jobs: not open_ones(refused, ends, jobs), 120, "those that shall fail of a refusal do"
            )
            site.api.call("DELETE", f"{quotas}/refuses")
            site.jobs.wait_until(
                lambda jobs: len(jobs) == len(lives) and not open_ones(lives, ends, jobs),
                60 + size / 4,
                lambda: f"all jobs end; open: {open_ones(lives, ends, site.jobs.snapshot())[:20]}",
            )
            site.pods.wait_until(lambda pods: not pods, 60, "no pod is left")
            history = site.wait_history(
                lambda told: len(told) == len(lives) and all(one.ended for one in told.values()),
                "all jobs have ended",
                seconds=30,
            )
    print(f"all ended after {time.monotonic() - begun:.0f} s; done by hand: {dict(hand.did)}")
    assert killer.between >= max(1, kills // 20), f"too few kills hit between a create and its status (seed {seed})"
    faults = judge(site, lives, ends, history)
    site.here.delete_all()
    site.jobs.wait_until(lambda jobs: not jobs, 120, "all TaskJobs are deleted")
    return faults


@pytest.mark.timeout(240)
def test_a_hundred_jobs_of_every_class_end_as_they_must_though_the_operator_is_killed_ten_times(site: Site) -> None:
    faults = play(site, SEED, size=100, kills=10, at_once=30)
    assert not any(faults.values()), f"TASKJOBS_SEED={SEED}\n{tell(faults)}"


@pytest.mark.life
@pytest.mark.timeout(1800)
def test_the_long_form_prints_its_figures(site: Site, request: pytest.FixtureRequest) -> None:
    seed = a_seed(random.SystemRandom().randrange(1, 10**6))
    faults = play(site, seed, size=1000, kills=100, at_once=60)
    with request.getfixturevalue("capsys").disabled():
        print()
        for name, found in faults.items():
            figure(name, len(found), "count", 0, met=not found)
    assert not any(faults.values()), f"TASKJOBS_SEED={seed}\n{tell(faults)}"
