"""The invariants, each a function that says who broke it and how. What they look at: the API server's audit log, the
objects as witnesses saw them (ordered by resourceVersion, which is etcd's revision), and the database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Final

from cluster_api import Object, ended
from kill_story import ATTEMPT, JOB, MET, End, expected, faults_of_history, faults_of_job, pods_created_twice
from recorded import Told

from .work import KEY_LIMIT, QUOTA, Task

UID: Final = "taskjobs.dev/job-uid"
RUN: Final = "taskjobs.dev/run"
DESCRIPTORS: Final = 200  # of one operator: some dozens of connections and files
MEGABYTES: Final = 300  # of one operator with some dozens of jobs
Events = Sequence[tuple[str, Object]]


def version(found: Object) -> int:
    """The revision of the store by which it was written."""
    return int(found["metadata"]["resourceVersion"])


def one_pod_per_attempt(audit_log: Path, namespace: str, pods: Events) -> Iterator[str]:
    """At most one pod per attempt ever: by the creates that the API server took, and by the uids that were seen."""
    _, twice = pods_created_twice(audit_log, namespace)
    for name, times in twice.items():
        yield f"pod {name} was created {times} times"
    uids: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    for _, pod in pods:
        labels = pod["metadata"]["labels"]
        uids[labels[JOB], labels.get(RUN, "0"), labels[ATTEMPT]].add(pod["metadata"]["uid"])
    for (job, run, attempt), found in uids.items():
        if len(found) > 1:
            yield f"{job}: attempt {attempt} of run {run} had the pods {sorted(found)}"


def no_pod_before_its_dependencies(work: Sequence[Task], jobs: Events, pods: Events) -> Iterator[str]:
    """No pod of an attempt whose dependencies had not ended, and as its condition says."""
    over: dict[str, int] = {}  # by job: since which revision it is; that its pod has ended is as good as its own word
    phases: dict[str, str] = {}
    last: dict[str, tuple[int, int]] = {}
    for _, job in jobs:
        if ended(job):
            name = job["metadata"]["name"]
            phases[name] = job["status"]["phase"]
            over[name] = min(over.get(name, version(job)), version(job))
            last[name] = (job["status"].get("run", 0), job["status"].get("attempt", 0))
    begun: dict[str, int] = {}
    for _, pod in pods:
        labels = pod["metadata"]["labels"]
        name, attempt = labels[JOB], int(labels[ATTEMPT])
        begun[name] = min(begun.get(name, version(pod)), version(pod))
        if pod["status"].get("phase") in ("Succeeded", "Failed") and last.get(name) == (0, attempt):
            over[name] = min(over.get(name, version(pod)), version(pod))
    for task in work:
        for name, condition in task.depends_on if task.name in begun else ():
            if over.get(name, begun[task.name]) >= begun[task.name]:
                yield f"{task.name} had a pod at {begun[task.name]}, {name} was over at {over.get(name)}"
            if phases.get(name) not in MET[condition]:
                yield f"{task.name} had a pod, though {name} is {phases.get(name)} and must be {condition}"


def one_attempt_at_a_time(pods: Events) -> Iterator[str]:
    """The next attempt of a job begins when the pod of the one before has ended or is gone, lost nodes included."""
    alive: defaultdict[str, set[str]] = defaultdict(set)
    for told in _moments(pods):
        for kind, pod in told:
            job, attempt = pod["metadata"]["labels"][JOB], pod["metadata"]["name"]
            (alive[job].discard if _is_over(kind, pod) else alive[job].add)(attempt)
        for job in {pod["metadata"]["labels"][JOB] for _, pod in told}:
            if len(alive[job]) > 1:
                yield f"{job}: the pods {sorted(alive[job])} were alive at a time"


def _is_over(kind: str, pod: Object) -> bool:
    return kind in ("DELETED", "GONE") or pod["status"].get("phase") in ("Succeeded", "Failed")


def _moments(events: Events) -> Iterator[list[tuple[str, Object]]]:
    """The events, in order; what one list told is one moment: only between two of those is there something to count."""
    for _, told in groupby(events, key=lambda event: "list" if event[0] in ("LISTED", "GONE") else id(event)):
        yield list(told)


def no_admission_above_quota(work: Sequence[Task], pods: Events) -> Iterator[str]:
    """Never more pods alive than the queue's quota, nor more holders of the key than its limit."""
    by_name = {task.name: task for task in work}
    alive: defaultdict[str, set[str]] = defaultdict(set)
    limits = {**QUOTA, "the key": KEY_LIMIT}
    for told in _moments(pods):
        for kind, pod in told:
            task, uid, over = by_name[pod["metadata"]["labels"][JOB]], pod["metadata"]["uid"], _is_over(kind, pod)
            for what in (task.queue, *(("the key",) if task.key else ())):
                (alive[what].discard if over else alive[what].add)(uid)
        for what, limit in limits.items():
            if len(alive[what]) > limit:
                yield f"{what}: {len(alive[what])} pods were alive at a time, {limit} may be"


def ends_as_it_must(
    work: Sequence[Task], ends: Mapping[str, End], last: Mapping[str, Object], pods: Events
) -> Iterator[str]:
    """Every job ends, as its manifest says, and is charged the retries that the rules say."""
    attempts: defaultdict[str, set[int]] = defaultdict(set)
    for _, pod in pods:
        labels = pod["metadata"]["labels"]
        task_run = last.get(labels[JOB], {}).get("status", {}).get("run", 0)
        if int(labels.get(RUN, "0")) == task_run:
            attempts[labels[JOB]].add(int(labels[ATTEMPT]))
    for task in work:
        if task.name not in last:
            yield f"{task.name}: was never seen"
            continue
        status = last[task.name].get("status") or {}
        if status.get("run", 0) != int(task.rerun):
            yield f"{task.name}: ended in run {status.get('run', 0)}, must in {int(task.rerun)}"
        for fault in faults_of_job(task, ends[task.name], status, sorted(attempts[task.name])):
            yield f"{task.name}: {fault}"


def history_is_complete(
    work: Sequence[Task], ends: Mapping[str, End], last: Mapping[str, Object], told: Mapping[str, Told]
) -> Iterator[str]:
    """History is complete, in order, without doubles, and says what the objects say."""
    for task in work:
        status = last.get(task.name, {}).get("status") or {}
        for fault in faults_of_history(task, ends[task.name], status, told.get(task.name)):
            yield f"{task.name}: {fault}"


@dataclass(slots=True)
class Heard:
    """What a client of the stream was told: by the job's uid the phases, in order, and how often to start anew. After
    that `phases` counts from there, and `snapshot` holds the phase in which it was shown each job."""

    phases: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    snapshot: dict[str, str] = field(default_factory=dict)
    resets: int = 0


def the_stream_told_all_once(heard: Heard, told: Mapping[str, Told], may_reset: int = 0) -> Iterator[str]:
    """A client that came back with its cursor heard each transition once, in order; it was told to start anew only when
    history had lost rows, and then heard all that came after what it was shown."""
    if heard.resets > may_reset:
        yield f"a client with a cursor was told {heard.resets} times to start anew"
    for name, one in told.items():
        found, shown = heard.phases.get(one.job["uid"], []), heard.snapshot.get(one.job["uid"])
        before = len(one.phases) - len(found)
        if found != one.phases[max(before, 0) :] or (
            before if shown is None else shown not in one.phases[before - 1 :]
        ):
            after = f" after it was shown as {shown}" if shown is not None else ""
            yield f"{name}: the stream told {found}{after}, history has {one.phases}"


def nothing_is_left_behind(
    work: Sequence[Task], jobs: Iterable[str], pods: Iterable[str], connections: int = 0
) -> Iterator[str]:
    """No pod, no TaskJob past its time to live, no connection to PostgreSQL of those that have ended."""
    fleeting = {task.name for task in work if task.fleeting}
    yield from (f"pod {name} is still there" for name in sorted(pods))
    yield from (f"TaskJob {name} is past its time to live and still there" for name in sorted(fleeting & set(jobs)))
    if connections:
        yield f"{connections} connections to PostgreSQL are still open"


def no_process_has_grown(descriptors: Mapping[str, int], megabytes: Mapping[str, float]) -> Iterator[str]:
    """Neither open files and connections nor memory of an operator have piled up."""
    for name, count in descriptors.items():
        if count > DESCRIPTORS:
            yield f"{name} has {count} descriptors open, {DESCRIPTORS} are plenty"
    for name, size in megabytes.items():
        if size > MEGABYTES:
            yield f"{name} has {size:.0f} MB of memory, {MEGABYTES} are plenty"


def taken_by_the_cluster(work: Sequence[Task], told: Mapping[str, Told], pods: Events) -> None:
    """Which of the evicted attempts were taken away: not those that were done before the node heard, as their exit code
    of 0 says (with another one nobody knows what made it fail), and not those that the operator had told to stop, which
    history calls their timeout. A simulated node may tell of its own end and of the stop, one after the other (9011).
    """
    done: defaultdict[str, set[tuple[int, int]]] = defaultdict(set)
    for _, pod in pods:
        labels = pod["metadata"]["labels"]
        for container in pod["status"].get("containerStatuses", ()):
            if container["state"].get("terminated", {}).get("exitCode") == 0:
                done[labels[JOB]].add((int(labels.get(RUN, "0")), int(labels[ATTEMPT])))
    for task in work:
        rows = told[task.name].attempts if task.timeout and task.name in told else ()
        timed_out = {(row["run"], row["attempt"]) for row in rows if row["failure"] == "Timeout"}
        task.taken = task.evicted - done[task.name] - timed_out


def how_they_end(work: Sequence[Task], last: Mapping[str, Object]) -> dict[str, End]:
    """The oracle's word, told which cancels came in time."""

    def was_cancelled(task: Task) -> bool:
        return bool((last.get(task.name, {}).get("status") or {}).get("phase") == "Cancelled")

    return expected(work, {task.name: was_cancelled(task) for task in work if task.cancel})
