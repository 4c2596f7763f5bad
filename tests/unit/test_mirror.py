"""Which observation is news."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from builders import NOON, a_job, a_pod, a_queue
from taskjob.control.mirror import Mirror, StoreRestoredError
from taskjob.core.model import Job
from taskjob.core.state import State


class FrozenClock:
    def now(self) -> datetime:
        return NOON

    def elapsed(self) -> float:
        return 0.0


@pytest.fixture
def mirror() -> Mirror:
    return Mirror(State(), FrozenClock(), lambda: None)


def held(mirror: Mirror, job: Job) -> Job:
    return mirror.state.jobs[job.uid].job


def test_an_older_observation_of_a_job_changes_nothing(mirror: Mirror) -> None:
    job = a_job("a").at_version(5).build()
    mirror.observe_job(job)
    mirror.observe_job(replace(job, version=4, suspend=True))
    assert held(mirror, job) == job


def test_a_newer_observation_of_a_job_replaces_the_older(mirror: Mirror) -> None:
    job = a_job("a").at_version(5).build()
    mirror.observe_job(job)
    mirror.observe_job(newer := replace(job, version=6, suspend=True))
    assert held(mirror, job) == newer


def test_a_late_event_does_not_bring_a_deleted_job_back(mirror: Mirror) -> None:
    job = a_job("a").at_version(5).build()
    mirror.observe_job(job)
    mirror.forget_job(job.uid)
    mirror.observe_job(replace(job, version=9))
    assert job.uid not in mirror.state.jobs


def test_an_event_from_before_a_list_that_did_not_hold_the_job_is_dropped(mirror: Mirror) -> None:
    mirror.replace_jobs(10, [])
    mirror.observe_job(a_job("old").at_version(10).build())
    mirror.observe_job(new := a_job("new").at_version(11).build())
    assert [tracked.job for tracked in mirror.state.jobs.values()] == [new]


def test_a_list_removes_what_it_does_not_hold_unless_that_is_newer(mirror: Mirror) -> None:
    mirror.observe_job(a_job("vanished").at_version(5).build())
    mirror.observe_job(newer := a_job("newer").at_version(12).build())
    mirror.replace_jobs(10, [])
    assert [tracked.job for tracked in mirror.state.jobs.values()] == [newer]


def test_a_list_does_not_set_a_job_back(mirror: Mirror) -> None:
    job = a_job("a").at_version(12).build()
    mirror.observe_job(job)
    mirror.replace_jobs(10, [replace(job, version=8, suspend=True)])
    assert held(mirror, job) == job


def test_a_list_from_before_a_deletion_does_not_bring_the_job_back(mirror: Mirror) -> None:
    job = a_job("a").at_version(5).build()
    mirror.observe_job(job)
    mirror.forget_job(job.uid)
    mirror.replace_jobs(6, [job])
    assert job.uid not in mirror.state.jobs


def test_a_list_that_is_older_than_the_one_before_says_that_the_store_was_restored(mirror: Mirror) -> None:
    mirror.replace_jobs(10, [])
    with pytest.raises(StoreRestoredError, match="version 9"):
        mirror.replace_jobs(9, [])


def test_the_mirror_is_in_step_once_all_three_kinds_were_listed(mirror: Mirror) -> None:
    mirror.replace_jobs(1, [])
    mirror.replace_queues(1, [])
    assert not mirror.synced
    mirror.replace_pods(1, [])
    assert mirror.synced


def test_a_late_event_does_not_bring_a_deleted_pod_back(mirror: Mirror) -> None:
    job = a_job("a").build()
    mirror.observe_job(job)
    pod = a_pod(job).at_version(5).build()
    mirror.observe_pod(pod)
    mirror.forget_pod(replace(pod, version=6))
    mirror.observe_pod(replace(pod, version=4))
    mirror.observe_pod(replace(pod, version=7))
    assert mirror.state.pods[pod.attempt].gone


def test_a_list_of_pods_releases_the_quota_of_those_that_vanished(mirror: Mirror) -> None:
    job = a_job("a").build()
    mirror.observe_queue(a_queue())
    mirror.observe_job(job)
    mirror.observe_pod(a_pod(job).at_version(5).build())
    assert mirror.state.queues.by_name[job.queue].ledger.charges == 1
    mirror.replace_pods(6, [])
    assert mirror.state.queues.by_name[job.queue].ledger.charges == 0


def test_a_list_of_queues_drops_those_that_vanished(mirror: Mirror) -> None:
    mirror.observe_queue(a_queue("a", version=3))
    mirror.replace_queues(5, [a_queue("b", version=4)])
    assert [name for name, tracked in mirror.state.queues.by_name.items() if tracked.queue is not None] == ["b"]


def test_the_newest_epoch_is_that_of_the_newest_status_or_pod_however_it_came(mirror: Mirror) -> None:
    job = a_job("a").at_version(5).build()
    mirror.replace_jobs(5, [replace(job, status=replace(job.status, epoch=3))])
    assert mirror.newest_epoch == 3
    mirror.observe_pod(replace(a_pod(job).build(), version=6, epoch=4))
    assert mirror.newest_epoch == 4
    mirror.observe_job(replace(job, version=7, status=replace(job.status, epoch=6)))
    mirror.replace_pods(8, [replace(a_pod(job).build(), version=8, epoch=5)])
    assert mirror.newest_epoch == 6
