"""What dependencies and concurrency keys cost at 100,000 edges: load, run, skips, cycles, jobs that change, busy keys.

    python bench/graph.py [--quick]

One process, no I/O; CPU time. A cost that grew with the unrelated part of the graph would
show in the lines that name it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import replace
from time import process_time

from core import Cluster, machine  # type: ignore[import-not-found]  # a script beside
from core_parts import a_cluster, a_job, name, seconds  # type: ignore[import-not-found]  # a script beside

from taskjob.core.decisions import Launch
from taskjob.core.model import Concurrency, Dependency, Job, JobName
from taskjob.core.phases import FailureClass, Phase, PodPhase, Reason


def dependent(number: int, on: Iterable[int]) -> Job:
    job: Job = a_job(number, *(name(other) for other in on))
    return job


def changed(cluster: Cluster, job: Job, on: Iterable[int]) -> Job:
    cluster.version += 1
    return replace(
        job,
        version=cluster.version,
        generation=job.generation + 1,
        depends_on=tuple(Dependency(JobName(name(n))) for n in on),
    )


def layers(cluster: Cluster, width: int, degree: int, depth: int) -> list[Job]:
    """An acyclic graph of width x depth jobs; each names `degree` of the layer before."""
    jobs = []
    for number in range(width * depth):
        layer, at = divmod(number, width)
        on = [(layer - 1) * width + (at + step) % width for step in range(degree)] if layer else []
        jobs.append(dependent(number, on))
    for job in jobs:
        cluster.state.put_job(job)
    return jobs


def large(scale: int) -> Iterable[tuple[str, str]]:
    """100,000 edges; then what one more job costs, that closes a cycle or does not."""
    cluster = a_cluster(quota_cpu=0)
    width, degree, depth = 1000 // scale, 10, 11
    edges = width * degree * (depth - 1)
    jobs: list[Job] = []
    load = seconds(lambda: jobs.extend(layers(cluster, width, degree, depth)))
    plan = seconds(lambda: cluster.answer(cluster.plan()))
    yield f"{len(jobs):,} jobs, {edges:,} edges: load, first plan", f"{load:.2f} s, {plan:.2f} s"
    cluster.answer(cluster.plan())
    base = 10**6
    took = []
    for turn in range(20):
        one, two = base + 2 * turn, base + 2 * turn + 1
        cluster.state.put_job(dependent(one, [two]))
        cluster.answer(cluster.plan())
        cluster.state.put_job(dependent(two, [one]))
        took.append(seconds(cluster.plan))
    yield f"beside {edges:,} edges: an edge closes a cycle of 2", f"{max(took) * 1e3:.2f} ms"
    took = []
    for turn in range(20):
        cluster.state.put_job(dependent(base + 1000 + turn, [len(jobs) - 1]))
        took.append(seconds(cluster.plan))
    yield f"on top of {edges:,} edges: a job that nobody names", f"{max(took) * 1e3:.2f} ms"
    last = jobs[-1]
    took = []
    for turn in range(20):
        last = changed(cluster, last, [len(jobs) - 2 * width + (turn + step) % width for step in range(degree)])
        cluster.state.put_job(last)
        took.append(seconds(cluster.plan))
    yield "a job at the top changes its names", f"{max(took) * 1e3:.2f} ms"
    first = jobs[width]  # in the second layer: everything above it waits for it
    took = []
    for turn in range(20):
        first = changed(cluster, first, [(turn + step) % width for step in range(degree)])
        cluster.state.put_job(first)
        took.append(seconds(cluster.plan))
    yield "a job near the ground that all wait for changes its names", f"{max(took) * 1e3:.2f} ms"
    first = changed(cluster, first, range(len(jobs) - width, len(jobs)))
    cluster.state.put_job(first)
    took = [seconds(lambda: cluster.answer(cluster.plan()))]
    told = sum(each.job.status.reason is Reason.DEPENDENCY_CYCLE for each in cluster.state.jobs.values())
    assert told > 100, f"{told} were told"
    yield f"it closes cycles through all layers: found, {told:,} told", f"{took[0]:.2f} s"


def skips(count: int) -> Iterable[tuple[str, str]]:
    """A failure at the head of a chain: the skip travels to its end."""
    cluster = a_cluster()
    for number in range(count):
        cluster.state.put_job(dependent(number, [number - 1] if number else []))
    (pod,) = cluster.answer(cluster.plan())
    failed = {"phase": PodPhase.FAILED, "failure": FailureClass.EXIT_CODE, "finished_at": cluster.now, "exit_code": 1}
    cluster.state.put_pod(replace(pod, version=cluster.version + 1, **failed))
    begun = process_time()
    while True:
        made = cluster.plan()
        if not made.decisions:
            break
        cluster.answer(made)
    took = process_time() - begun
    skipped = sum(each.job.status.phase is Phase.SKIPPED for each in cluster.state.jobs.values())
    assert skipped == count - 1, f"{skipped} were skipped"
    yield f"a failure, then {count:,} skips down a chain", f"{took:.2f} s, {took / count * 1e6:.0f} µs each"


def fan_in(count: int) -> Iterable[tuple[str, str]]:
    """One job of many names, put again and again, with and without a change."""
    cluster = a_cluster(quota_cpu=0)
    for number in range(count):
        cluster.state.put_job(a_job(number))
    job = dependent(count, range(count))
    cluster.state.put_job(job)
    while (made := cluster.plan()).decisions:
        cluster.answer(made)

    def label() -> None:
        nonlocal job
        job = replace(cluster.state.jobs[job.uid].job, version=cluster.version + 1)
        cluster.version += 1
        cluster.state.put_job(job)
        cluster.plan()

    def names() -> None:
        nonlocal job
        job = changed(cluster, cluster.state.jobs[job.uid].job, range(count - 1, -1, -1))
        cluster.state.put_job(job)
        cluster.plan()

    yield f"a job of {count:,} names is put again, nothing new", f"{seconds(label) * 1e3:.2f} ms"
    yield f"a job of {count:,} names changes all of them", f"{seconds(names) * 1e3:.1f} ms"


def keys(count: int) -> Iterable[tuple[str, str]]:
    """Many wait for one key; and for one that is wide while quota is short."""
    for limit, cpu in ((1, None), (count, 1000)):
        cluster = a_cluster(quota_cpu=cpu)
        for number in range(count):
            cluster.state.put_job(replace(a_job(number), concurrency=Concurrency("key", limit)))
        pods = []
        load = seconds(lambda: pods.extend(cluster.answer(cluster.plan())))  # noqa: B023 - called at once
        cluster.answer(cluster.plan())
        turns = 200

        def run() -> None:
            nonlocal pods
            for _ in range(turns):  # noqa: B023
                cluster.finish(pods.pop(0))  # noqa: B023
                for _ in range(2):  # the end, then its status: the next starts at the end
                    made = cluster.plan()  # noqa: B023
                    launched = Launch in map(type, made.decisions)
                    pods += cluster.answer(made)  # noqa: B023
                    if launched and pods:
                        break

        took = seconds(run)
        yield (
            f"{count:,} wait for a key of limit {limit:,}: load, one holder for another",
            f"{load:.2f} s, {took / turns * 1e3:.2f} ms",
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes")
    scale = 10 if parser.parse_args().quick else 1
    print(machine())
    for rows in (large(scale), skips(10_000 // scale), fan_in(10_000 // scale), keys(10_000 // scale)):
        for what, figure in rows:
            print(f"  {what:72} {figure}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
