"""The operator is killed by SIGKILL again and again while it runs a graph of jobs: nothing is lost, nothing doubled."""

from __future__ import annotations

import random
import time

import pytest

from cluster_api import ended
from kill_story import (
    Planned,
    attempts_seen,
    expected,
    faults_of_history,
    faults_of_job,
    pods_created_twice,
    random_graph,
)
from killer import Killer
from operators import Site
from seeds import a_seed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

JOBS = 200
KILLS = 50
SEED = a_seed()
AT_ONCE = 14  # pods at a time: so that the graph outlives its killers


def meddle(site: Site, graph: list[Planned], draw: random.Random) -> None:
    """Suspend, resume and cancel what is to be, a little of it at a time."""
    for job in graph:
        found = site.jobs[job.name]
        spec, phase = found["spec"], (found.get("status") or {}).get("phase")
        if job.born_suspended and spec.get("suspend") and draw.random() < 0.1:
            site.here.change(job.name, suspend=False)
        elif job.suspend and not spec.get("suspend") and job.name not in _resumed:
            if phase == "Running" or draw.random() < 0.02:
                site.here.change(job.name, suspend=True)
        elif job.suspend and spec.get("suspend") and draw.random() < 0.3:
            site.here.change(job.name, suspend=False)
            _resumed.add(job.name)
        elif job.cancel and not spec.get("cancel") and (phase in ("Running", "Starting") or draw.random() < 0.03):
            site.here.change(job.name, cancel=True)


_resumed: set[str] = set()


def finish_meddling(site: Site, graph: list[Planned]) -> None:
    """Nothing stays suspended."""
    for job in graph:  # the witness may not have seen the last change
        if site.here.job(job.name)["spec"].get("suspend"):
            site.here.change(job.name, suspend=False)


def out_of_order(graph: list[Planned], draw: random.Random) -> list[Planned]:
    """The graph, shuffled by twenties: the order of applying does not matter. The last one is to be made first."""
    twenties = [graph[at : at + 20] for at in range(0, len(graph), 20)]
    return [job for twenty in reversed(twenties) for job in draw.sample(twenty, len(twenty))]


def make(site: Site, unmade: list[Planned], count: int) -> None:
    """Create so many more jobs, or all that are left."""
    for _ in range(min(count, len(unmade))):
        site.here.create(unmade.pop().manifest(f"{site.queue}-narrow"))


def test_fifty_kills_over_two_hundred_jobs_lose_nothing_and_double_nothing(site: Site) -> None:
    print(f"TASKJOBS_SEED={SEED} repeats the graph and the killer's dice")
    graph, draw = random_graph(SEED, JOBS), random.Random(SEED)
    _resumed.clear()
    site.api.create_queue(f"{site.queue}-narrow", pods=AT_ONCE)
    operator = site.operator()
    killer = Killer(site, operator, draw)
    begun = time.monotonic()
    unmade = out_of_order(graph, draw)
    make(site, unmade, JOBS - KILLS * 3)
    while killer.kills < KILLS:
        make(site, unmade, 3)
        killer.strike()
        meddle(site, [job for job in graph if job.name in site.jobs.snapshot()], draw)
    make(site, unmade, JOBS)
    site.jobs.wait_until(lambda objects: len(objects) == JOBS, 20, "all jobs are made")
    ended_before = sum(map(ended, site.jobs.snapshot().values()))
    print(f"{killer.kills} kills in {time.monotonic() - begun:.0f} s, {killer.between} between a create and its status;"
          f" {ended_before} of {JOBS} jobs had ended by then")  # fmt: skip
    with operator:
        finish_meddling(site, graph)
        site.jobs.wait_until(
            lambda objects: len(objects) == JOBS and all(map(ended, objects.values())), 60, "all jobs end"
        )
        site.pods.wait_until(lambda objects: not objects, 30, "no pod is left")
        site.wait_history(
            lambda told: len(told) == JOBS and all(one.ended for one in told.values()),
            "all jobs have ended",
        )
    print(f"all ended after {time.monotonic() - begun:.0f} s")
    judge(site, graph)
    assert killer.between >= KILLS // 10, f"too few kills hit between a create and its status (seed {SEED})"


def judge(site: Site, graph: list[Planned]) -> None:
    """The verdict, with everything that is wrong in one message."""
    wrong: list[str] = []
    assert site.cluster.audit_log is not None
    creates, twice = pods_created_twice(site.cluster.audit_log, site.namespace)
    wrong += [f"pod {name} was created {times} times, says the audit log" for name, times in twice.items()]
    seen = attempts_seen(site.pods.seen)
    wrong += [f"{job}: attempt {attempt} had the pods {uids}" for (job, attempt), uids in seen.items() if len(uids) > 1]
    statuses = {name: found["status"] for name, found in site.jobs.snapshot().items()}
    cancelled = {job.name: statuses[job.name]["phase"] == "Cancelled" for job in graph if job.cancel}
    ends, history = expected(graph, cancelled), site.history()
    for job in graph:
        attempts = sorted(attempt for name, attempt in seen if name == job.name)
        found = faults_of_job(job, ends[job.name], statuses[job.name], attempts)
        found += faults_of_history(job, ends[job.name], statuses[job.name], history.get(job.name))
        wrong += [f"{job.name}: {fault}" for fault in found]
    print(f"{creates} pods were created; ends: {sorted({(s['phase']) for s in statuses.values()})}")
    assert not wrong, f"{len(wrong)} faults (seed {SEED}):\n" + "\n".join(wrong[:60])
