"""What the pure core costs: rebuilding, admitting, one event among many, chains, fans, memory.

    python bench/core_parts.py [--quick]

Prints the machine and a table. Everything runs in one process, without I/O, the garbage collector on; what is
measured is CPU time, so that what else the machine does counts little.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from time import process_time
from typing import Any

from core import NOON, SHAPES, TEMPLATE, Cluster, machine  # type: ignore[import-not-found]  # a script beside

from taskjob.core.model import (
    AttemptId,
    Dependency,
    Job,
    JobName,
    Namespace,
    Pod,
    PodUid,
    Queue,
    QueueName,
    Status,
    Uid,
)
from taskjob.core.phases import Phase, PodPhase, Reason

QUEUE = QueueName("default")


def a_job(number: int, *depends_on: str) -> Job:
    name = f"job-{number:06}"
    return Job(
        uid=Uid(f"00000000-0000-4000-8000-{number:012}"),
        namespace=Namespace("team"),
        name=JobName(name),
        version=number + 1,
        generation=1,
        created_at=NOON + timedelta(seconds=number // 100),
        queue=QUEUE,
        priority=(0, 0, 0, 100)[number % 4],
        request=SHAPES[number % len(SHAPES)],
        template=TEMPLATE,
        depends_on=tuple(Dependency(JobName(other)) for other in depends_on),
    )


def name(number: int) -> str:
    return f"job-{number:06}"


def a_cluster(*, quota_cpu: int | None = None) -> Any:
    """`core.Cluster` with one queue, that is limited in nothing or in its CPU."""
    return Cluster(Queue(QUEUE, quota=() if quota_cpu is None else (("cpu", quota_cpu),)))


def seconds(work: Callable[[], object]) -> float:
    gc.collect()
    begun = process_time()
    work()
    return process_time() - begun


# ------------------------------------------------------------------ what is measured
def rebuild(count: int) -> Iterable[tuple[str, str]]:
    """A restart: a third has ended, a tenth runs with its pods, the rest waits; one in two has a dependency."""
    running = Status(
        phase=Phase.RUNNING,
        reason=Reason.STARTED,
        attempt=1,
        transition=2,
        queued_at=NOON,
        admitted_at=NOON,
        started_at=NOON,
    )
    jobs, pods = [], []
    for number in range(count):
        job = a_job(number, *([name(number - 1)] if number % 2 else []))
        if number % 3 == 0:
            done = {"phase": Phase.SUCCEEDED, "reason": Reason.COMPLETED, "transition": 3, "finished_at": NOON}
            job = replace(job, status=replace(running, **done))
        elif number % 10 == 1:
            job = replace(job, status=running)
            pods.append(
                Pod(
                    PodUid(f"pod-{number}"),
                    f"{job.name}-1",
                    job.namespace,
                    number,
                    AttemptId(job.uid, 0, 0, 1),
                    QUEUE,
                    job.request,
                    PodPhase.RUNNING,
                    NOON,
                    started_at=NOON,
                    node="n",
                )
            )
        jobs.append(job)
    random.Random(1).shuffle(jobs)
    cluster = a_cluster(quota_cpu=10**6)

    def load() -> None:
        for pod in pods:
            cluster.state.put_pod(pod)
        for job in jobs:
            cluster.state.put_job(job)

    loading = seconds(load)
    planning = seconds(cluster.plan)
    yield f"rebuild {count:,} jobs: load", f"{loading:.2f} s"
    yield f"rebuild {count:,} jobs: first plan", f"{planning:.2f} s"


def admissions(count: int) -> Iterable[tuple[str, str]]:
    """All fit: jobs come, are admitted with room for 200 a cycle, succeed."""
    cluster = a_cluster()
    jobs = [a_job(number) for number in range(count)]

    def work() -> None:
        for job in jobs:
            cluster.state.put_job(job)
        left = count
        while left:
            for pod in cluster.answer(cluster.plan(room=200)):
                cluster.finish(pod)
                left -= 1
        cluster.answer(cluster.plan())

    took = seconds(work)
    yield f"{count:,} jobs from created to Succeeded", f"{count / took:,.0f} jobs/s"


def one_event(pending: int) -> Iterable[tuple[str, str]]:
    """Many wait for quota; a pod ends, its place is given to the next: from event to plan."""
    cluster = a_cluster(quota_cpu=8000)
    for number in range(pending):
        cluster.state.put_job(a_job(number))
    first = cluster.plan()
    running = cluster.answer(first)
    while made := cluster.plan():
        if not made.decisions:
            break
        running += cluster.answer(made)
    rounds, took, worst = min(200, pending // 2), 0.0, 0.0
    for _ in range(rounds):
        pod = running.pop(0)
        begun = process_time()
        cluster.finish(pod)
        made = cluster.plan()
        once = process_time() - begun
        took, worst = took + once, max(worst, once)
        running += cluster.answer(made)
        running += cluster.answer(cluster.plan())
    yield f"one event -> plan, {pending:,} pending", f"{took / rounds * 1e6:,.0f} µs (worst {worst * 1e6:,.0f})"


def chain(count: int) -> Iterable[tuple[str, str]]:
    """Each job waits for the one before; applied in the worst and in random order, then run to its end."""
    for order in ("first to last", "last to first", "random"):
        cluster = a_cluster()
        jobs = [a_job(number, *([name(number - 1)] if number else [])) for number in range(count)]
        if order == "last to first":
            jobs.reverse()
        elif order == "random":
            random.Random(1).shuffle(jobs)

        def load(cluster: Any = cluster, jobs: list[Job] = jobs) -> None:
            for job in jobs:
                cluster.state.put_job(job)
            cluster.answer(cluster.plan())

        yield f"chain of {count:,}, {order}: load and plan", f"{seconds(load):.2f} s"

    cluster = a_cluster()
    for number in range(count):
        cluster.state.put_job(a_job(number, *([name(number - 1)] if number else [])))

    def run() -> None:
        pods = cluster.answer(cluster.plan())
        while pods:
            for pod in pods:
                cluster.finish(pod)
            made = cluster.plan()
            pods = cluster.answer(made)
            pods += cluster.answer(cluster.plan())

    yield f"chain of {count:,}: run to its end", f"{count / seconds(run):,.0f} jobs/s"


def applied_one_by_one(count: int) -> Iterable[tuple[str, str]]:
    """A plan after each job: a chain in which each new job waits for all before and is waited for."""
    cluster = a_cluster()

    def load() -> None:
        for number in range(count):
            cluster.state.put_job(a_job(number, *([name(number - 1)] if number else []), name(count)))
            cluster.answer(cluster.plan())

    yield f"chain of {count:,}, a plan after each", f"{seconds(load) / count * 1e6:,.0f} µs/job"


def fan(count: int) -> Iterable[tuple[str, str]]:
    """Many into one, one into many."""
    cluster = a_cluster()
    cluster.state.put_job(a_job(count, *(name(number) for number in range(count))))
    cluster.answer(cluster.plan())
    took = 0.0
    for number in range(count):
        job = a_job(number)
        begun = process_time()
        cluster.state.put_job(job)
        made = cluster.plan()
        took += process_time() - begun
        pods = cluster.answer(made)
        begun = process_time()
        for pod in pods:
            cluster.finish(pod)
        made = cluster.plan()
        took += process_time() - begun
        cluster.answer(made)
    yield f"fan-in of {count:,}, two plans per dependency", f"{took / count * 1e6:,.0f} µs per dependency"

    cluster = a_cluster()
    cluster.state.put_job(a_job(0))
    for number in range(1, count + 1):
        cluster.state.put_job(a_job(number, name(0)))
    (pod,) = cluster.answer(cluster.plan())
    cluster.finish(pod)
    cluster.answer(cluster.plan())
    yield f"fan-out of {count:,}: the dependency ends", f"{seconds(cluster.plan):.2f} s"


def cycles(count: int) -> Iterable[tuple[str, str]]:
    """Everything in one cycle; and a hub with spokes both ways."""
    cluster = a_cluster()
    for number in range(count):
        cluster.state.put_job(a_job(number, name((number + 1) % count)))
    yield f"one cycle of {count:,}: found and told", f"{seconds(cluster.plan):.2f} s"
    cluster = a_cluster()
    cluster.state.put_job(a_job(0, *(name(number) for number in range(1, count))))
    for number in range(1, count):
        cluster.state.put_job(a_job(number, name(0)))
    yield f"hub with {count:,} spokes both ways: found and told", f"{seconds(cluster.plan):.2f} s"


def unlike_shapes(count: int) -> Iterable[tuple[str, str]]:
    """The worst case of admission: no two jobs ask the same."""
    cluster = a_cluster(quota_cpu=10**6)
    for number in range(count):
        request = (("cpu", 900_000 + number), ("pods", 1))
        cluster.state.put_job(replace(a_job(number), request=request, priority=0))
    running = cluster.answer(cluster.plan())
    cluster.answer(cluster.plan())
    cluster.plan()

    def once() -> None:
        cluster.finish(running[0])
        cluster.plan()

    yield f"one event -> plan, {count:,} pending, all of different shape", f"{seconds(once) * 1e3:,.1f} ms"


def memory(count: int) -> Iterable[tuple[str, str]]:
    """Bytes a waiting job takes, its own values included (templates are shared here)."""
    cluster = a_cluster(quota_cpu=0)
    gc.collect()
    tracemalloc.start()
    for number in range(count):
        cluster.state.put_job(a_job(number))
    cluster.answer(cluster.plan())
    cluster.plan()
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    yield f"memory, {count:,} waiting jobs", f"{used / count:,.0f} bytes/job"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the sizes")
    scale = 10 if parser.parse_args().quick else 1
    print(machine())
    for rows in (
        rebuild(20_000 // scale),
        rebuild(100_000 // scale),
        admissions(20_000 // scale),
        one_event(1_000 // scale),
        one_event(100_000 // scale),
        chain(10_000 // scale),
        applied_one_by_one(3_000 // scale),
        fan(10_000 // scale),
        cycles(10_000 // scale),
        unlike_shapes(10_000 // scale),
        memory(20_000 // scale),
    ):
        for what, figure in rows:
            print(f"  {what:62} {figure}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
