"""The judge of the chaos suite on stories in which an invariant is broken: one that never says no proves nothing."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from chaos import judge
from chaos.faults import TABLE, drawn
from chaos.work import KEY_LIMIT, QUOTA, RANKED, Task, random_work
from cluster_api import Object
from kill_story import ATTEMPT, JOB
from recorded import Told
from taskjob_cluster.paths import CHECKOUT


def a_pod(job: str, at: int, *, attempt: int = 1, uid: str = "", phase: str = "Pending", run: int = 0) -> Object:
    labels = {JOB: job, ATTEMPT: str(attempt), judge.RUN: str(run)}
    uid = uid or f"{job}-{run}-{attempt}"
    meta = {"name": uid, "uid": uid, "labels": labels, "resourceVersion": str(at)}
    return {"metadata": meta, "status": {"phase": phase}}


def a_job(name: str, at: int, **status: Any) -> Object:
    return {"metadata": {"name": name, "uid": name, "resourceVersion": str(at)}, "spec": {}, "status": status}


def a_task(name: str, **said: Any) -> Task:
    plain: dict[str, Any] = {"codes": [0], "limit": 0, "seconds": 0, "starts_in": 0}
    return Task(name, **(plain | said))


def an_audit_log(folder: Path, *names: str) -> Path:
    place = folder / "audit.log"
    events = [
        {"verb": "create", "objectRef": {"namespace": "n", "name": name}, "responseStatus": {"code": 201}}
        for name in names
    ]
    place.write_text("".join(json.dumps(event) + "\n" for event in events))
    return place


def test_two_creates_of_a_pod_and_two_uids_of_an_attempt_are_found(tmp_path: Path) -> None:
    assert not list(judge.one_pod_per_attempt(an_audit_log(tmp_path, "a", "b"), "n", [("ADDED", a_pod("a", 1))]))
    twice = list(judge.one_pod_per_attempt(an_audit_log(tmp_path, "a", "a"), "n", []))
    assert twice == ["pod a was created 2 times"]
    pods = [("ADDED", a_pod("a", 1, uid="one")), ("ADDED", a_pod("a", 2, uid="two"))]
    assert "attempt 1 of run 0 had the pods" in next(judge.one_pod_per_attempt(an_audit_log(tmp_path), "n", pods))


def test_a_pod_that_came_before_the_end_of_a_dependency_is_found() -> None:
    work = [a_task("first"), a_task("then", depends_on=[("first", "Succeeded")])]
    jobs = [("MODIFIED", a_job("first", 10, phase="Succeeded", attempt=1))]
    assert not list(judge.no_pod_before_its_dependencies(work, jobs, [("ADDED", a_pod("then", 11))]))
    assert list(judge.no_pod_before_its_dependencies(work, jobs, [("ADDED", a_pod("then", 9))])) == [
        "then had a pod at 9, first was over at 10"
    ]
    ended_at_8 = ("MODIFIED", a_pod("first", 8, phase="Succeeded"))
    assert not list(judge.no_pod_before_its_dependencies(work, jobs, [ended_at_8, ("ADDED", a_pod("then", 9))]))


def test_a_pod_of_a_job_whose_condition_was_not_met_is_found() -> None:
    work = [a_task("first"), a_task("then", depends_on=[("first", "Succeeded")])]
    jobs = [("MODIFIED", a_job("first", 1, phase="Failed", attempt=1))]
    assert list(judge.no_pod_before_its_dependencies(work, jobs, [("ADDED", a_pod("then", 2))])) == [
        "then had a pod, though first is Failed and must be Succeeded"
    ]


def test_more_pods_than_the_quota_or_the_key_allow_are_found_and_what_ended_or_went_counts_no_more() -> None:
    many = [a_task(f"r{number}", queue=RANKED) for number in range(QUOTA[RANKED] + 1)]
    pods = [("ADDED", a_pod(task.name, at)) for at, task in enumerate(many)]
    assert "ranked: 3 pods were alive" in next(judge.no_admission_above_quota(many, pods))
    for over in (("MODIFIED", a_pod("r0", 7, phase="Failed")), ("DELETED", a_pod("r0", 7)), ("GONE", a_pod("r0", 7))):
        assert not list(judge.no_admission_above_quota(many, [*pods[:2], over, pods[2]]))
    keyed = [a_task(f"k{number}", key="x") for number in range(KEY_LIMIT + 1)]
    pods = [("ADDED", a_pod(task.name, at)) for at, task in enumerate(keyed)]
    assert "the key: 3 pods were alive" in next(judge.no_admission_above_quota(keyed, pods))


def test_a_wrong_end_a_retry_too_many_and_a_job_that_was_not_rerun_are_found() -> None:
    work = [a_task("a", codes=[1, 0], limit=1), a_task("again", rerun=True)]
    ends = judge.how_they_end(work, {})
    pods = [("ADDED", a_pod("a", at, attempt=at)) for at in (1, 2)] + [("ADDED", a_pod("again", 3, run=1))]
    right: dict[str, Any] = {"phase": "Succeeded", "reason": "Completed", "attempt": 2, "retries": 1}
    again: dict[str, Any] = {"phase": "Succeeded", "reason": "Completed", "attempt": 1, "retries": 0, "run": 1}
    last = {"a": a_job("a", 9, **right), "again": a_job("again", 9, **again)}
    assert not list(judge.ends_as_it_must(work, ends, last, pods))
    charged = last | {"a": a_job("a", 9, **(right | {"retries": 2}))}
    assert list(judge.ends_as_it_must(work, ends, charged, pods)) == ["a: 2 retries were counted, there must be 1"]
    failed = last | {"a": a_job("a", 9, **(right | {"phase": "Failed"}))}
    assert "ended Failed/Completed, must end Succeeded" in next(judge.ends_as_it_must(work, ends, failed, pods))
    once = last | {"again": a_job("again", 9, **(again | {"run": 0}))}
    assert "again: ended in run 0, must in 1" in list(judge.ends_as_it_must(work, ends, once, pods))


def test_what_a_stream_left_out_or_told_twice_is_found() -> None:
    told = Told({"uid": "u"}, [{"to_phase": "Pending"}, {"to_phase": "Starting"}])
    assert not list(judge.the_stream_told_all_once({"u": ["Pending", "Starting"]}, {"a": told}, 0))
    for heard in (["Pending"], ["Pending", "Pending", "Starting"], ["Starting", "Pending"]):
        assert len(list(judge.the_stream_told_all_once({"u": heard}, {"a": told}, 0))) == 1
    assert list(judge.the_stream_told_all_once({}, {}, 1)) == ["a client with a cursor was told 1 times to start anew"]


def test_a_seed_draws_the_same_jobs_and_strikes_each_time_and_all_kinds_come_up() -> None:
    assert random_work(7, 40) == random_work(7, 40)
    assert drawn(random.Random(7), 9) == drawn(random.Random(7), 9)
    seen = {fault.name for strike in drawn(random.Random(1), 300) for fault in strike}
    assert seen == {fault.name for fault in TABLE}
    work = random_work(7, 40)
    for kind in ("key", "timeout", "rerun", "fleeting", "depends_on", "cancel"):
        assert any(getattr(task, kind) for task in work), kind


def test_the_table_of_the_docs_has_every_fault() -> None:
    lines = (CHECKOUT / "docs" / "chaos.md").read_text().splitlines()
    rows = [line.split("`")[1] for line in lines if line.startswith("| `")]
    assert rows == [fault.name for fault in TABLE]
