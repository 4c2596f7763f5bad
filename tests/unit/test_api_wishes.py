"""What a wish changes of a job, and which jobs of a group it means."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.datastructures import QueryParams

from builders import JobBuilder, a_job
from taskjob.core.model import Job
from taskjob.core.phases import Phase
from taskjob_api.filters import read_query
from taskjob_api.problems import Kind, Problem
from taskjob_api.wishes import GroupQuery, Wish, all_of, change, concerns

RUNS = a_job("a").being(Phase.RUNNING)
DONE = a_job("a").being(Phase.FAILED, run=2).to_run_again(2)


@pytest.mark.parametrize(
    ("wish", "job", "wanted"),
    [
        (Wish.CANCEL, RUNS, {"cancel": True}),
        (Wish.CANCEL, RUNS.cancelled(), None),
        (Wish.CANCEL, DONE.to_run_again(3), {"cancel": True}),
        (Wish.SUSPEND, RUNS, {"suspend": True}),
        (Wish.SUSPEND, RUNS.suspended(), None),
        (Wish.RESUME, RUNS.suspended(), {"suspend": False}),
        (Wish.RESUME, RUNS, None),
        (Wish.RERUN, DONE, {"rerun": 3}),
        (Wish.RERUN, DONE.cancelled(), {"rerun": 3, "cancel": False}),
        (Wish.RERUN, DONE.to_run_again(3), None),
        (Wish.RERUN, RUNS, {"rerun": 1}),
    ],
)
def test_a_wish_changes_what_does_not_say_so_already(
    wish: Wish, job: JobBuilder, wanted: dict[str, Any] | None
) -> None:
    assert change(wish, job.build()) == wanted


@pytest.mark.parametrize("wish", [Wish.CANCEL, Wish.SUSPEND])
def test_what_has_finished_cannot_be_ended(wish: Wish) -> None:
    with pytest.raises(Problem) as refused:
        change(wish, DONE.build())
    assert refused.value.kind is Kind.FINISHED


def meant(wish: Wish, *phases: Phase) -> str:
    jobs = {
        "runs": RUNS,
        "suspended": a_job("a").suspended(),
        "cancelled": RUNS.cancelled(),
        "failed": DONE,
        "done": a_job("a").being(Phase.SUCCEEDED),
        "again": DONE.to_run_again(3),
    }
    return " ".join(name for name, job in jobs.items() if concerns(wish, job.build(), list(phases)))


def test_a_wish_about_a_group_means_those_that_it_changes() -> None:
    assert meant(Wish.CANCEL) == "runs suspended again"
    assert meant(Wish.SUSPEND) == "runs cancelled again"
    assert meant(Wish.RESUME) == "suspended"
    assert meant(Wish.RERUN) == "failed done"
    assert meant(Wish.RERUN, Phase.FAILED, Phase.SKIPPED) == "failed"


def test_several_phases_may_be_asked_for() -> None:
    query = read_query(GroupQuery, QueryParams("namespace=n&phase=Failed&phase=Skipped"))
    assert (query.namespace, query.phase) == ("n", [Phase.FAILED, Phase.SKIPPED])


async def test_of_a_group_each_job_is_told_and_what_was_refused_is_told_of_that_job_alone() -> None:
    at_once, most = 0, 0

    async def tell(job: Job, wish: Wish) -> Job | None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        if job.name == "j3":
            raise Problem(Kind.FORBIDDEN, "you may not")
        return None if job.name == "j5" else job

    jobs = [a_job(f"j{n}").build() for n in range(40)]
    items, others = await all_of([*jobs, DONE.build()], Wish.CANCEL, [], tell)
    assert [item["name"] for item in items] == [job.name for job in jobs]
    problems = {item["name"]: item["problem"] for item in items if item["problem"] is not None}
    assert problems == {"j3": "you may not", "j5": "it was deleted meanwhile"}
    assert (others, most) == (1, 10)
