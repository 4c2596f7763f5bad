"""Why a job is where it is: what the leader says, as far as the caller may see it.

A job that has come to its end is explained by what is recorded of it, by anybody. Of one that has not the leader knows
best. It names who holds what the job waits for; of those the caller sees the jobs that it might read anyway, and that
there are others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError

from taskjob_api.auth import Rights
from taskjob_api.jobs import Found, is_terminal
from taskjob_api.leader import Leader
from taskjob_api.problems import unavailable
from taskjob_api.views import DependencyView, Instant, View


class PlaceView(View):
    """Where a job stands among those that wait in its queue for nothing but room."""

    position: int = Field(description="From 1: the next one.", examples=[3])
    of: int = Field(description="How many wait so.", examples=[17])


class LackView(View):
    """What there is too little of."""

    resource: str = Field(description="The resource.", examples=["cpu"])
    asked: str = Field(description="What the job asks for.", examples=["4"])
    available: str = Field(description="What is left for it.", examples=["1500m"])
    limit: str = Field(description="The quota.", examples=["20"])


class HolderView(View):
    """A job that holds what another waits for; namespace, name and queue are null if you may not read it."""

    namespace: str | None = Field(description="Its namespace.")
    name: str | None = Field(description="Its name.")
    queue: str | None = Field(description="The queue that it is charged to.")
    amount: str = Field(description="How much of it.", examples=["2"])


class BehindView(View):
    """A job that comes first; namespace and name are null if you may not read it."""

    namespace: str | None = Field(description="Its namespace.")
    name: str | None = Field(description="Its name.")


class AwaitedView(DependencyView):
    """A job that this one waits for, and how it stands."""

    phase: str | None = Field(description="Its phase; null if there is no such job.")


class ExplanationView(View):
    """Why a job is where it is."""

    id: str = Field(description="The TaskJob's UID.")
    namespace: str = Field(description="Its namespace.")
    name: str = Field(description="Its name.")
    queue: str = Field(description="The TaskQueue that it is charged to.")
    phase: str = Field(description="Its phase at this moment.", examples=["Pending"])
    reason: str = Field(description="Why, as one word for programs.", examples=["WaitingForQuota"])
    message: str = Field(description="Why, as a sentence for people.")
    place: PlaceView | None = Field(description="Its place in the queue, if only its queue keeps it waiting.")
    lacking: LackView | None = Field(description="With WaitingForQuota: what there is too little of.")
    behind: BehindView | None = Field(description="The job for which is kept what this one would fit into.")
    holders: list[HolderView] = Field(description="The largest of those who hold it.")
    holders_total: int = Field(description="How many hold some of it.")
    dependencies: list[AwaitedView] = Field(description="The first of those that it waits for.")
    dependencies_total: int = Field(description="For how many it waits.")
    until: Instant | None = Field(description="With BackingOff, PodRefused, RateLimited: not before then.")


async def explain(found: Found, leader: Leader, rights: Rights) -> dict[str, Any]:
    """An `ExplanationView` of a job that the caller may read. Raises `Problem`: 503 while nobody can say."""
    recorded = found.answer
    if recorded["goneAt"] is not None or is_terminal(recorded["phase"]):
        return _recorded(recorded)
    said = await leader.explain(recorded["id"])
    if said is None:
        raise unavailable("the leading operator has not seen this job yet", 1)
    try:
        told = ExplanationView.model_validate(said, extra="ignore").model_dump(mode="json", by_alias=True)
    except ValidationError as error:
        raise unavailable(f"the leading operator's answer is not understood: {error}") from error
    return {**told, **await _seen(told, rights)}


async def _seen(said: Mapping[str, Any], rights: Rights) -> dict[str, Any]:
    """Other jobs in it, those that the caller may not read without a name."""
    behind, holders = said["behind"], said["holders"]
    others = [*holders, behind] if behind is not None else holders
    namespaces = {other["namespace"] for other in others if other["namespace"] is not None}
    readable = set(await rights.among("get", sorted(namespaces)))

    def seen(other: Mapping[str, Any]) -> dict[str, Any]:
        known = other["namespace"] in readable
        return {field: value if known or field == "amount" else None for field, value in other.items()}

    return {"holders": [seen(holder) for holder in holders], "behind": seen(behind) if behind is not None else None}


def _recorded(job: Mapping[str, Any]) -> dict[str, Any]:
    told = {field: job[field] for field in ("id", "namespace", "name", "queue", "phase", "reason", "message")}
    return {
        **told,
        "place": None,
        "lacking": None,
        "behind": None,
        "holders": [],
        "holdersTotal": 0,
        "dependencies": [],
        "dependenciesTotal": 0,
        "until": None,
    }
