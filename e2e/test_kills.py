"""The operator is killed by SIGKILL again and again while it runs a graph of real pods: nothing lost, nothing doubled.

The smaller form of `tests/integration/test_kills.py`: the same oracle and the same verdict, but the pods are run by a
real kubelet, and the operator is the command that a user types, under the roles of the chart.
"""

from __future__ import annotations

import random
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import pytest
import yaml

from cluster_api import InNamespace, Object, Witness, after, ended
from kill_story import ATTEMPT, JOB, Planned, attempts_seen, expected, faults_of_history, faults_of_job
from killer import kill_at
from operator_process import OperatorProcess
from recorded import Told, wait_history
from seeds import a_seed
from taskjob_cluster import Cluster, postgres
from world_of_pods import Bench, a_taskjob

pytestmark = [pytest.mark.cluster, pytest.mark.real_pods, pytest.mark.timeout(180)]

UID: Final = "taskjobs.dev/job-uid"
SEED = a_seed()
AT_ONCE = 3  # pods at a time: so that the graph outlives its killer
KILLS = 10  # fewer only where the graph has ended before
LEAST_KILLS, LEAST_AIMED, LEAST_HITS = 6, 3, 3

BACKOFF: Final = {"initialSeconds": 1, "factor": 1, "maxSeconds": 1, "jitterPercent": 0}


def planned(name: str, *codes: int, retries: int = 0, policy: str = "Skip", **needs: str) -> Planned:
    """A job whose attempts exit with these codes (the last goes on), and the condition on each job that it needs."""
    edges = [(other.replace("_", "-"), condition) for other, condition in needs.items()]
    return Planned(name, list(codes), retries, seconds=0.3, starts_in=0, depends_on=edges, policy=policy)


GRAPH: Final = [
    planned("fetch", 0),
    planned("flaky", 3, 1, 0, retries=2),
    planned("doomed", 7, retries=1),
    planned("chain-1", 0),
    planned("parse", 0, fetch="Succeeded"),
    planned("chain-2", 4, 0, retries=1, chain_1="Succeeded"),
    planned("join", 1, 0, retries=3, flaky="Succeeded", fetch="Finished"),
    planned("rescue", 0, doomed="Failed"),
    planned("skipped", 0, doomed="Succeeded"),
    planned("refused", 0, policy="Fail", skipped="Succeeded"),
    planned("idle", 0, parse="Failed"),
    planned("tidy", 2, 0, retries=1, doomed="Finished", join="Succeeded"),
    planned("last", 5, 6, 0, retries=2, tidy="Finished", chain_2="Succeeded", refused="Finished"),
]
"""Ten that run in 18 attempts, three that never do; nobody needs a job that stands below it."""


def manifest(job: Planned, queue: str) -> Object:
    """The TaskJob, whose container does by itself what the plan says of each attempt."""
    cases = " ".join(f"{attempt}) code={code};;" for attempt, code in enumerate(job.codes[:-1], start=1))
    script = (
        f'case "$TASKJOB_ATTEMPT" in {cases} *) code={job.codes[-1]};; esac; '
        f'echo "{job.name} $TASKJOB_ATTEMPT begins"; sleep {job.seconds}; echo "it ends $code"; exit "$code"'
    )
    return a_taskjob(
        job.name,
        script,
        queue=queue,
        dependsOn=[edge for name, condition in job.depends_on for edge in after(name, condition=condition)],
        onDependencyFailure=job.policy,
        retry={"limit": job.limit, "backoff": BACKOFF},
    )


@pytest.fixture
def narrow(real_cluster: Cluster, namespace: str) -> Iterator[str]:
    """A queue of the test's own, too narrow for the whole graph at once."""
    queue = {"apiVersion": "taskjobs.dev/v1beta1", "kind": "TaskQueue", "metadata": {"name": namespace}}
    real_cluster.kubectl(
        "apply", "-f", "-", input=yaml.safe_dump(queue | {"spec": {"quota": {"pods": AT_ONCE, "cpu": 2}}})
    )
    yield namespace
    real_cluster.kubectl("delete", "taskqueue", namespace, "--wait=false")


class Killer:
    """Kills the operator in several ways, and looks at what each kill has hit."""

    def __init__(self, operator: OperatorProcess, here: InNamespace, pods: Witness, draw: random.Random) -> None:
        self.operator = operator
        self.here = here
        self.pods = pods
        self.draw = draw
        self.kills = 0
        self.aimed = 0
        """Kills at the sight of a new pod, in the thread that saw it."""
        self.orphans: dict[str, str] = {}
        """Pods that were there while no status showed their attempt, by uid: the kill after which they were found."""
        self.hits = 0
        """Kills that fell between the create of at least one pod and its status."""

    def strike(self) -> None:
        """One life of the operator, and its end."""
        self.operator.start()
        aimed = self.kills % 4 != 2 and kill_at(
            self.operator, self.pods, lambda kind, _: kind == "ADDED", self.draw.choice((1, 1, 2)), seconds=20
        )
        if not aimed:  # while it starts, or at work: claiming, listing, taking over what its forerunner left
            threading.Event().wait(self.draw.uniform(0.5, 2.5))
        self.operator.kill()
        self.kills += 1
        self.aimed += aimed
        orphans = self._orphans()
        self.hits += bool(orphans)
        self.orphans |= orphans

    def _orphans(self) -> dict[str, str]:
        """Asked of the server while no operator runs: pods, not found before, whose attempt no status shows yet."""
        jobs = self.here.jobs()
        return {
            pod["metadata"]["uid"]: f"{name} at kill {self.kills}"
            for name, pod in self.here.pods().items()
            if pod["metadata"]["uid"] not in self.orphans
            and int(pod["metadata"]["labels"][ATTEMPT])
            > (jobs[pod["metadata"]["labels"][JOB]].get("status") or {}).get("attempt", 0)
        }


def test_killing_the_operator_again_and_again_neither_loses_nor_doubles_a_real_pod(
    bench: Bench, operator: OperatorProcess, database: postgres.Postgres, here: InNamespace, narrow: str
) -> None:
    print(f"TASKJOBS_SEED={SEED} repeats the killer's dice")
    begun = time.monotonic()
    with here.watch_jobs() as jobs, here.watch_pods() as pods:
        killer = Killer(operator, here, pods, random.Random(SEED))
        operator.kill()
        try:
            bench.apply(*(manifest(job, narrow) for job in reversed(GRAPH)))
            before = 0
            while killer.kills < KILLS and before < len(GRAPH):
                killer.strike()
                before = sum(map(ended, here.jobs().values()))
        finally:
            if not operator.alive:
                operator.start()
            operator.wait_ready()
        print(f"{killer.kills} kills in {time.monotonic() - begun:.0f} s, {killer.aimed} at the sight of a new pod, "
              f"{killer.hits} between a create and its status: {list(killer.orphans.values())}; "
              f"{before} of {len(GRAPH)} jobs had ended by then")  # fmt: skip
        assert not (twice := doubled(pods.seen)), "\n".join(
            [f"seed {SEED}:", *twice]
        )  # before any wait that it would make vain
        jobs.wait_until(
            lambda objects: len(objects) == len(GRAPH) and all(map(ended, objects.values())), 60, "all jobs end"
        )
        pods.wait_until(lambda objects: not objects, 30, "no pod is left")
        told = wait_history(
            database.url,
            lambda told: len(told) == len(GRAPH) and all(one.job["finished_at"] is not None for one in told.values()),
            20,
            "all jobs have ended",
            bench.namespace,
        )
        statuses = {name: found["status"] for name, found in here.jobs().items()}
        judge(pods.seen, statuses, told)
    print(f"all ended and judged after {time.monotonic() - begun:.0f} s")
    assert killer.kills >= LEAST_KILLS, f"the graph ended after {killer.kills} kills already (seed {SEED})"
    of_all = f"of {killer.kills} kills (seed {SEED})"
    assert killer.aimed >= LEAST_AIMED, f"only {killer.aimed} {of_all} came at the sight of a new pod"
    assert killer.hits >= LEAST_HITS, f"only {killer.hits} {of_all} fell between a create and its status"


def doubled(seen: list[tuple[str, Object]]) -> list[str]:
    """The attempts of which the witness ever saw more than one pod."""
    uids: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for _, pod in seen:
        labels = pod["metadata"]["labels"]
        uids[labels[JOB], labels[UID], labels[ATTEMPT]].add(pod["metadata"]["uid"])
    return [f"{name} {uid}: attempt {n} had the pods {many}" for (name, uid, n), many in uids.items() if len(many) > 1]


def judge(seen: list[tuple[str, Object]], statuses: dict[str, Object], history: dict[str, Told]) -> None:
    """The verdict, with everything that is wrong in one message."""
    wrong = doubled(seen)
    attempts, ends = attempts_seen(seen), expected(GRAPH, {})
    for job in GRAPH:
        of_it = sorted(attempt for name, attempt in attempts if name == job.name)
        found = faults_of_job(job, ends[job.name], statuses[job.name], of_it)
        found += faults_of_history(job, ends[job.name], statuses[job.name], history.get(job.name))
        found += faults_of_logs(job, history[job.name]) if job.name in history else []
        wrong += [f"{job.name}: {fault}" for fault in found]
    print(f"{len(attempts)} pods; ends: { {name: end.phase for name, end in ends.items()} }")
    assert not wrong, f"{len(wrong)} faults (seed {SEED}):\n" + "\n".join(wrong)


def faults_of_logs(job: Planned, told: Told) -> list[str]:
    """Where a log that was kept is not what that attempt has printed."""
    wrong = []
    for row in told.logs:
        n, text = row["attempt"], zlib.decompress(row["body"]).decode()
        if text != f"{job.name} {n} begins\nit ends {job.code(n)}\n":
            wrong.append(f"history: the log of attempt {n} is {text!r} ({row['note']})")
    return wrong
