"""`/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

import asyncio
from typing import Final

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from starlette.responses import Response

from taskjob.ports import HistoryUnavailableError
from taskjob_api.hub import Hub
from taskjob_api.views import encode

health = APIRouter(tags=["health"])
_TEXT: Final = {"text/plain": {"schema": {"type": "string"}}}


class Answering(BaseModel):
    """One thing that the API needs."""

    ready: bool = Field(description="Whether it answers.")
    message: str | None = Field(description="What is wrong, if anything is.")


class Readiness(BaseModel):
    """Whether requests can be answered."""

    ready: bool = Field(
        description="Whether requests are to be sent here: the API server answers, and PostgreSQL does or once did."
    )
    apiServer: Answering = Field(description="The Kubernetes API server, knowing TaskJobs.")  # noqa: N815 - JSON
    postgresql: Answering = Field(description="PostgreSQL, with a history to read.")


@health.get(
    "/healthz",
    summary="Is the process alive?",
    response_class=Response,
    responses={200: {"description": "It is.", "content": _TEXT}},
)
async def healthz() -> Response:
    """Alive: it answers."""
    return Response("ok\n", media_type="text/plain")


@health.get(
    "/readyz",
    summary="Can requests be answered?",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Something does not answer; each is named."}},
)
async def readyz(request: Request) -> Response:
    """Asks the API server and PostgreSQL, and names what does not answer. A process that has reached PostgreSQL once
    stays ready without it: jobs in the cluster are still created, read and changed."""
    service = request.app.state.service
    cluster, history = await asyncio.gather(service.cluster.ready(), _history(service.hub))
    ready = cluster is None and (history is None or service.hub.incarnation is not None)
    answer = {
        "ready": ready,
        "apiServer": {"ready": cluster is None, "message": cluster},
        "postgresql": {"ready": history is None, "message": history},
    }
    return Response(encode(answer), 200 if ready else 503, media_type="application/json")


async def _history(hub: Hub) -> str | None:
    try:
        async with asyncio.timeout(3):
            await hub.ping()
    except HistoryUnavailableError as error:
        return str(error)
    except TimeoutError:
        return "no answer within 3 s"
    return None


@health.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={200: {"description": "Text.", "content": _TEXT}},
)
async def metrics() -> Response:
    """In Prometheus' text format."""
    return Response(generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
