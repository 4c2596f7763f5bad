"""What `POST /jobs/` takes: a TaskJob manifest as JSON, or the short form; both become a manifest.

The API server judges a manifest again and has the last word. Its errors speak of the manifest's fields;
`Submission.errors` turns them into the fields that the client wrote.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from starlette.requests import ClientDisconnect, Request

from taskjob.resources import Quantity, TaskJob
from taskjob.resources.fields import JobName, PositiveSeconds, QueueName
from taskjob.resources.words import API_VERSION, DEPENDENCIES_MAX, RETRIES_MAX, TASKJOB
from taskjob_api.priorities import RequestedPriority
from taskjob_api.problems import FieldError, Kind, Problem, field_errors, from_fields

BODY_MAX: Final = 1_572_864
"""Bytes of a request's body: the most that the API server takes of one object (1.5 MiB)."""
_DRAINED_MAX: Final = 16 * 2**20
"""Read and thrown away of a body that is too long: a client that is still sending would not see the answer."""
GENERATED: Final = "job-"
DEFAULT_NAMESPACE: Final = "default"

_NAMESPACE: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
Namespace = Annotated[str, Field(min_length=1, max_length=63, pattern=_NAMESPACE)]
_Word = Annotated[str, Field(max_length=131_072)]
_VariableName = Annotated[str, Field(min_length=1, max_length=1024)]


class ShortJob(BaseModel):
    """A job of one container, for people with curl; whoever needs more sends a manifest."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    name: JobName | None = Field(None, description="The TaskJob's name; absent: `job-` and five characters.")
    namespace: Namespace = Field(DEFAULT_NAMESPACE, description="Where the TaskJob is made.")
    image: Annotated[str, Field(min_length=1, max_length=1024)] = Field(description="The container's image.")
    command: Annotated[list[_Word], Field(max_length=1000)] | None = Field(
        None, description="The program, instead of the image's entrypoint."
    )
    args: Annotated[list[_Word], Field(max_length=1000)] | None = Field(None, description="The program's arguments.")
    env: Annotated[dict[_VariableName, _Word], Field(max_length=1000)] | None = Field(
        None, description="Environment variables by name."
    )
    cpu: Quantity | None = Field(None, description='The CPU that it asks for, such as 2 or "500m".')
    memory: Quantity | None = Field(None, description='The memory that it asks for, such as "64Mi".')
    queue: QueueName | None = Field(None, description="The TaskQueue; absent: `default`.")
    priority: RequestedPriority | None = Field(
        None, description="Critical, High, Normal (the default) or Low, or a whole number on the same scale."
    )
    depends_on: Annotated[list[JobName], Field(max_length=DEPENDENCIES_MAX)] | None = Field(
        None, description="Names of TaskJobs of the same namespace that must succeed first."
    )
    retries: Annotated[int, Field(strict=True, ge=0, le=RETRIES_MAX)] | None = Field(
        None, description="How many times a failed attempt is followed by another."
    )
    timeout_seconds: PositiveSeconds | None = Field(None, description="How long one attempt may take.")
    labels: Annotated[dict[str, str], Field(max_length=256)] | None = Field(None, description="The TaskJob's labels.")

    def manifest(self) -> dict[str, Any]:
        """The TaskJob that this stands for, with nothing said that was not said here."""
        spec: dict[str, Any] = {
            "image": self.image,
            "command": self.command,
            "args": self.args,
            "env": [{"name": name, "value": value} for name, value in self.env.items()] if self.env else None,
            "queue": self.queue,
            "priority": self.priority,
            "dependsOn": [{"name": name} for name in self.depends_on] if self.depends_on else None,
            "retry": {"limit": self.retries} if self.retries is not None else None,
            "timeoutSeconds": self.timeout_seconds,
        }
        asked = {"cpu": self.cpu, "memory": self.memory}
        if requests := {name: amount for name, amount in asked.items() if amount is not None}:
            spec["resources"] = {"requests": requests}
        metadata: dict[str, Any] = {"namespace": self.namespace}
        metadata |= {"name": self.name} if self.name is not None else {"generateName": GENERATED}
        if self.labels:
            metadata["labels"] = self.labels
        return {
            "apiVersion": API_VERSION,
            "kind": TASKJOB,
            "metadata": metadata,
            "spec": {field: value for field, value in spec.items() if value is not None},
        }


_SHORT_NAMES: Final = (
    (re.compile(r"spec\.env\[\d+\](\.name|\.value)?"), "env"),
    (re.compile(r"spec\.dependsOn(\[\d+\])?(\.name)?"), r"dependsOn\1"),
    (re.compile(r"spec\.resources\.requests[.\[](cpu|memory)\]?"), r"\1"),
    (re.compile(r"spec\.retry(\.limit)?"), "retries"),
    (re.compile(r"metadata\.(name|namespace|labels)"), r"\1"),
    (re.compile(r"metadata\.generateName"), "name"),
    (re.compile(r"spec\."), ""),
)
"""What a field of the manifest is called in the short form."""


def short_name(field: str) -> str:
    """The field of the short form for a manifest's field path."""
    for pattern, name in _SHORT_NAMES:
        if (found := pattern.match(field)) is not None:
            return found.expand(name) + field[found.end() :]
    return field


@dataclass(frozen=True, slots=True)
class Submission:
    """A job as it is to be created: a manifest that the models have accepted."""

    manifest: dict[str, Any]
    namespace: str
    short: bool  # it was given in the short form

    def errors(self, errors: Sequence[FieldError]) -> tuple[FieldError, ...]:
        """Errors about the manifest's fields, about the fields that the client wrote."""
        if not self.short:
            return tuple(errors)
        return tuple(FieldError(field=short_name(error.field), message=error.message) for error in errors)


async def read_body(request: Request) -> bytes:
    """The whole body. Raises `Problem`: not JSON by its type (415), or longer than `BODY_MAX` (413)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(
            Kind.NOT_JSON,
            f"the body's Content-Type is {kind[:80] or 'missing'!r}: send JSON with Content-Type: application/json",
        )
    body, size = bytearray(), 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size <= BODY_MAX:
                body += chunk
            elif size > _DRAINED_MAX:
                break
    except ClientDisconnect:
        raise Problem(Kind.MALFORMED, "the client left before the body was complete") from None
    if size <= BODY_MAX:
        return bytes(body)
    # A body that is not read to its end leaves the connection unusable.
    headers = {"Connection": "close"} if size > _DRAINED_MAX else {}
    raise Problem(Kind.TOO_LARGE, f"the body is longer than {BODY_MAX} bytes (1.5 MiB)", headers=headers)


def parse(body: bytes) -> dict[str, Any]:
    """The body as a JSON object. Raises `Problem` (400) that says where it cannot be read."""
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise Problem(
            Kind.MALFORMED, f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from None
    except (ValueError, RecursionError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Problem(Kind.MALFORMED, f"the body is not JSON: {said}") from None
    if not isinstance(value, dict):
        raise Problem(Kind.MALFORMED, "the body must be a JSON object: a TaskJob manifest, or the short form")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the field {name[:80]!r} stands twice in one object")
            seen.add(name)
    return made


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def submission(given: dict[str, Any]) -> Submission:
    """The job that a body asks for. Raises `Problem` (422) that names every field at fault."""
    if {"apiVersion", "kind", "spec"} & given.keys():
        return _manifest(given)
    try:
        short = ShortJob.model_validate(given)
    except ValidationError as error:
        raise from_fields(field_errors(error.errors(include_url=False))) from None
    return _manifest(short.manifest(), short=True)


def _manifest(given: dict[str, Any], *, short: bool = False) -> Submission:
    try:
        manifest = TaskJob.model_validate(given).manifest()
    except ValidationError as error:
        made = Submission({}, "", short)
        raise from_fields(made.errors(field_errors(error.errors(include_url=False)))) from None
    metadata = manifest["metadata"]
    namespace = metadata.setdefault("namespace", DEFAULT_NAMESPACE)
    if len(namespace) > 63 or re.fullmatch(_NAMESPACE, namespace) is None:
        message = f"{namespace[:80]!r} cannot be the name of a namespace"
        raise from_fields([FieldError(field="metadata.namespace", message=message)])
    if not metadata.get("name") and not metadata.get("generateName"):
        metadata["generateName"] = GENERATED
    return Submission(manifest, namespace, short)
