"""What a scheduling decision costs: the figures that the engine has to reach.

    python bench/core.py [--jobs N]

The load: 100,000 pending one-pod jobs in 100 queues of 10 cohorts, four priorities, borrowing on, a third of the jobs
behind dependencies. One process, without I/O, the garbage collector as in the operator; what is measured is CPU time,
so that what else the machine does counts little.

Prints the machine, then each figure as a JSON object on a line of its own, {"figure", "value", "unit", "target",
"met"}; exits with 1 if one is not met. What the parts of the core cost, chains, fans and cycles among them:
bench/core_parts.py.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sys
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import process_time
from typing import Any

from taskjob import heap
from taskjob.core.cycle import plan
from taskjob.core.decisions import Launch, Plan, SetStatus
from taskjob.core.model import (
    CohortName,
    Dependency,
    Job,
    JobName,
    Namespace,
    Pod,
    PodTemplate,
    PodUid,
    Queue,
    QueueName,
    Uid,
)
from taskjob.core.phases import PRIORITIES, PodPhase
from taskjob.core.state import State

NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
QUEUES, COHORTS = 100, 10
SHAPES = [(("cpu", cpu), ("memory", 2**30), ("pods", 1)) for cpu in (500, 1000, 2000, 4000)]
TEMPLATE = PodTemplate(b'{"spec":{"containers":[{"name":"main","image":"busybox"}]}}')
PRIORITY = list(PRIORITIES.values())
NOMINAL = (("cpu", 20_000), ("memory", 40 * 2**30))
RUNNING = 1067  # so many of them fit at once
WITHIN = 200  # a job's dependency is one of so many before it


def a_queue(number: int, **terms: Any) -> Queue:
    return Queue(
        QueueName(f"queue-{number:02}"),
        version=1,
        quota=NOMINAL,
        cohort=CohortName(f"cohort-{number % COHORTS}"),
        **terms,
    )


def a_job(number: int) -> Job:
    """Every third waits for one before it; queues, priorities and shapes are mixed."""
    before = number - 1 - (number * 7) % WITHIN
    depends_on = (Dependency(JobName(f"job-{before:06}")),) if number % 3 == 2 and before >= 0 else ()
    return Job(
        uid=Uid(f"00000000-0000-4000-8000-{number:012}"),
        namespace=Namespace("team"),
        name=JobName(f"job-{number:06}"),
        version=number + 1,
        generation=1,
        created_at=NOON + timedelta(seconds=number // 100),
        queue=QueueName(f"queue-{number % QUEUES:02}"),
        priority=PRIORITY[number // QUEUES % 4],
        request=SHAPES[number // 7 % 4],
        template=TEMPLATE,
        depends_on=depends_on,
    )


class Cluster:
    """The queues of the load, unless others are given. Answers decisions when told; counts the CPU seconds of planning,
    and of them those of admission."""

    def __init__(self, *queues: Queue) -> None:
        self.state = State(default_ttl_seconds=10**8)
        self.now = NOON + timedelta(hours=1)
        self.version = 10**7
        self.planning = self.admitting = 0.0
        for queue in queues or map(a_queue, range(QUEUES)):
            self.state.put_queue(queue)

    def plan(self, room: int = 10**9) -> Plan:
        begun = process_time()
        made = plan(self.state, self.now, room)
        took = process_time() - begun
        self.planning += took
        self.admitting += took if room else 0.0
        assert made.faults == (), made.faults[0]
        return made

    def answer(self, made: Plan) -> list[Pod]:
        """Carry out launches and status writes; the pods launched."""
        pods = []
        for decision in made.decisions:
            self.version += 1
            if isinstance(decision, Launch):
                pods.append(self._pod(decision))
                self.state.put_pod(pods[-1])
            elif isinstance(decision, SetStatus):
                self.state.put_job(replace(decision.job, version=self.version, status=decision.status))
        return pods

    def _pod(self, launch: Launch) -> Pod:
        job = launch.job
        return Pod(
            uid=PodUid(f"pod-{job.uid}"),
            name=f"{job.name}-1",
            namespace=job.namespace,
            version=self.version,
            attempt=launch.attempt,
            queue=job.queue,
            request=job.request,
            phase=PodPhase.PENDING,
            created_at=self.now,
            job_name=job.name,
        )

    def finish(self, pod: Pod) -> None:
        self.version += 1
        done: dict[str, Any] = {"started_at": self.now, "finished_at": self.now, "exit_code": 0}
        self.state.put_pod(replace(pod, version=self.version, phase=PodPhase.SUCCEEDED, **done))

    def settle(self) -> list[Pod]:
        """Plan and answer until nothing is decided; the pods launched."""
        pods: list[Pod] = []
        while made := self.plan():
            if not made.decisions:
                return pods
            pods += self.answer(made)
        return pods


def loaded(pending: int) -> Cluster:
    """So many have come that, with those running that fit, so many are pending."""
    cluster = Cluster()
    for number in range(pending + RUNNING):
        cluster.state.put_job(a_job(number))
    return cluster


# ------------------------------------------------------------------ what is measured
def admissions_per_s(count: int) -> tuple[float, float]:
    """From a full cluster to the last job: each that is admitted ends at once, until nobody is left.

    Of each cycle, what happened to jobs and pods is planned first, with no room for launches; what then is planned with
    room is admission alone: who starts, in which order, what is reserved, and what the others are told. The second
    figure counts all of planning: what becomes of pods and statuses, and what history is told, too.
    """
    cluster = loaded(count)
    pods = cluster.settle()
    count += RUNNING - len(pods)
    admitted, cluster.planning, cluster.admitting = 0, 0.0, 0.0
    for pod in pods:
        cluster.finish(pod)
    while admitted < count:
        while cluster.state.dirty_jobs:
            cluster.answer(cluster.plan(room=0))
        pods = cluster.answer(cluster.plan())
        admitted += len(pods)
        for pod in pods:
            cluster.finish(pod)
        assert pods or cluster.state.dirty_jobs, f"{count - admitted} jobs are never admitted"
    return count / cluster.admitting, count / cluster.planning


def decisions_ms(count: int, events: int = 2000) -> list[float]:
    """What one event costs: a pod ends, or a job arrives, each followed by a plan; sorted."""
    cluster = loaded(count)
    running = cluster.settle()
    gc.collect()
    gc.freeze()
    took = []
    for number in range(events):
        if number % 2:
            pod = running.pop(0)  # the one that started first
            begun = process_time()
            cluster.finish(pod)
        else:
            job = a_job(count + RUNNING + number)
            begun = process_time()
            cluster.state.put_job(job)
        made = plan(cluster.state, cluster.now, 10**9)
        took.append((process_time() - begun) * 1e3)
        running += cluster.answer(made)
        running += cluster.settle()
        cluster.now += timedelta(milliseconds=50)
    gc.unfreeze()
    return sorted(took)


def state_bytes_per_job(count: int) -> float:
    """What a pending job takes, its own values included; the template's text, which the installation shares, is not."""
    gc.collect()
    tracemalloc.start()
    cluster = loaded(count)
    cluster.settle()
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used / count


def rebuild_s(count: int) -> float:
    """A restart: from the jobs of a list to the first plan."""
    jobs = [a_job(number) for number in range(count)]
    jobs.reverse()
    gc.collect()
    cluster = Cluster()
    begun = process_time()
    for job in jobs:
        cluster.state.put_job(job)
    cluster.plan()
    return process_time() - begun


def figure(name: str, value: float, unit: str, target: float, *, at_least: bool = False) -> bool:
    met = value >= target if at_least else value <= target
    print(
        json.dumps({"figure": name, "value": round(value, 3), "unit": unit, "target": target, "met": met}), flush=True
    )
    return met


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.processor()}, Python {platform.python_version()}, {platform.release()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000, help="how many jobs are pending (100000)")
    count = parser.parse_args().jobs
    heap.settle()  # as the operator does
    print(machine())
    admissions, lives = admissions_per_s(count)
    met = [figure("admissions_per_s", admissions, "1/s", 50_000, at_least=True)]
    print(f"  ({lives:,.0f}/s with all that is planned in the lives of these jobs)")
    few, many = decisions_ms(max(count // 100, 1000)), decisions_ms(count)
    met += [figure("decision_p99_ms", many[len(many) * 99 // 100], "ms", 1)]
    met += [figure("state_bytes_per_job", state_bytes_per_job(count), "bytes", 2048)]
    met += [figure("rebuild_s", rebuild_s(count), "s", 5)]
    met += [figure("growth", sum(many) / sum(few), "ratio", 2)]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
