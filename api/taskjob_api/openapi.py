"""What `/docs` says: bodies, queries, answers and problems, made from the same models that judge and describe them.

Requests are read by hand (size, JSON errors with their place, unknown parameters), so their description is added to the
routes here. A test compares the whole with what the API answers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import models_json_schema

from taskjob.resources import TaskJob
from taskjob_api.bodies import ShortJob
from taskjob_api.problems import CONTENT_TYPE, TYPES, Kind, ProblemBody

_REFERENCE: Final = "#/components/schemas/{model}"
_MODELS: Final[tuple[type[BaseModel], ...]] = (TaskJob, ShortJob, ProblemBody)

DESCRIPTION: Final = """Jobs on Kubernetes over HTTP: the same TaskJob objects that `kubectl` shows.

* A job's id is the UID of its TaskJob. Instants are RFC 3339 in UTC. Cursors are opaque.
* You see and do what the API server lets the bearer of your token see and do, and nothing else.
* Errors are RFC 9457 problem details (`application/problem+json`) that name the field.
* `GET /jobs/{job_id}` reads the cluster: what you wrote you read back at once. Lists and the stream come from history,
  which follows within about 100 ms.
* `WS /jobs/stream` takes the filters of the list, `cursor` and `snapshot`, and sends frames as JSON text, told by
  `type`: `TRANSITION` `{cursor, at, from, to, job}`, `SNAPSHOT` `{cursor, items, last}`, `RESET` `{cursor, reason}`
  (the cursor was not known: a snapshot follows), `LAGGED` `{cursor, behind}` (come back with that cursor),
  `HEARTBEAT` `{cursor}`. A client that comes back with the last cursor that it got misses nothing and sees nothing
  twice.
"""

_MANIFEST: Final = {
    "apiVersion": "taskjobs.dev/v1beta1",
    "kind": "TaskJob",
    "metadata": {"name": "train", "namespace": "default"},
    "spec": {
        "image": "busybox:1.37",
        "command": ["sh", "-c", "echo training; sleep 5"],
        "dependsOn": [{"name": "extract"}],
        "retry": {"limit": 3},
    },
}
_SHORT: Final = {
    "name": "hello",
    "image": "busybox:1.37",
    "command": ["echo", "hello"],
    "cpu": "100m",
    "memory": "32Mi",
    "labels": {"taskjobs.dev/group": "demo"},
}


_EVENT: Final = {
    "type": "object",
    "description": "One server-sent event; `itemSchema` is OpenAPI 3.2's word for it.",
    "required": ["data"],
    "properties": {
        "id": {"type": "string", "description": "Send the last one as `Last-Event-ID` to go on after it."},
        "event": {"enum": ["message", "mark", "end", "problem"], "description": "Absent: `message`, a line."},
        "data": {"type": "string", "description": "The line; of the other events a JSON object."},
    },
}

_TOKEN: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "A token that the API server accepts. None where the API was started with --insecure-local.",
}


class NoQuery(BaseModel):
    """No parameters."""

    model_config = ConfigDict(extra="forbid")


def create() -> dict[str, Any]:
    """Of `POST /jobs/`."""
    return {
        "response_model": None,
        "responses": {
            201: {
                "description": "Created. `Location` is the job's path.",
                "content": {"application/json": {"schema": _ref("JobDetail")}},
                "headers": {"Location": {"schema": {"type": "string"}, "description": "Such as /jobs/<id>."}},
            },
            **_problems(
                Kind.MALFORMED, Kind.FORBIDDEN, Kind.NOT_FOUND, Kind.ALREADY_EXISTS, Kind.TOO_LARGE, Kind.NOT_JSON,
                Kind.INVALID, Kind.UNAVAILABLE,
            ),
        },
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "description": "A TaskJob manifest (an object with `kind`), or the short form.",
                "content": {
                    "application/json": {
                        "schema": {"anyOf": [_ref("ShortJob"), _ref("TaskJob")]},
                        "examples": {
                            "short": {"summary": "The short form", "value": _SHORT},
                            "manifest": {"summary": "A manifest", "value": _MANIFEST},
                        },
                    }
                },
            }
        },
    }  # fmt: skip


def ticket(model: type[BaseModel]) -> dict[str, Any]:
    """Of `POST /jobs/stream/ticket`."""
    return {"response_model": model, "responses": _problems(Kind.INVALID, Kind.UNAVAILABLE)}


def listing(page: type[BaseModel], query: type[BaseModel]) -> dict[str, Any]:
    """Of `GET /jobs/`."""
    return {
        "response_model": page,
        "responses": _problems(Kind.BAD_CURSOR, Kind.FORBIDDEN, Kind.INVALID, Kind.UNAVAILABLE),
        "openapi_extra": {"parameters": parameters(query)},
    }


def one(detail: type[BaseModel]) -> dict[str, Any]:
    """Of `GET /jobs/{job_id}`."""
    problems = _problems(Kind.FORBIDDEN, Kind.NOT_FOUND, Kind.INVALID, Kind.UNAVAILABLE)
    return {"response_model": detail, "responses": problems}


def wish(detail: type[BaseModel]) -> dict[str, Any]:
    """Of `PATCH /jobs/{job_id}/cancel` and the like."""
    problems = _problems(Kind.FORBIDDEN, Kind.NOT_FOUND, Kind.FINISHED, Kind.CONFLICT, Kind.INVALID, Kind.UNAVAILABLE)
    return {"response_model": detail, "responses": problems}


def group(answer: type[BaseModel], query: type[BaseModel]) -> dict[str, Any]:
    """Of `PATCH /jobs/group/{group}/{wish}`."""
    problems = _problems(Kind.BAD_CURSOR, Kind.FORBIDDEN, Kind.NOT_FOUND, Kind.INVALID, Kind.UNAVAILABLE)
    return {
        "response_model": answer,
        "responses": problems,
        "openapi_extra": {"parameters": parameters(query)},
    }


def logs(query: type[BaseModel]) -> dict[str, Any]:
    """Of `GET /jobs/{job_id}/logs`."""
    text = {"schema": {"type": "string"}}
    return {
        "response_model": None,
        "responses": {
            200: {
                "description": "The log as it is; with `follow`, server-sent events: a line each, `mark` where "
                "something is missing, then `end`.",
                "content": {"text/plain": text, "text/event-stream": {"itemSchema": _EVENT}},
                "headers": {
                    "Taskjobs-Log-Source": {
                        "schema": {"type": "string", "enum": ["pod", "history", "history, pod"]},
                        "description": "Where the log comes from (not with `follow`).",
                    },
                    "Taskjobs-Log-Cut-Bytes": {
                        "schema": {"type": "integer"},
                        "description": "From history: bytes that were left out of the middle of a long log.",
                    },
                },
            },
            204: {"description": "With `follow` and the `Last-Event-ID` of `end`: there is nothing more."},
            **_problems(Kind.FORBIDDEN, Kind.NOT_FOUND, Kind.NO_LOG, Kind.INVALID, Kind.UNAVAILABLE),
        },
        "openapi_extra": {
            "parameters": [
                *parameters(query),
                {
                    "name": "Last-Event-ID",
                    "in": "header",
                    "required": False,
                    "schema": {"type": "string"},
                    "description": "With `follow`: the id of the last event that was received; browsers send it.",
                },
            ]
        },
    }


def parameters(query: type[BaseModel]) -> list[dict[str, Any]]:
    """A query model as OpenAPI parameters."""
    described = query.model_json_schema(by_alias=True, ref_template=_REFERENCE)
    definitions = described.get("$defs", {})
    return [_parameter(name, _inlined(schema, definitions)) for name, schema in described["properties"].items()]


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    description = schema.pop("description", "")
    schema.pop("title", None)
    options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        schema = {**{k: v for k, v in schema.items() if k != "anyOf"}, **options[0]}
    if schema.get("default", ...) is None:
        del schema["default"]
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if (reference := schema.get("$ref")) is not None:
        target = definitions[reference.rpartition("/")[2]]
        shown = {key: value for key, value in target.items() if key not in ("title", "description")}
        return {**shown, **{key: value for key, value in schema.items() if key != "$ref"}}
    return {key: _inlined(value, definitions) for key, value in schema.items()}


def _ref(model: str) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model)}


def _problems(*kinds: Kind) -> dict[int | str, Any]:
    """Answers with a problem, one a status; kinds that share a status are told together."""
    by_status: dict[int, list[Kind]] = {}
    for kind in (Kind.UNAUTHENTICATED, *kinds, Kind.INTERNAL):
        by_status.setdefault(kind.status, []).append(kind)
    return {status: _problem(same) for status, same in by_status.items()}


def _problem(kinds: Iterable[Kind]) -> dict[str, Any]:
    examples = {
        kind.slug: {
            "summary": kind.title,
            "value": {
                "type": TYPES + kind.slug, "title": kind.title, "status": kind.status, "detail": "...",
                "instance": "/jobs/",
            },
        }
        for kind in kinds
    }  # fmt: skip
    answer: dict[str, Any] = {
        "description": "; ".join(kind.title for kind in kinds) + ".",
        "content": {CONTENT_TYPE: {"schema": _ref("ProblemBody"), "examples": examples}},
    }
    if any(kind is Kind.UNAVAILABLE for kind in kinds):
        answer["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    return answer


def schema(app: FastAPI) -> dict[str, Any]:
    """The whole document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        _, definitions = models_json_schema([(m, "validation") for m in _MODELS], ref_template=_REFERENCE)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        if twice := [name for name, model in definitions["$defs"].items() if schemas.get(name, model) != model]:
            raise ValueError(f"two models have one name, so that one would be described as the other: {twice}")
        schemas.update(definitions["$defs"])
        document["components"]["securitySchemes"] = {"token": _TOKEN}
        for path, calls in document["paths"].items():
            if path.startswith("/jobs"):
                for call in calls.values():
                    call["security"] = [{"token": []}]
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        app.openapi_schema = document
    return app.openapi_schema
