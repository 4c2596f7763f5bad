"""The query of lists and of the stream: which jobs. The same filters for both, in SQL (history) and here.

`matches` judges a transition that is already in memory exactly as history's statement would; a test holds the two
together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from starlette.datastructures import QueryParams

from taskjob.core.phases import Phase
from taskjob.history.reader import JobFilter, TransitionView
from taskjob.resources.words import NAME_MAX, QUEUE_NAME_MAX
from taskjob_api.priorities import QueriedPriority, level
from taskjob_api.problems import FieldError, field_errors, from_fields

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 500
CURSOR_MAX: Final = 512
_LABELS_MAX: Final = 20

Cursor = Annotated[str, Field(min_length=1, max_length=CURSOR_MAX)]


def _is_pair(label: str) -> str:
    key, equals, _ = label.partition("=")
    if not key or not equals:
        raise ValueError("write it as key=value")
    return label


def _as_rfc_3339(given: object) -> object:
    """A `+` of an offset that was not encoded arrives as a space: `...T12:00:00 02:00`. A bare number, which pydantic
    would take for seconds since 1970, is no instant here."""
    if isinstance(given, str) and given[4:5] != "-":
        raise ValueError("write the instant as RFC 3339 has it, such as 2026-01-31T12:00:00Z")
    return given.replace(" ", "+") if isinstance(given, str) and given[10:11] != " " else given


def _in_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("this instant is out of range") from None


_Label = Annotated[str, Field(max_length=400), AfterValidator(_is_pair)]
_Instant = Annotated[AwareDatetime, BeforeValidator(_as_rfc_3339), AfterValidator(_in_utc)]


class JobQuery(BaseModel):
    """Which jobs: everything that is given must hold."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    namespace: Annotated[str, Field(min_length=1, max_length=63)] | None = Field(None, description="The namespace.")
    phase: Annotated[list[Phase], Field(max_length=len(Phase))] = Field(
        default_factory=list, description="The phase; repeated: any of them. In the stream, the phase that was led to."
    )
    queue: Annotated[str, Field(min_length=1, max_length=QUEUE_NAME_MAX)] | None = Field(
        None, description="The TaskQueue."
    )
    priority: QueriedPriority | None = Field(
        None, description="Critical, High, Normal or Low, or a number: exactly that priority."
    )
    group: Annotated[str, Field(min_length=1, max_length=63)] | None = Field(
        None, description="The value of the label taskjobs.dev/group."
    )
    label: Annotated[list[_Label], Field(max_length=_LABELS_MAX)] = Field(
        default_factory=list, description="A label as key=value; repeated: all of them."
    )
    name: Annotated[str, Field(min_length=1, max_length=NAME_MAX)] | None = Field(
        None, description="The name, or its beginning."
    )
    created_after: _Instant | None = Field(None, description="Created at this instant or later (RFC 3339).")
    created_before: _Instant | None = Field(None, description="Created earlier than this instant (RFC 3339).")

    def filter(self) -> JobFilter:
        """The same for history."""
        return JobFilter(
            namespaces=[self.namespace] if self.namespace is not None else None,
            phases=[phase.value for phase in self.phase] or None,
            queue=self.queue,
            priority=level(self.priority) if self.priority is not None else None,
            group=self.group,
            labels=_labels(self.label),
            name_prefix=self.name,
            created_after=self.created_after,
            created_before=self.created_before,
        )


class ListQuery(JobQuery):
    """A page of a list."""

    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)] = Field(LIMIT_DEFAULT, description="Jobs on the page.")
    cursor: Cursor | None = Field(None, description="`next` of the page before.")


class StreamQuery(JobQuery):
    """Where a stream begins."""

    cursor: Cursor | None = Field(None, description="The cursor of the last frame that was received.")
    snapshot: bool = Field(
        False, description="Begin with the matching jobs as they are. With a cursor: only if it is not known any more."
    )
    ticket: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        None, description="A ticket of `POST /jobs/stream/ticket`, for browsers."
    )


Query = TypeVar("Query", bound=BaseModel)


def read_query(model: type[Query], parameters: QueryParams) -> Query:
    """A query by its model. Raises `Problem` (422) that names each parameter at fault, unknown ones too."""
    lists = {field.alias for field in model.model_fields.values() if _is_list(field.annotation)}
    given: dict[str, Any] = {}
    twice: list[FieldError] = []
    for name in dict.fromkeys(parameters.keys()):
        values = parameters.getlist(name)
        if name in lists:
            given[name] = values
        elif len(values) > 1:
            twice.append(FieldError(field=name[:80], message="stands more than once"))
        else:
            given[name] = values[0]
    if twice:
        raise from_fields(twice)
    try:
        # by_alias: a parameter has one name, `createdAfter`, not `created_after` too.
        return model.model_validate(given, by_alias=True, by_name=False)
    except ValidationError as error:
        shown = [{**e, "msg": "unknown parameter", "type": "unknown"} if e["type"] == "extra_forbidden" else e
                 for e in error.errors(include_url=False)]  # fmt: skip
        raise from_fields(field_errors(shown)) from None


def _is_list(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is list


def _labels(pairs: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if found.setdefault(key, value) != value:
            raise from_fields([FieldError(field="label", message=f"{key[:80]!r} cannot have two values")])
    return found


def matcher(wanted: JobFilter) -> Callable[[TransitionView], bool] | None:
    """Whether a transition passes the filter; None: all do."""
    if wanted == JobFilter():
        return None
    namespaces = frozenset(wanted.namespaces) if wanted.namespaces is not None else None
    phases = frozenset(wanted.phases) if wanted.phases is not None else None

    def matches(told: TransitionView) -> bool:
        job = told.job
        return (
            (namespaces is None or job.namespace in namespaces)
            and (phases is None or told.to_phase in phases)
            and (wanted.queue is None or job.queue == wanted.queue)
            and (wanted.priority is None or job.priority == wanted.priority)
            and (wanted.group is None or job.group == wanted.group)
            and (not wanted.labels or _has(job.labels, wanted.labels))
            and (not wanted.name_prefix or job.name.startswith(wanted.name_prefix))
            and (wanted.created_after is None or job.created_at >= wanted.created_after)
            and (wanted.created_before is None or job.created_at < wanted.created_before)
            and (wanted.uid is None or job.uid == wanted.uid)
        )

    return matches


def _has(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items())
