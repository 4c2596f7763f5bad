"""What users ask of TaskJobs that are there: cancel, suspend, resume, rerun; of one, or of a whole group.

Each wish is a change of `spec`, made with the caller's own token. Asking twice changes nothing more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from taskjob.core.model import Job
from taskjob.core.phases import Phase
from taskjob_api.bodies import DEFAULT_NAMESPACE, Namespace
from taskjob_api.filters import LIMIT_DEFAULT, LIMIT_MAX
from taskjob_api.problems import Kind, Problem
from taskjob_api.views import View

CURSOR_MAX: Final = 4096
"""Of the API server's continue tokens, which hold the name where a list goes on."""
_AT_ONCE: Final = 10


class Wish(StrEnum):
    """What may be asked."""

    CANCEL = "cancel"
    SUSPEND = "suspend"
    RESUME = "resume"
    RERUN = "rerun"


def change(wish: Wish, job: Job) -> dict[str, Any] | None:
    """The change of `spec`, None where it says so already. Raises `Problem`: what has finished cannot be ended."""
    match wish:
        case Wish.RESUME:
            return {"suspend": False} if job.suspend else None
        case Wish.RERUN:
            if job.wants_rerun:  # it has not begun: to ask again does not make it two
                return None
            return {"rerun": job.status.run + 1} | ({"cancel": False} if job.cancel else {})
        case Wish.CANCEL | Wish.SUSPEND:
            if job.outcome is not None:
                raise Problem(Kind.FINISHED, f"{job.namespace}/{job.name} has already finished: {job.status.phase}")
            said = job.cancel if wish is Wish.CANCEL else job.suspend
            return None if said else {wish.value: True}


class GroupQuery(BaseModel):
    """Which jobs of a group, and how many at a time."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    namespace: Namespace = Field(DEFAULT_NAMESPACE, description="The group's namespace.")
    phase: Annotated[list[Phase], Field(max_length=len(Phase))] = Field(
        default_factory=list, description="Only those in this phase; repeated: in any of them."
    )
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)] = Field(LIMIT_DEFAULT, description="Jobs to look at.")
    cursor: Annotated[str, Field(min_length=1, max_length=CURSOR_MAX)] | None = Field(
        None, description="`next` of the answer before."
    )


class GroupMember(View):
    """A job of a group that was to be changed."""

    id: str = Field(description="The TaskJob's UID.")
    namespace: str = Field(description="Its namespace.")
    name: str = Field(description="Its name.")
    phase: str = Field(description="The phase that it was in.")
    problem: str | None = Field(description="Why it was not changed; null if it was.")


class GroupAnswer(View):
    """What was done with a page of a group."""

    items: list[GroupMember] = Field(description="The jobs that were to be changed, each with what came of it.")
    unchanged: int = Field(description="How many others there were: nothing was to be changed about them.")
    next: str | None = Field(description="The cursor of the group's next page; null on the last.")


def concerns(wish: Wish, job: Job, phases: list[Phase]) -> bool:
    """Whether a wish about its group means this job: what has ended runs again, what has not is ended or held."""
    if phases and job.status.phase not in phases:
        return False
    if (job.outcome is not None) is not (wish is Wish.RERUN) and wish is not Wish.RESUME:
        return False
    return change(wish, job) is not None


async def all_of(
    jobs: list[Job], wish: Wish, phases: list[Phase], tell: Callable[[Job, Wish], Awaitable[Job | None]]
) -> tuple[list[dict[str, Any]], int]:
    """Each job that is meant is told, some at a time; what came of each, and how many were not meant."""
    meant = [job for job in jobs if concerns(wish, job, phases)]
    room = asyncio.Semaphore(_AT_ONCE)

    async def one(job: Job) -> dict[str, Any]:
        problem = None
        try:
            async with room:
                if await tell(job, wish) is None:
                    problem = "it was deleted meanwhile"
        except Problem as refused:
            problem = refused.detail
        return {
            "id": job.uid,
            "namespace": job.namespace,
            "name": job.name,
            "phase": job.status.phase.value,
            "problem": problem,
        }

    return list(await asyncio.gather(*map(one, meant))), len(jobs) - len(meant)
