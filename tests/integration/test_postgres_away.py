"""PostgreSQL goes away, operators come and go: scheduling goes on, and history is complete in the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from cluster_api import after, ended
from operators import Site
from taskjob_cluster.postgres import Postgres

pytestmark = pytest.mark.cluster


@pytest.fixture
def mortal(site: Site, own_postgres: Postgres) -> Iterator[tuple[Site, Postgres]]:
    """A site whose history stands in a PostgreSQL of its own, which may be killed."""
    yield replace(site, database_url=own_postgres.url), own_postgres
    if own_postgres.pid is None:
        own_postgres.restart()


def test_scheduling_goes_on_without_postgres_removes_nothing_and_history_is_complete_later(
    mortal: tuple[Site, Postgres],
) -> None:
    site, database = mortal
    with site.operator().start() as operator:
        operator.wait_ready()
        for number in range(10):
            site.create(
                f"before-{number}", seconds=0.3, ttlSecondsAfterFinished=0, dependsOn=after("never"), suspend=True
            )
        site.create("during", seconds=600)
        site.jobs.wait_phase("during", "Running")
        database.kill()
        site.finish("during")
        site.create("first", exits="1,0", retry={"limit": 1, "backoff": {"initialSeconds": 0}})
        for number in range(20):
            site.create(f"job-{number}", dependsOn=after("first"), ttlSecondsAfterFinished=0, exits=number % 2)
        names = {"during", "first", *(f"job-{number}" for number in range(20))}
        site.jobs.wait_until(
            lambda jobs: all(name in jobs and ended(jobs[name]) for name in names), 40, "all end without PostgreSQL"
        )
        operator.wait_metrics("history failed", lambda told: told["taskjobs_history_failures_total"] >= 1)
        code, said = operator.ask("/readyz")
        assert code == 200, said
        site.launched(*names)
        kept = {pod["metadata"]["labels"]["taskjobs.dev/job-name"] for pod in site.pods.snapshot().values()}
        assert kept == names, "pods were removed though history does not hold their outcome"
        assert not [kind for kind, _ in site.jobs.seen if kind == "DELETED"], "TaskJobs were removed without history"
        database.restart()
        told = site.wait_history(
            lambda told: all(told[name].ended and told[name].logs for name in names), "it knows them all, with logs", 30
        )
        site.jobs.wait_until(
            lambda jobs: not any(name.startswith("job-") for name in jobs), 20, "those whose time is over are removed"
        )
        site.pods.wait_until(lambda pods: not pods, 20, "ended pods are removed")
        site.wait_history(
            lambda told: all(told[f"job-{number}"].job["gone_at"] for number in range(20)), "they are gone"
        )
    told = site.history()
    assert [f"{name}: {fault}" for name, one in told.items() for fault in one.faults()] == []
    assert told["first"].phases[-1] == "Succeeded"
    assert len(told["first"].attempts) == 2
    for number in range(20):
        assert told[f"job-{number}"].phases[-1] == ("Failed" if number % 2 else "Succeeded")
        assert told[f"job-{number}"].job["gone_at"] is not None


def test_an_operator_that_starts_while_postgres_is_away_works_and_tells_history_later(
    mortal: tuple[Site, Postgres],
) -> None:
    site, database = mortal
    database.kill()
    with site.operator().start() as operator:
        operator.wait_ready()
        site.create("alone", exits="1,0", retry={"limit": 1, "backoff": {"initialSeconds": 0}})
        site.jobs.wait_phase("alone", "Succeeded")
        database.restart()
        told = site.wait_history(
            lambda told: told["alone"].ended and len(told["alone"].logs) == 2,
            "it knows the job and both logs",
            30,
        )
        assert told["alone"].faults() == []
        assert [row["exit_code"] for row in told["alone"].attempts] == [1, 0]


def test_an_operator_killed_while_postgres_is_away_leaves_no_gap(mortal: tuple[Site, Postgres]) -> None:
    site, database = mortal
    operator = site.operator()
    with operator.start():
        operator.wait_ready()
        site.create("told", seconds=0.2)
        site.wait_history(lambda told: bool(told["told"].logs), "the first is recorded")
        database.kill()
        site.create("untold", exits="1,1,0", retry={"limit": 2, "backoff": {"initialSeconds": 0}})
        site.jobs.wait_phase("untold", "Succeeded")
        operator.kill()
        database.restart()
        operator.start().wait_ready()
        told = site.wait_history(
            lambda told: told["untold"].ended and len(told["untold"].logs) == 3,
            "the new operator tells what the old one could not",
            30,
        )["untold"]
        assert told.faults() == []
        assert [row["exit_code"] for row in told.attempts] == [1, 1, 0]


def test_a_job_deleted_while_no_operator_looked_is_closed_with_its_outcome_unknown(site: Site) -> None:
    operator = site.operator()
    with operator.start():
        operator.wait_ready()
        site.create("lost", seconds=600)
        site.create("waiting", suspend=True)
        site.create("done")
        site.jobs.wait_phase("lost", "Running")
        site.jobs.wait_phase("done", "Succeeded")
        site.wait_history(
            lambda told: len(told) == 3 and told["lost"].phases[-1] == "Running" and told["done"].ended,
            "it knows how far all three are",
        )
        operator.kill()
        for name in ("lost", "waiting", "done"):
            site.here.delete(name)
        site.jobs.wait_until(lambda jobs: not jobs, 20, "they are gone")
        operator.start().wait_ready()
        told = site.wait_history(
            lambda told: all(one.job["gone_at"] is not None for one in told.values()), "all three are closed"
        )
        assert told["done"].job["phase"] == "Succeeded"
        for name in ("lost", "waiting"):
            assert (told[name].job["phase"], told[name].job["reason"]) == ("Cancelled", "OutcomeUnknown")
        assert [f"{name}: {fault}" for name, one in told.items() for fault in one.faults()] == []
        site.pods.wait_until(lambda pods: not pods, 30, "the pod that nobody owns is removed")


def test_an_old_operator_that_wakes_up_behind_a_new_one_writes_nothing_and_ends(site: Site) -> None:
    old, new = site.operator(name="old operator"), site.operator(name="new operator")
    with old.start():
        old.wait_ready()
        site.create("early", seconds=600)
        site.jobs.wait_phase("early", "Running")
        old.pause()
        with new.start():
            new.wait_ready()
            site.finish("early")
            for number in range(12):
                site.create(f"job-{number}", seconds=0.5, until=1.5)
            site.jobs.wait_until(lambda jobs: any(map(ended, jobs.values())), 30, "the new one works")
            newest = max(job["status"]["epoch"] for job in site.jobs.snapshot().values() if ended(job))
            old.resume()
            code = old.wait_ended(30)
            assert code == 1, "an operator that was deposed says so by its exit code"
            assert "epoch" in old.log_of_this_start()
            site.jobs.wait_until(lambda jobs: all(map(ended, jobs.values())), 30, "all end")
            assert new.alive
            told = site.wait_history(
                lambda told: len(told) == 13 and all(one.ended and one.logs for one in told.values()),
                "all are recorded, with logs",
            )
    epochs = {name: job["status"]["epoch"] for name, job in site.jobs.snapshot().items()}
    assert set(epochs.values()) == {newest}, epochs
    assert [f"{name}: {fault}" for name, one in told.items() for fault in one.faults()] == []
    seen = {(pod["metadata"]["name"], pod["metadata"]["uid"]) for _, pod in site.pods.seen}
    assert len(seen) == 13, "one pod for each attempt"
