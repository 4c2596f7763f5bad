"""The routes: what is asked, checked by its model, and what answers. The whole contract is in `/docs`."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, FastAPI, Path, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response, StreamingResponse
from starlette.routing import Match, Route

from taskjob.ports import HistoryUnavailableError
from taskjob_api import openapi
from taskjob_api.auth import Rights
from taskjob_api.bodies import parse, read_body, submission
from taskjob_api.cluster import NoPodLog
from taskjob_api.desk import Desk
from taskjob_api.explain import ExplanationView, explain
from taskjob_api.filters import ListQuery, StreamQuery, read_query
from taskjob_api.follow import END_IDENTITY, Follower
from taskjob_api.health import health
from taskjob_api.logs import LogQuery, ended_at, shown, taken_up
from taskjob_api.middleware import LocalOnly, Measured, OnlyOrigins, Sealed
from taskjob_api.place import Place
from taskjob_api.problems import Kind, Problem, field_errors, from_fields, unavailable
from taskjob_api.reviews import Caller
from taskjob_api.seats import Seated
from taskjob_api.service import Service
from taskjob_api.stream import Client
from taskjob_api.tickets import TICKET_SECONDS
from taskjob_api.views import JobDetail, JobPage, encode, rfc3339
from taskjob_api.wishes import GroupAnswer, GroupQuery, Wish

log = logging.getLogger(__name__)

JobId = Annotated[
    str,
    Path(
        description="The TaskJob's UID.",
        pattern="^[A-Za-z0-9-]{1,64}$",
        examples=["6e0a3f5c-8b1c-4a59-9d63-0d1c6a2f4b77"],
    ),
]
Group = Annotated[
    str,
    Path(
        description="The value of the label taskjobs.dev/group.",
        pattern="^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$",
        examples=["nightly"],
    ),
]
_LOG_SOURCE: Final = "Taskjobs-Log-Source"
_LOG_CUT: Final = "Taskjobs-Log-Cut-Bytes"


class Ticket(BaseModel):
    """A ticket."""

    ticket: str = Field(description="Goes into the address of the stream: `?ticket=...`.")
    expiresInSeconds: int = Field(description="How long it may be used, once.")  # noqa: N815 - JSON


@dataclass(frozen=True, slots=True)
class Doors:
    """Who is let in. `insecure_local`: everybody of this machine, without a token."""

    insecure_local: bool = False
    origins: Sequence[str] = ()  # of pages that may use the API in browsers


router = APIRouter(prefix="/jobs", tags=["jobs"])


def _service(request: Request | WebSocket) -> Service:
    service: Service = request.app.state.service
    return service


def _desk(request: Request) -> Desk:
    """For whoever sends the request. Raises `Problem`: 401 without a token."""
    service = _service(request)
    return service.desk(service.guard.caller(request.headers))


def _json(answer: dict[str, object], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(encode(answer), status, media_type="application/json", headers=headers)


@router.post("/", status_code=201, summary="Create a job", **openapi.create())
async def create_job(request: Request) -> Response:
    """A TaskJob manifest as JSON, or the short form. The API server has the last word, and is strict."""
    desk = _desk(request)
    await desk.rights.user()  # first, so that nobody has a large body read and judged with a token that is made up
    body = await read_body(request)
    read_query(openapi.NoQuery, request.query_params)
    answer = await desk.jobs.create(submission(parse(body)))
    return _json(answer, 201, {"Location": f"/jobs/{answer['id']}"})


@router.get("/", summary="List jobs", **openapi.listing(JobPage, ListQuery))
async def list_jobs(request: Request) -> Response:
    """A page of jobs, newest first, as history has them: it may lag by the time of a flush (100 ms). Of all namespaces,
    those whose TaskJobs you may list."""
    return _json(await _desk(request).jobs.page(read_query(ListQuery, request.query_params)))


@router.get("/stream", include_in_schema=False)
async def stream_without_upgrade(request: Request) -> Response:
    """The stream is a WebSocket."""
    raise Problem(
        Kind.UPGRADE, "connect with a WebSocket client: ws://.../jobs/stream", headers={"Upgrade": "websocket"}
    )


@router.post("/stream/ticket", status_code=201, summary="Get a ticket for the stream", **openapi.ticket(Ticket))
async def create_ticket(request: Request) -> Response:
    """For browsers, whose WebSockets cannot send a token: `WS /jobs/stream?ticket=...`, once, within 30 s."""
    desk = _desk(request)
    read_query(openapi.NoQuery, request.query_params)
    ticket = await _service(request).tickets.issue(await desk.rights.user())
    return _json({"ticket": ticket, "expiresInSeconds": round(TICKET_SECONDS)}, 201)


@router.get("/{job_id}", summary="Read a job", **openapi.one(JobDetail))
async def get_job(request: Request, job_id: JobId) -> Response:
    """A job in the cluster as it is there at this moment, one that has left as history has it."""
    jobs = _desk(request).jobs
    read_query(openapi.NoQuery, request.query_params)
    return _json((await jobs.find(job_id)).answer)


async def _tell(request: Request, job_id: str, wish: Wish) -> Response:
    jobs = _desk(request).jobs
    read_query(openapi.NoQuery, request.query_params)
    return _json(await jobs.tell(job_id, wish))


@router.patch("/{job_id}/cancel", summary="Cancel a job", **openapi.wish(JobDetail))
async def cancel_job(request: Request, job_id: JobId) -> Response:
    """Ends the job as Cancelled, a running attempt with its grace period. It cannot be taken back, but run again."""
    return await _tell(request, job_id, Wish.CANCEL)


@router.patch("/{job_id}/suspend", summary="Suspend a job", **openapi.wish(JobDetail))
async def suspend_job(request: Request, job_id: JobId) -> Response:
    """Ends a running attempt with its grace period, not charged, and holds the job until it is resumed."""
    return await _tell(request, job_id, Wish.SUSPEND)


@router.patch("/{job_id}/resume", summary="Resume a job", **openapi.wish(JobDetail))
async def resume_job(request: Request, job_id: JobId) -> Response:
    """The job is queued again."""
    return await _tell(request, job_id, Wish.RESUME)


@router.patch("/{job_id}/rerun", summary="Run a job again", **openapi.wish(JobDetail))
async def rerun_job(request: Request, job_id: JobId) -> Response:
    """A new run, with attempts of its own; of a job that has not finished, once it has."""
    return await _tell(request, job_id, Wish.RERUN)


@router.patch("/group/{group}/{wish}", summary="Change a group of jobs", **openapi.group(GroupAnswer, GroupQuery))
async def change_group(request: Request, group: Group, wish: Wish) -> Response:
    """Of the jobs with that label: cancels or suspends what has not ended, resumes what is suspended, reruns what has
    ended.

    A page of the group at a time: go on with `next`. Each job is changed by itself, so some may be and others not;
    doing it again does the rest."""
    jobs = _desk(request).jobs
    return _json(await jobs.tell_group(group, wish, read_query(GroupQuery, request.query_params)))


@router.get("/{job_id}/explain", summary="Explain a job", **openapi.one(ExplanationView))
async def explain_job(request: Request, job_id: JobId) -> Response:
    """Why it waits, with figures, its place in the queue and who holds what it waits for, as the leading operator sees
    it at this moment; 503 while there is none. What has ended is explained by what is recorded."""
    desk = _desk(request)
    read_query(openapi.NoQuery, request.query_params)
    found = await desk.jobs.find(job_id)
    return _json(await explain(found, _service(request).leader, desk.rights))


@router.get("/{job_id}/logs", summary="Read or follow a log", **openapi.logs(LogQuery))
async def get_logs(request: Request, job_id: JobId) -> Response:
    """The log of one attempt: from its pod while that exists, from history afterwards."""
    desk = _desk(request)
    query = read_query(LogQuery, request.query_params)
    since = query.since_at(datetime.now(UTC))
    resumed = request.headers.get("last-event-id", "") if query.follow else ""
    if resumed == END_IDENTITY:
        return Response(status_code=204)
    found = await desk.jobs.find(job_id)
    wanted = taken_up(found, query, resumed)
    since_time = rfc3339(since.replace(microsecond=0)) if since is not None else None
    if query.follow:
        place = Place.parse(resumed, wanted.run, wanted.attempt)
        async with AsyncExitStack() as held:
            held.enter_context(_service(request).follower_seats.one())
            follower = Follower(desk, wanted, query, since_time, place)
            opened = await follower.open()
            if isinstance(opened, NoPodLog):
                if await desk.logs.kept(wanted, query) is None:
                    raise await desk.logs.missing(wanted, query, opened)
            else:
                held.push_async_callback(opened.close)
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            response = Seated(follower.events(opened), media_type="text/event-stream", headers=headers)
            response.held = held.pop_all()
            return response
    row = await desk.logs.followed(wanted, query)
    if row is not None:
        follower = Follower(desk, wanted, query, since_time, None)
        opened = await follower.open(follow=False)
        if not isinstance(opened, NoPodLog):
            headers = {_LOG_SOURCE: "history, pod", _LOG_CUT: str(row.cut_bytes)}
            return StreamingResponse(follower.text(row, opened), media_type="text/plain", headers=headers)
    opened = await desk.logs.open(wanted, query, since_time, timestamps=query.timestamps)
    if not isinstance(opened, NoPodLog):
        return StreamingResponse(opened.chunks(), media_type="text/plain", headers={_LOG_SOURCE: "pod"})
    kept = await desk.logs.kept(wanted, query)
    if kept is None:
        raise await desk.logs.missing(wanted, query, opened)
    headers = {_LOG_SOURCE: "history", _LOG_CUT: str(kept.cut_bytes)}
    return Response(shown(kept, query, since_time, ended_at(wanted)), media_type="text/plain", headers=headers)


@router.websocket("/stream")
async def stream(socket: WebSocket) -> None:
    """See `stream.py`. What is wrong with the query or the caller is told as an HTTP answer before the upgrade."""
    with ExitStack() as seat:
        try:
            client = await _admitted(socket, _service(socket), seat)
        except Problem as problem:
            await socket.send_denial_response(problem.response(socket))
            return
        await socket.accept()
        await client.serve()


async def _admitted(socket: WebSocket, service: Service, seat: ExitStack) -> Client:
    """Who may have the stream, on a seat. What needs no question comes first: no ticket is spent on a refusal, and of
    many who come at once no more go on than there are seats. Raises `Problem`."""
    caller = None if "ticket" in socket.query_params else service.guard.caller(socket.headers)
    query = read_query(StreamQuery, socket.query_params)
    if service.hub.unavailable is not None and service.hub.cursor is None:
        raise unavailable(f"history cannot be read: {service.hub.unavailable}")
    if caller is not None:
        await Rights(service.guard, caller).user()  # before a seat is taken: tokens can be made up without end
    seat.enter_context(service.seats.one())
    if caller is None:
        caller = await _redeemed(service, query.ticket or "")
    client = Client(
        socket,
        query,
        service.hub,
        service.reader,
        Rights(service.guard, caller),
        heartbeat_seconds=service.limits.heartbeat_seconds,
        send_seconds=service.limits.send_seconds,
    )
    await client.admit()
    return client


async def _redeemed(service: Service, ticket: str) -> Caller:
    try:
        return await service.tickets.redeem(ticket)
    except HistoryUnavailableError as error:
        raise unavailable(f"tickets cannot be read: {error}") from error


# ---------------------------------------------------------------- the application
def build(service: Service, *, version: str, doors: Doors = Doors()) -> FastAPI:
    """The application around a service. The hub runs as long as the application does."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.hub.running():
            yield

    app = FastAPIOffline(  # people give /docs their tokens: it loads no script from elsewhere
        title="Taskjobs",
        version=version,
        description=openapi.DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        redoc_url=None,
        static_url="/docs/static",
    )
    app.state.service = service
    app.include_router(router)
    app.include_router(health)
    app.openapi = lambda: openapi.schema(app)  # type: ignore[method-assign]  # FastAPI's documented way
    _handle_errors(app)
    app.add_middleware(Measured)
    if doors.insecure_local:
        app.add_middleware(LocalOnly)
    else:
        app.add_middleware(OnlyOrigins, origins=doors.origins)
    if doors.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(doors.origins),
            allow_methods=["GET", "POST", "PATCH"],
            allow_headers=["Authorization", "Content-Type", "Last-Event-ID"],
            expose_headers=["Location", "Retry-After", _LOG_SOURCE, _LOG_CUT],
            allow_credentials=False,  # there are no cookies here
        )
    app.add_middleware(Sealed)
    return app


def _methods_of(request: Request) -> list[str]:
    """Of all our routes of this path; the framework's own answer knows those of the first one only."""
    found: set[str] = set()
    for route in (*router.routes, *health.routes):
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return sorted(found)


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def _(request: Request, problem: Problem) -> Response:
        return problem.response(request)

    @app.exception_handler(HistoryUnavailableError)
    async def _(request: Request, error: HistoryUnavailableError) -> Response:
        return unavailable(f"history cannot be read: {error}").response(request)

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> Response:
        return from_fields(field_errors(error.errors(), below=1)).response(request)

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            detail = f"{request.method} is not allowed on {request.url.path[:200]}"
            headers = {"Allow": ", ".join(_methods_of(request))}
            return Problem(Kind.METHOD_NOT_ALLOWED, detail, headers=headers).response(request)
        if error.status_code == 404:
            return Problem(Kind.NOT_FOUND, f"there is nothing at {request.url.path[:200]}").response(request)
        return Problem(Kind.MALFORMED, str(error.detail)).response(request)

    @app.exception_handler(Exception)
    async def _(request: Request, error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return Problem(Kind.INTERNAL, "an error of the API itself; its log says more").response(request)
