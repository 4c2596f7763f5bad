"""Random graphs of jobs, and an oracle of how each must end: for operators that are killed while they run them.

The oracle knows nothing of the operator: it computes an end from what the manifests say (edges, conditions, policies,
exit codes, retry limits) and from what the test did to the job. Where a race is left open to either side (a cancel
against an end), it is asked again with what became of that job, and everything that follows must fit.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cluster_api import Object, a_job, after
from recorded import Told

MET: Final = {
    "Succeeded": {"Succeeded"},
    "Failed": {"Failed"},
    "Finished": {"Succeeded", "Failed", "Cancelled", "Skipped"},
}
ATTEMPT: Final = "taskjobs.dev/attempt"
JOB: Final = "taskjobs.dev/job-name"


@dataclass(slots=True)
class Planned:
    """One job of the graph, and what the test will do to it."""

    name: str
    codes: list[int]  # exit code of each attempt; the last goes on
    limit: int  # of retries
    seconds: float
    starts_in: float
    depends_on: list[tuple[str, str]] = field(default_factory=list)
    policy: str = "Skip"
    born_suspended: bool = False
    suspend: bool = False  # suspended and resumed while the graph runs
    cancel: bool = False  # cancelled while the graph runs
    # Both (run, attempt): those that the cluster told to go while they ran, and of them those that it took away, which
    # are not charged. The others were done before they heard.
    evicted: set[tuple[int, int]] = field(default_factory=set)
    taken: set[tuple[int, int]] = field(default_factory=set)

    @property
    def last_run(self) -> int:
        """The run that it ends in."""
        return 0

    @property
    def may_be_stopped(self) -> bool:
        """Whether attempts of it may be ended from outside and come back uncharged."""
        return self.suspend

    def manifest(self, queue: str) -> Object:
        """The TaskJob."""
        spec: dict[str, Any] = {
            "queue": queue,
            "dependsOn": [edge for name, condition in self.depends_on for edge in after(name, condition=condition)],
            "onDependencyFailure": self.policy,
            "retry": {"limit": self.limit, "backoff": {"initialSeconds": 0, "factor": 1, "maxSeconds": 1}},
            "suspend": self.born_suspended,
        }
        return a_job(
            self.name,
            seconds=self.seconds,
            starts_in=self.starts_in,
            exits=",".join(map(str, self.codes)),
            **spec,
        )

    def code(self, attempt: int) -> int:
        """The exit code of an attempt that nobody stops."""
        return self.codes[min(attempt, len(self.codes)) - 1]


def random_graph(seed: int, size: int) -> list[Planned]:
    """A graph of so many jobs; the same seed gives the same graph. Edges lead back only, so there is no cycle."""
    draw = random.Random(seed)
    graph: list[Planned] = []
    for number in range(size):
        fate = draw.random()
        job = Planned(
            name=f"j{number:03d}",
            codes=[draw.choice((0, 0, 1, 3)) for _ in range(draw.randint(0, 2))] + [draw.choice((0, 0, 0, 0, 7))],
            limit=draw.randint(0, 3),
            seconds=round(draw.choice((0, 0.2, 0.5, 1.5)) * draw.random(), 2),
            starts_in=round(draw.choice((0, 0, 0.3)) * draw.random(), 2),
            policy=draw.choice(("Skip", "Skip", "Fail")),
            born_suspended=fate < 0.05,
            suspend=0.05 <= fate < 0.12,
            cancel=0.12 <= fate < 0.18,
        )
        if job.suspend:  # an attempt that was stopped has used up its number: then all must end alike
            job.codes, job.seconds = [job.codes[-1]], 0.5
        near = graph[-30:]
        for other in draw.sample(near, min(len(near), draw.choice((0, 0, 1, 1, 2, 3)))):
            job.depends_on.append((other.name, draw.choices(("Succeeded", "Finished", "Failed"), (8, 7, 1))[0]))
        graph.append(job)
    return graph


@dataclass(frozen=True, slots=True)
class End:
    """How a job must end."""

    phase: str
    reason: str
    retries: int
    attempts: int  # those that ran to their own end


def expected(graph: Iterable[Planned], cancelled: Mapping[str, bool]) -> dict[str, End]:
    """The end of each job; `cancelled` says of those that the test cancelled whether the cancel came in time."""
    ends: dict[str, End] = {}
    for job in graph:
        if cancelled.get(job.name):
            ends[job.name] = End("Cancelled", "CancelledByUser", -1, -1)
        elif any(ends[name].phase not in MET[condition] for name, condition in job.depends_on):
            phase = {"Skip": "Skipped", "Fail": "Failed"}[job.policy]
            ends[job.name] = End(phase, "DependencyNotSatisfied", 0, 0)
        else:
            ends[job.name] = _run(job)
    return ends


def _run(job: Planned) -> End:
    retries = 0
    for attempt in itertools.count(1):
        if (job.last_run, attempt) in job.taken:
            continue
        if job.code(attempt) == 0:
            return End("Succeeded", "Completed", retries, attempt)
        if retries == job.limit:
            return End("Failed", "AttemptFailed", retries, attempt)
        retries += 1
    raise AssertionError("unreachable: retries are limited")


# ------------------------------------------------------------------ the verdict
def pods_created_twice(audit_log: Path, namespace: str) -> tuple[int, dict[str, int]]:
    """How many creates of pods the API server answered with 201, and the names for which it did so more than once."""
    created: Counter[str] = Counter()
    with audit_log.open() as lines:
        for line in lines:
            event = json.loads(line)
            where = event["objectRef"]
            if (
                event["verb"] == "create"
                and event.get("responseStatus", {}).get("code") == 201
                and where.get("namespace") == namespace
                and not where.get("subresource")
            ):
                created[where["name"]] += 1
    return sum(created.values()), {name: times for name, times in created.items() if times > 1}


def attempts_seen(events: Iterable[tuple[str, Object]]) -> dict[tuple[str, int], set[str]]:
    """The uids of the pods that a witness saw of each (job, attempt)."""
    found: dict[tuple[str, int], set[str]] = defaultdict(set)
    for _, pod in events:
        labels = pod["metadata"]["labels"]
        found[labels[JOB], int(labels[ATTEMPT])].add(pod["metadata"]["uid"])
    return found


def faults_of_job(job: Planned, end: End, status: Object, seen: list[int]) -> list[str]:
    """What is wrong with how one job ended; `seen` are the attempts of which there were pods."""
    wrong = []
    if (status.get("phase"), status.get("reason")) != (end.phase, end.reason):
        wrong.append(f"ended {status.get('phase')}/{status.get('reason')}, must end {end.phase}/{end.reason}")
    if end.retries >= 0 and status.get("retries") != end.retries:
        wrong.append(f"{status.get('retries')} retries were counted, there must be {end.retries}")
    if seen != list(range(1, len(seen) + 1)):
        wrong.append(f"attempts of which pods were seen are not contiguous: {seen}")
    if status.get("attempt") != len(seen):
        wrong.append(f"status says attempt {status.get('attempt')}, pods were seen of {len(seen)}")
    if end.attempts >= 0 and (len(seen) != end.attempts if not job.may_be_stopped else len(seen) < end.attempts):
        wrong.append(f"{len(seen)} attempts, there must be {end.attempts}")
    return wrong


def faults_of_history(job: Planned, end: End, status: Object, told: Told | None) -> list[str]:
    """Where history differs from the object, or from what must have happened."""
    if told is None:
        return ["history does not know it"]
    wrong = [f"history: {fault}" for fault in told.faults()]
    same = {
        "phase": "phase",
        "reason": "reason",
        "attempt": "attempt",
        "retries": "retries",
        "transition": "transition",
    }
    for column, name in same.items():
        if told.job[column] != status.get(name):
            wrong.append(f"history says {column} {told.job[column]}, the object {status.get(name)}")
    if told.transitions and told.transitions[-1]["n"] != status.get("transition"):
        wrong.append(f"history's last n is {told.transitions[-1]['n']}, the object's {status.get('transition')}")
    for row in told.attempts:
        evicted = (row["run"], row["attempt"]) in job.evicted
        stopped = job.may_be_stopped or end.phase == "Cancelled" or evicted
        codes = {job.code(row["attempt"])} | ({143, None} if stopped else set())
        if row["exit_code"] not in codes:
            wrong.append(f"history: attempt {row['attempt']} has exit code {row['exit_code']}, not one of {codes}")
    with_logs = {row["attempt"] for row in told.logs}
    lost = {  # it never ran, or its pod went with its node's word
        row["attempt"]
        for row in told.attempts
        if row["started_at"] is None or (row["run"], row["attempt"]) in job.evicted
    }
    if missing := {row["attempt"] for row in told.attempts} - with_logs - lost:
        wrong.append(f"history has no log of the attempts {sorted(missing)}")
    return wrong
