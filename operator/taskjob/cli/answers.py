"""What the API answers, as far as subcommands need it: what is not of this shape was not answered by it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, TypeAlias, TypeVar

import msgspec

Instant: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]
Answer = TypeVar("Answer")


class Answered(msgspec.Struct, frozen=True, rename="camel"):
    """A part of an answer; fields that are not named here are passed over."""


class Refusal(Answered, frozen=True):
    """Why not: a problem of RFC 9457."""

    detail: str


class Dependency(Answered, frozen=True):
    """A job that another one waits for."""

    name: str
    condition: str


class Job(Answered, frozen=True):
    """A job, live or past."""

    id: str
    namespace: str
    name: str
    queue: str
    priority: str
    phase: str
    reason: str
    message: str
    attempt: int
    depends_on: list[Dependency]
    created_at: Instant
    started_at: Instant | None
    finished_at: Instant | None
    requests: dict[str, str] | None = None  # an older API does not tell


class Paged(Answered, frozen=True):
    """Some of many, and where the next ones are."""

    next: str | None


SomePage = TypeVar("SomePage", bound=Paged)


class Page(Paged, frozen=True):
    """Some of the jobs."""

    items: list[Job]


class Told(Answered, frozen=True):
    """A job that a wish was passed on to; why it could not be."""

    namespace: str
    name: str
    problem: str | None


class ToldPage(Paged, frozen=True):
    """Some of the jobs of a group."""

    items: list[Told]
    unchanged: int


class Place(Answered, frozen=True):
    """A place in a queue."""

    position: int
    of: int


class Lack(Answered, frozen=True):
    """What there is too little of."""

    resource: str


class Behind(Answered, frozen=True):
    """A job that comes first; without a name, if the caller may not read it."""

    namespace: str | None
    name: str | None


class Holder(Behind, frozen=True):
    """A job that holds what another one waits for."""

    queue: str | None
    amount: str


class Awaited(Dependency, frozen=True):
    """A job that this one waits for, and how it stands."""

    phase: str | None


class Explanation(Answered, frozen=True):
    """Why a job is where it is."""

    namespace: str
    name: str
    queue: str
    phase: str
    reason: str
    message: str
    place: Place | None
    lacking: Lack | None
    behind: Behind | None
    holders: list[Holder]
    holders_total: int
    dependencies: list[Awaited]
    dependencies_total: int
    until: str | None


class Mark(Answered, frozen=True):
    """What is to be said of a log that is followed."""

    message: str


class End(Answered, frozen=True):
    """The end of an attempt's log, and what the job was then."""

    job_phase: str
