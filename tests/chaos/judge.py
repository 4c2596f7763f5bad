"""The invariants, each a function that says who broke it and how. What they look at: the API server's audit log, the
objects as witnesses saw them (ordered by resourceVersion, which is etcd's revision), and the database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Final

from cluster_api import Object, ended
from kill_story import ATTEMPT, JOB, MET, End, expected, faults_of_history, faults_of_job, pods_created_twice
from recorded import Told

from .work import KEY_LIMIT, QUOTA, Task

UID: Final = "taskjobs.dev/job-uid"
RUN: Final = "taskjobs.dev/run"
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


def no_admission_above_quota(work: Sequence[Task], pods: Events) -> Iterator[str]:
    """Never more pods alive than the queue's quota, nor more holders of the key than its limit."""
    by_name = {task.name: task for task in work}
    alive: defaultdict[str, set[str]] = defaultdict(set)
    limits = {**QUOTA, "the key": KEY_LIMIT}
    # What one list told is one moment: only between two of those is there something to count.
    for _, told in groupby(pods, key=lambda event: event[0] if event[0] in ("LISTED", "GONE") else id(event)):
        for kind, pod in told:
            task, uid = by_name[pod["metadata"]["labels"][JOB]], pod["metadata"]["uid"]
            over = kind in ("DELETED", "GONE") or pod["status"].get("phase") in ("Succeeded", "Failed")
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


def the_stream_told_all_once(heard: Mapping[str, list[str]], told: Mapping[str, Told], resets: int) -> Iterator[str]:
    """A client that came back with its cursor heard each transition once, in order."""
    if resets:
        yield f"a client with a cursor was told {resets} times to start anew"
    for name, one in told.items():
        found = heard.get(one.job["uid"], [])
        if found != one.phases:
            yield f"{name}: the stream told {found}, history has {one.phases}"


def how_they_end(work: Sequence[Task], last: Mapping[str, Object]) -> dict[str, End]:
    """The oracle's word, told which cancels came in time."""

    def was_cancelled(task: Task) -> bool:
        return bool((last.get(task.name, {}).get("status") or {}).get("phase") == "Cancelled")

    return expected(work, {task.name: was_cancelled(task) for task in work if task.cancel})
