"""The judge of the chaos suite on stories in which an invariant is broken: one that never says no proves nothing."""

from __future__ import annotations

import json
import random
import re
from inspect import isfunction, isgeneratorfunction
from itertools import pairwise
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


def test_a_pod_that_began_before_the_one_before_it_had_ended_is_found() -> None:
    first, second = a_pod("a", 1), a_pod("a", 3, attempt=2)
    ends = [("MODIFIED", a_pod("a", 2, phase="Failed")), ("DELETED", a_pod("a", 2)), ("GONE", a_pod("a", 2))]
    for end in ends:
        assert not list(judge.one_attempt_at_a_time([("ADDED", first), end, ("ADDED", second)]))
    terminating = [("ADDED", first), ("ADDED", second), ends[0]]
    assert list(judge.one_attempt_at_a_time(terminating)) == ["a: the pods ['a-0-1', 'a-0-2'] were alive at a time"]
    listed = [("LISTED", second), ("GONE", first)]
    assert not list(judge.one_attempt_at_a_time([("ADDED", first), *listed])), "a list tells of one moment"


def test_an_attempt_that_the_cluster_took_away_is_not_charged_and_every_other_is() -> None:
    work = [a_task("a", codes=[1, 1, 0], limit=1)]
    pods = [("ADDED", a_pod("a", at, attempt=at)) for at in (1, 2, 3)]
    ended: dict[str, Any] = {"phase": "Succeeded", "reason": "Completed", "attempt": 3, "retries": 1}
    last = {"a": a_job("a", 9, **ended)}
    assert list(judge.ends_as_it_must(work, judge.how_they_end(work, {}), last, pods))
    work[0].taken.add((0, 2))
    assert not list(judge.ends_as_it_must(work, judge.how_they_end(work, {}), last, pods))
    charged = {"a": a_job("a", 9, **(ended | {"retries": 2}))}
    assert list(judge.ends_as_it_must(work, judge.how_they_end(work, {}), charged, pods)) == [
        "a: 2 retries were counted, there must be 1"
    ]


def test_only_what_was_stopped_without_a_word_of_the_operator_was_taken_away() -> None:
    every = {(0, 1), (0, 2), (0, 3), (1, 2)}
    timed, plain = a_task("timed", timeout=1, evicted={(0, 1), (0, 2)}), a_task("plain", evicted=every)
    rows = [{"run": 0, "attempt": 1, "failure": "Timeout"}, {"run": 0, "attempt": 2, "failure": "PodDeleted"}]
    told = {"timed": Told({}, [], rows), "plain": Told({}, [], rows)}
    ends = []
    for attempt, code in ((2, 0), (1, 143), (3, 7), (3, 143)):
        pod = a_pod("plain", attempt, attempt=attempt)
        pod["status"]["containerStatuses"] = [{"state": {"terminated": {"exitCode": code}}}]
        ends.append(("MODIFIED", pod))
    judge.taken_by_the_cluster([timed, plain], told, ends)
    assert (timed.taken, plain.taken) == ({(0, 2)}, every - {(0, 2)})


def a_story(**said: Any) -> Told:
    """History of a job that failed once and then succeeded, with what is said instead."""
    path = ["", "Pending", "Starting", "Running", "Pending", "Starting", "Running", "Succeeded"]
    rows = [
        {"n": n, "run": 0, "attempt": 0 if n == 0 else 1 if n < 4 else 2, "from_phase": before, "to_phase": after}
        for n, (before, after) in enumerate(pairwise(path))
    ]
    job = {"uid": "a", "phase": "Succeeded", "reason": "Completed", "attempt": 2, "retries": 1, "transition": 6}
    attempts = [{"run": 0, "attempt": n, "exit_code": 2 - n, "started_at": "now"} for n in (1, 2)]
    plain: dict[str, Any] = {"job": job, "transitions": rows, "attempts": attempts, "logs": attempts}
    return Told(**(plain | said))


def test_a_gap_a_double_a_leap_a_wrong_end_and_a_lost_attempt_or_log_in_history_are_found() -> None:
    work = [a_task("a", codes=[1, 0], limit=1)]
    ends = judge.how_they_end(work, {})
    whole = a_story()
    last = {"a": a_job("a", 9, **{name: whole.job[name] for name in whole.job if name != "uid"})}

    def faults(**said: Any) -> list[str]:
        return list(judge.history_is_complete(work, ends, last, {"a": a_story(**said)}))

    rows, attempts = whole.transitions, whole.attempts
    assert not faults()
    assert "a: history does not know it" in list(judge.history_is_complete(work, ends, last, {}))
    broken: dict[str, dict[str, Any]] = {
        "transitions are numbered [0, 1, 2, 4, 5, 6]": {"transitions": [*rows[:3], *rows[4:]]},
        "transitions are numbered [0, 1, 2, 3, 3, 4, 5, 6]": {"transitions": [*rows[:4], rows[3], *rows[4:]]},
        "'Pending' -> 'Running' is no legal transition": {
            "transitions": [rows[0], {**rows[1], "to_phase": "Running"}, *rows[2:]]
        },
        "goes from 'Starting', but the job was 'Pending'": {
            "transitions": [rows[0], {**rows[1], "to_phase": "Pending"}, *rows[2:]]
        },
        "its row says Failed, its last transition Succeeded": {"job": {**whole.job, "phase": "Failed"}},
        "history says retries 2, the object 1": {"job": {**whole.job, "retries": 2}},
        "history's last n is 5, the object's 6": {"transitions": rows[:-1]},
        "attempt 1 has exit code 0, not one of {1}": {"attempts": [{**attempts[0], "exit_code": 0}, attempts[1]]},
        "launched were attempts [(0, 1), (0, 2)], kept are [(0, 1)]": {"attempts": attempts[:1]},
        "attempts of run 0 are numbered [2]": {"attempts": attempts[1:]},
        "history has no log of the attempts [2]": {"logs": attempts[:1]},
    }
    for sentence, said in broken.items():
        assert any(sentence in fault for fault in faults(**said)), (sentence, faults(**said))


def heard(*phases: str, shown: str | None = None, resets: int = 0) -> judge.Heard:
    found = judge.Heard(resets=resets)
    found.phases["u"] = list(phases)
    found.snapshot |= {"u": shown} if shown else {}
    return found


def test_what_a_stream_left_out_or_told_twice_is_found() -> None:
    told = {"a": Told({"uid": "u"}, [{"to_phase": phase} for phase in ("Pending", "Starting", "Running")])}
    assert not list(judge.the_stream_told_all_once(heard("Pending", "Starting", "Running"), told))
    for wrong in (
        heard("Pending", "Starting"),
        heard("Starting", "Running"),
        heard("Pending", "Pending", "Starting", "Running"),
        heard("Starting", "Pending", "Running"),
    ):
        assert len(list(judge.the_stream_told_all_once(wrong, told))) == 1
    assert list(judge.the_stream_told_all_once(heard(resets=1), {})) == [
        "a client with a cursor was told 1 times to start anew"
    ]


def test_a_stream_that_began_anew_after_a_failover_must_tell_all_that_follows_what_it_showed() -> None:
    told = {"a": Told({"uid": "u"}, [{"to_phase": phase} for phase in ("Pending", "Starting", "Running")])}
    for right in (
        heard("Starting", "Running", shown="Pending", resets=1),
        heard("Starting", "Running", shown="Starting", resets=1),
        heard(shown="Running", resets=1),
        heard("Pending", "Starting", "Running", resets=1),
    ):
        assert not list(judge.the_stream_told_all_once(right, told, 1))
    for wrong in (
        heard("Running", shown="Pending", resets=1),
        heard(shown="Starting", resets=1),
        heard("Starting", "Starting", "Running", shown="Pending", resets=1),
        heard("Starting", "Running", resets=1),
        heard("Starting", "Running", shown="Pending", resets=2),
    ):
        assert len(list(judge.the_stream_told_all_once(wrong, told, 1))) == 1


def test_a_pod_a_taskjob_past_its_time_a_connection_and_what_piles_up_in_a_process_are_found() -> None:
    work = [a_task("gone", fleeting=True), a_task("stays")]
    assert not list(judge.nothing_is_left_behind(work, ["stays"], []))
    assert list(judge.nothing_is_left_behind(work, ["stays", "gone"], ["gone-1"], 2)) == [
        "pod gone-1 is still there",
        "TaskJob gone is past its time to live and still there",
        "2 connections to PostgreSQL are still open",
    ]
    assert not list(judge.no_process_has_grown({"r": judge.DESCRIPTORS}, {"r": judge.MEGABYTES}))
    grown = list(judge.no_process_has_grown({"r": judge.DESCRIPTORS + 1}, {"r": judge.MEGABYTES + 1}))
    assert [each.split(" has ")[0] for each in grown] == ["r", "r"]


def test_every_invariant_of_the_judge_is_tried_here_on_a_story_that_breaks_it() -> None:
    tried = set(re.findall(r"judge\.([a-z_]+)\(", Path(__file__).read_text()))
    own = {name for name, found in vars(judge).items() if isfunction(found) and found.__module__ == judge.__name__}
    invariants = {name for name in own if isgeneratorfunction(getattr(judge, name)) and not name.startswith("_")}
    assert len(invariants) == 9
    assert invariants <= tried


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


def test_the_readme_tells_every_part_that_breaks_and_how_many_faults_there_are() -> None:
    text = (CHECKOUT / "README.md").read_text()
    rows = [line[2:].split(":")[0] for line in text.partition("| what breaks |")[2].split("\n\n")[0].splitlines()[2:]]
    assert rows == list(dict.fromkeys(fault.part for fault in TABLE))
    assert f"each of the {len(TABLE)} faults" in text
