"""The hand from outside: does to pods and jobs what their fates say, and judges what became of them."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Self

from cluster_api import MERGE, PODS, Object, RefusedError, ended
from kill_story import ATTEMPT, JOB, pods_created_twice
from life_story import FAILURES, NEVER_RAN, Ending, Life, exit_codes
from operators import Site
from recorded import Told

RUN: Final = "taskjobs.dev/run"
UNTOLD: Final[dict[str, set[str | None]]] = {
    "0": {None},
    "NoImage": {None},
    "Nowhere": {None},
    "Evict": {None},
    "Delete": {None},
    "Preempt": {None, "Timeout"},
}
"""What history may say of them instead: killed in between, an operator finds only what pod and status still tell."""
REFUSES: Final = {"metadata": {"name": "refuses"}, "spec": {"hard": {"requests.ephemeral-storage": "0"}}}


class Hand:
    """Looks again and again at what is there, and does to it what is due, some of it each time; as a context manager.

    What it does to a pod it does once; a request that was refused is made again at the next look.
    """

    def __init__(self, site: Site, lives: Iterable[Life], draw: random.Random) -> None:
        self._site = site
        self._lives = {life.name: life for life in lives}
        self._draw = draw
        self._done: set[str] = set()
        self._failed: list[BaseException] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hand", daemon=True)
        self.did: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(30)
        assert not self._failed, self._failed

    def _run(self) -> None:
        try:
            while not self._stopping.wait(0.2):
                for pod in self._site.pods.snapshot().values():
                    if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]:
                        self._once(pod["metadata"]["uid"], self._meet, pod)
                for name, job in self._site.jobs.snapshot().items():
                    self._then(name, job["spec"], job.get("status") or {})
        except BaseException as error:
            self._failed.append(error)

    def _once(self, key: str, act: Callable[..., object], *args: object) -> None:
        if key in self._done or self._draw.random() < 0.5:
            return
        try:
            if act(*args) is not False:
                self._done.add(key)
        except RefusedError:
            return

    def _meet(self, pod: Object) -> bool:
        """What the pod's attempt is fated to meet; False if it is too soon for that."""
        name, labels = pod["metadata"]["name"], pod["metadata"]["labels"]
        shown = (self._site.jobs[labels[JOB]].get("status") or {}).get("attempt", 0)
        life, path = self._lives[labels[JOB]], f"{PODS.format(namespace=self._site.namespace)}/{name}"
        api, here, fate = self._site.api, self._site.here, life.fate(int(labels[ATTEMPT]))
        match fate:
            case "Evict" | "Delete" if shown < int(labels[ATTEMPT]):
                return False  # of a pod that went before any status told of it, a new operator cannot know
            case "Evict":
                eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
                api.call("POST", f"{path}/eviction", eviction)
            case "Delete":
                api.call("DELETE", path)
            case "LoseNode":
                said = {"phase": "Failed", "reason": "NodeLost", "message": "its node was lost, says the test"}
                api.call("PATCH", f"{path}/status", {"status": said}, MERGE)
            case "Suspend":
                here.change(life.name, suspend=True)
            case "Cancel":
                here.change(life.name, cancel=True)
            case "Preempt":
                here.create(self._lives[f"{life.name}-first"].manifest(self._site.queue))
            case _:
                return True
        self.did[fate] += 1
        return True

    def _then(self, name: str, spec: Object, status: Object) -> None:
        life, here, reason = self._lives[name], self._site.here, status.get("reason")
        if life.then == "cancel" and reason in ("Suspended", "BackingOff"):
            self._once(name, lambda: here.change(name, cancel=True))
        elif spec.get("suspend") and reason == "Suspended" and status.get("phase") == "Pending":
            # after each attempt that was suspended: the place in `done` is the attempt's
            self._once(f"{name}/{status.get('attempt')}", lambda: here.change(name, suspend=False))
        elif life.then == "rerun" and ended({"status": status}) and status["attempt"] and not spec.get("rerun"):
            self._once(name, lambda: here.change(name, rerun=1))


def open_ones(lives: Iterable[Life], ends: Mapping[str, Ending], jobs: Mapping[str, Object]) -> list[str]:
    """The jobs that have not come to their last end."""
    return [
        life.name
        for life in lives
        if life.name not in jobs
        or not ended(jobs[life.name])
        or (life.then == "rerun" and ends[life.name].attempts and not jobs[life.name]["status"].get("run"))
    ]


def judge(
    site: Site, lives: list[Life], ends: Mapping[str, Ending], history: Mapping[str, Told]
) -> dict[str, list[str]]:
    """What is wrong, by figure."""
    assert site.cluster.audit_log is not None
    creates, twice = pods_created_twice(site.cluster.audit_log, site.namespace)
    seen: dict[tuple[str, int, int], set[str]] = defaultdict(set)
    for _, pod in site.pods.seen:
        labels = pod["metadata"]["labels"]
        seen[labels[JOB], int(labels.get(RUN, 0)), int(labels[ATTEMPT])].add(pod["metadata"]["uid"])
    doubled = [f"pod {name} was created {times} times, says the audit log" for name, times in twice.items()]
    doubled += [f"{attempt} had the pods {uids}" for attempt, uids in seen.items() if len(uids) > 1]
    lost, mischarged = [], []
    jobs = site.jobs.snapshot()
    attempts: dict[tuple[str, int], list[int]] = defaultdict(list)
    for name, run, attempt in sorted(seen):
        attempts[name, run].append(attempt)
    for life in lives:
        end, status, told = ends[life.name], jobs[life.name]["status"], history.get(life.name)
        of_it = [attempts[life.name, run] for run in range(status.get("run", 0) + 1)]
        lost += [f"{life.name} ({life.kind}): {fault}" for fault in _faults_of_end(end, status, of_it, told)]
        mischarged += [
            f"{life.name} ({life.kind}, {life.fates}): {fault}" for fault in _faults_of_charge(end, status, told)
        ]
    for name in {fault.partition(" ")[0] for fault in mischarged}:  # a failing test tells why
        print(f"{name}: {history[name].transitions if name in history else 'not in history'}")
        for event, pod in site.pods.seen:
            if pod["metadata"]["labels"][JOB] == name:
                meta = {key: value for key, value in pod["metadata"].items() if "eletion" in key or key == "name"}
                print(f"  {event}: {meta} {json.dumps(pod['status'])}")
    print(f"{creates} pods were created; ends: {Counter(job['status']['phase'] for job in jobs.values())}")
    return {"outcomes_lost": lost, "attempts_doubled": doubled, "retries_mischarged": mischarged}


def _faults_of_end(end: Ending, status: Object, attempts: list[list[int]], told: Told | None) -> list[str]:
    wrong = []
    if status["phase"] != end.phase or status["reason"] not in end.reasons:
        must = f"{end.phase} of {sorted(end.reasons)}"
        wrong.append(f"ended {status['phase']}/{status['reason']} ({status.get('message')}), must end {must}")
    for run, numbers in enumerate(attempts):
        if numbers != list(range(1, len(numbers) + 1)):
            wrong.append(f"attempts of run {run} of which pods were seen are not contiguous: {numbers}")
        if end.attempts is not None and len(numbers) != len(end.attempts):
            wrong.append(f"run {run} had {len(numbers)} attempts, must have {end.attempts}")
    if status.get("attempt") != len(attempts[-1]):
        wrong.append(f"the status says attempt {status.get('attempt')}, pods were seen of {len(attempts[-1])}")
    if told is None:
        return [*wrong, "history does not know it"]
    wrong += [f"history: {fault}" for fault in told.faults()]
    for name in ("phase", "reason", "run", "attempt", "retries", "transition"):
        if told.job[name] != status.get(name, 0):
            wrong.append(f"history says {name} {told.job[name]}, the object {status.get(name)}")
    kept = {(row["run"], row["attempt"]) for row in told.logs}
    for row, fate in _attempts(end, told):
        number = f"attempt {row['attempt']} of run {row['run']}, {fate},"
        if row["exit_code"] not in exit_codes(fate):
            wrong.append(f"{number} has exit code {row['exit_code']} in history")
        if (row["run"], row["attempt"]) not in kept and (fate.isdigit() or fate in ("OOM", "TooLong")):
            wrong.append(f"{number} has no log in history")
    return wrong


def _faults_of_charge(end: Ending, status: Object, told: Told | None) -> list[str]:
    if end.attempts is None:
        return []
    wrong = []
    if status.get("retries", 0) != end.retries:
        wrong.append(f"{status.get('retries', 0)} retries were charged, {end.retries} must be ({json.dumps(status)})")
    for row, fate in _attempts(end, told) if told is not None else ():
        number = f"attempt {row['attempt']} of run {row['run']}, {fate},"
        if fate not in ("Suspend", "Cancel"):  # nobody's failure
            may = FAILURES.get(fate, {"ExitCode"}) if fate != "0" else set()
            if row["failure"] not in may and row["failure"] not in UNTOLD.get(fate, set()):
                wrong.append(f"{number} failed of {row['failure']}, says history")
        if fate in NEVER_RAN and row["started_at"] is not None:
            wrong.append(f"{number} never ran, but history says when")
    return wrong


def _attempts(end: Ending, told: Told) -> Iterator[tuple[dict[str, Any], str]]:
    """The attempts that history has, each with its fate, as far as there may be any."""
    for row in told.attempts:
        if end.attempts is not None and row["attempt"] <= len(end.attempts):
            yield row, end.attempts[row["attempt"] - 1]
