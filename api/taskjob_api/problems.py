"""What went wrong, as RFC 9457 problem details: every error of the API has this one shape and names the field.

`Problem` is raised anywhere below the routes and becomes `application/problem+json`. Fields are paths as kubectl
writes them (`spec.dependsOn[0].name`); for the query and the short form, the names that the client wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final

from pydantic import BaseModel, Field
from starlette.requests import HTTPConnection
from starlette.responses import Response

CONTENT_TYPE: Final = "application/problem+json"
TYPES: Final = "https://taskjobs.dev/problems/"
ERRORS_MAX: Final = 50
_DETAIL_MAX: Final = 4096


class Kind(Enum):
    """Every kind of problem: its slug, HTTP status and title. docs/api.md lists them; a test holds both together."""

    MALFORMED = ("malformed", 400, "The request cannot be read")
    BAD_CURSOR = ("bad-cursor", 400, "The cursor is not one of ours")
    UNAUTHENTICATED = ("unauthenticated", 401, "Not authenticated")
    FORBIDDEN = ("forbidden", 403, "Not allowed")
    NOT_FOUND = ("not-found", 404, "Not found")
    NO_LOG = ("no-log", 404, "There is no log")
    METHOD_NOT_ALLOWED = ("method-not-allowed", 405, "The method is not allowed here")
    ALREADY_EXISTS = ("already-exists", 409, "The name is taken")
    FINISHED = ("finished", 409, "The job has finished")
    CONFLICT = ("conflict", 409, "The object was changed by somebody else")
    UPGRADE = ("upgrade-required", 426, "This is a WebSocket")
    TOO_LARGE = ("too-large", 413, "The request is too large")
    NOT_JSON = ("not-json", 415, "The body must be JSON")
    INVALID = ("invalid", 422, "The request is not valid")
    INTERNAL = ("internal", 500, "An error of the API itself")
    UNAVAILABLE = ("unavailable", 503, "Not available at the moment")

    def __init__(self, slug: str, status: int, title: str) -> None:
        self.slug = slug
        self.status = status
        self.title = title


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str = Field(description="The field's path; empty for the request as a whole.", examples=["spec.retry.limit"])
    message: str = Field(description="What is wrong with it.", examples=["Input should be greater than or equal to 0"])


class ProblemBody(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(description="The kind of problem, one of docs/api.md.", examples=[TYPES + "invalid"])
    title: str = Field(description="The kind of problem, for people.", examples=["The request is not valid"])
    status: int = Field(description="The HTTP status.", examples=[422])
    detail: str = Field(description="What is wrong this time.")
    instance: str = Field(description="The path of the request.", examples=["/jobs/"])
    errors: list[FieldError] | None = Field(None, description="Field by field, where fields are to blame.")


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """A request that cannot be carried out, and why."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        errors: Sequence[FieldError] = (),
        *,
        retry_after_seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail if len(detail) <= _DETAIL_MAX else detail[: _DETAIL_MAX - 1] + "…"
        self.errors = tuple(errors[:ERRORS_MAX])
        self.headers = dict(headers or {})
        if retry_after_seconds is not None:
            self.headers["Retry-After"] = str(max(1, round(retry_after_seconds)))

    def body(self, instance: str) -> bytes:
        """The JSON document."""
        shown = ProblemBody(
            type=TYPES + self.kind.slug,
            title=self.kind.title,
            status=self.kind.status,
            detail=self.detail,
            instance=instance,
            errors=list(self.errors) or None,
        )
        return shown.model_dump_json(exclude_none=True).encode()

    def response(self, connection: HTTPConnection) -> Response:
        """The answer to this request."""
        return Response(
            self.body(connection.url.path[:1024]), self.kind.status, media_type=CONTENT_TYPE, headers=self.headers
        )


def invalid(field: str, message: str) -> Problem:
    """One field is to blame."""
    return Problem(
        Kind.INVALID, f"{field}: {message}" if field else message, [FieldError(field=field, message=message)]
    )


def unavailable(detail: str, retry_after_seconds: float | None = None) -> Problem:
    """Something that the API needs does not answer; the same request may be made again."""
    return Problem(Kind.UNAVAILABLE, detail, retry_after_seconds=retry_after_seconds or 2)


def path(parts: Iterable[str | int]) -> str:
    """A path as kubectl writes it: names with dots between, list places in brackets."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def field_errors(errors: Iterable[Mapping[str, Any]], *, below: int = 0) -> list[FieldError]:
    """pydantic's errors, field by field; the first `below` parts of each path are left out."""
    return [FieldError(field=path(error["loc"][below:]), message=_said(error)) for error in errors]


def _said(error: Mapping[str, Any]) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "unknown field" if error["loc"][:1] != ("query",) else "unknown parameter"
        case "missing":
            return "is required"
        case "value_error":
            return str(error["msg"]).removeprefix("Value error, ")
        case _:
            return str(error["msg"])


def summary(errors: Sequence[FieldError]) -> str:
    """One sentence for all of them."""
    first = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return (f"{first.field}: {first.message}" if first.field else first.message) + more


def from_fields(errors: Sequence[FieldError]) -> Problem:
    """Fields are to blame. `errors` is not empty."""
    return Problem(Kind.INVALID, summary(errors), errors)
