"""The process: settings in, connections made, uvicorn around the application. `python -m taskjob_api`."""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import logging
import signal
import socket
import sys
from types import FrameType
from typing import Final

import uvicorn
import uvloop
from fastapi import FastAPI
from pydantic import ValidationError

from taskjob.config import ApiSettings, explain_invalid
from taskjob.history.reader import HistoryReader
from taskjob.kube.credentials import ConfigurationError
from taskjob.kube.http import KubeHttp
from taskjob_api.auth import Guard
from taskjob_api.cluster import Cluster
from taskjob_api.hub import Hub
from taskjob_api.leader import Leader
from taskjob_api.middleware import is_loopback
from taskjob_api.reviews import Reviews
from taskjob_api.routes import Doors, build
from taskjob_api.service import Service, StreamLimits

log = logging.getLogger("taskjob_api")

GRACE_SECONDS: Final = 10


class StartError(Exception):
    """The API cannot start; the message says why and what to do."""


def listen(host: str, port: int, *, insecure_local: bool = False) -> socket.socket:
    """The listening socket. Raises `StartError`: without authentication there is none but on loopback."""
    if insecure_local and not is_loopback(host):
        raise StartError(
            f"TASKJOBS_API_HOST={host} is refused: with --insecure-local nobody has to log in, "
            "so the API binds to loopback only (127.0.0.1, ::1, localhost)"
        )
    host = host.strip("[]")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        # Named, not 0: asyncio turns Nagle's algorithm off only for sockets that say TCP, and 40 ms go by without.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    return listening


def url_of(listening: socket.socket) -> str:
    """Where a socket can be reached."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """uvicorn, which tells streams of events that it is about to go."""

    def __init__(self, config: uvicorn.Config, going: asyncio.Event) -> None:
        super().__init__(config)
        self._going = going

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: finish, and at a second SIGINT do not wait. uvicorn's own would raise it again at the end, and so
        end the process before our connections are closed."""
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close WebSockets with 1012, end followed logs, let the rest finish."""
        self._going.set()
        await super().shutdown(sockets)


def configured(app: FastAPI) -> uvicorn.Config:
    """uvicorn's settings for the application."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="websockets-sansio",
        ws_per_message_deflate=False,  # it costs CPU for every client, for frames of a few hundred bytes
        ws_max_size=4096,  # clients have nothing to say
        timeout_graceful_shutdown=GRACE_SECONDS,
        h11_max_incomplete_event_size=65_536,
    )


def guard(settings: ApiSettings, http: KubeHttp, reader: HistoryReader) -> Guard:
    """Who judges the callers."""
    reviews = None
    if not settings.insecure_local:
        reviews = Reviews(http, audiences=settings.audiences, keep_seconds=settings.access_cache_seconds)
    return Guard(reviews, reader.namespaces, recheck_seconds=settings.access_recheck_seconds)


async def serve(settings: ApiSettings, listening: socket.socket) -> None:
    """Serve until a signal ends it. Raises `ConfigurationError`."""
    going = asyncio.Event()
    limits = StreamLimits(
        heartbeat_seconds=settings.stream_heartbeat_seconds,
        clients=settings.stream_clients,
        followers=settings.log_followers,
    )
    database_url = settings.database_url.get_secret_value()
    async with (
        await KubeHttp.connect(settings.kubeconfig, timeout_seconds=settings.request_timeout_seconds) as http,
        HistoryReader(database_url) as reader,
        # What everybody depends on waits behind nobody's requests: who calls, readiness, and the stream.
        KubeHttp(http.credentials, timeout_seconds=settings.request_timeout_seconds) as own_http,
        HistoryReader(database_url, size=2) as own_reader,
        Leader(settings.operator_url, settings.operator_token_file) as leader,
    ):
        hub = Hub(own_reader, kept=settings.stream_kept)
        service = Service(
            Cluster(http, own_http),
            reader,
            hub,
            limits=limits,
            going=going,
            guard=guard(settings, own_http, reader),
            leader=leader,
        )
        doors = Doors(settings.insecure_local, settings.allowed_origins)
        app = build(service, version=importlib.metadata.version("taskjobs"), doors=doors)
        how = (
            "with --insecure-local nobody has to log in, so it binds to loopback only"
            if settings.insecure_local
            else "callers send a bearer token of the API server's"
        )
        listening.listen()  # who goes by this line is not refused
        log.info("the API answers at %s (docs at /docs); %s", url_of(listening), how)
        await Server(configured(app), going).serve([listening])


def main() -> None:
    """Run the API until it is told to stop; a message and exit code 2 if it cannot start."""
    arguments = argparse.ArgumentParser(prog="taskjob-api", description="The REST and WebSocket API of Taskjobs.")
    arguments.add_argument(
        "--insecure-local",
        action="store_true",
        help="ask nobody for a token, use our own credentials for everything, and bind to loopback only",
    )
    given = arguments.parse_args()
    try:
        settings = ApiSettings(insecure_local=True) if given.insecure_local else ApiSettings()
        listening = listen(settings.api_host, settings.api_port, insecure_local=settings.insecure_local)
    except ValidationError as error:
        sys.exit(_stop(explain_invalid(error)))
    except StartError as error:
        sys.exit(_stop(str(error)))
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    uvicorns = logging.getLogger("uvicorn.error")
    # Never below: it would write addresses with their tickets, and headers with their tokens.
    uvicorns.setLevel(max(logging.WARNING, logging.getLevelName(settings.log_level)))
    # It says so, as an error, of each WebSocket that is refused with an answer; anybody can be refused.
    uvicorns.addFilter(lambda record: "without completing handshake" not in record.getMessage())
    try:
        uvloop.run(serve(settings, listening))
    except ConfigurationError as error:
        sys.exit(_stop(str(error)))
    finally:
        listening.close()


def _stop(message: str) -> int:
    print(f"taskjob-api: {message}", file=sys.stderr)
    return 2
