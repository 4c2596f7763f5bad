"""How subcommands reach the API of Taskjobs: its address, the caller's token, and its answers.

The address is `--api` or TASKJOBS_API_URL, else that of an API on this machine. The token is TASKJOBS_TOKEN, else the
one of the kubeconfig's current context, if it logs in with one. The API has no users of its own: it passes the token on
to the cluster's API server, so a kubeconfig's token goes nowhere in clear text but to this machine.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

import aiohttp
import msgspec

from taskjob.cli.answers import Answer, Job, Page, Refusal, SomePage
from taskjob.cli.errors import CommandError, NotFoundError, OddAnswerError
from taskjob.kube.credentials import ConfigurationError, Credentials
from taskjob.kube.fields import UNREADABLE

DEFAULT_URL: Final = "http://127.0.0.1:8080"
_KUBECONFIG: Final = Path("~/.kube/config")
_ANSWER_SECONDS: Final = 30
_SILENCE_SECONDS: Final = 60
"""A followed log has a beat every 15 s: where nothing comes for so long, nobody is there any more."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of every subcommand that asks the API."""
    group = parser.add_argument_group("the API")
    group.add_argument(
        "--api",
        metavar="URL",
        default=os.environ.get("TASKJOBS_API_URL") or DEFAULT_URL,
        help=f"where it is; otherwise TASKJOBS_API_URL, otherwise {DEFAULT_URL}",
    )
    group.add_argument(
        "--kubeconfig",
        metavar="FILE",
        type=Path,
        help="whose current context gives token and namespace; otherwise KUBECONFIG, otherwise ~/.kube/config. "
        "The variable TASKJOBS_TOKEN goes before its token",
    )
    group.add_argument("-n", "--namespace", help="the namespace; otherwise that of the context, otherwise default")


@dataclass(frozen=True, slots=True)
class Place:
    """What the command line and the environment say of the API: where it is, as whom, in which namespace."""

    url: str
    token: str | None
    namespace: str

    @classmethod
    async def find(cls, given: argparse.Namespace) -> Self:
        """Read the kubeconfig, if there is one. Raises `CommandError`."""
        try:
            parts = urlsplit(given.api)
        except ValueError:  # a bracket that is not closed, a host that no name can be
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CommandError(f"{given.api} is no address of an API: write it like https://taskjobs.example.org")
        url = given.api.rstrip("/")
        token, namespace = os.environ.get("TASKJOBS_TOKEN") or None, given.namespace
        if token is None or namespace is None:
            credentials = await _kubeconfig(given.kubeconfig)
            if credentials is not None:
                namespace = namespace or credentials.namespace
                if token is None and (parts.scheme == "https" or _this_machine(parts.hostname)):
                    token = credentials.token
        return cls(url, token, namespace or "default")


async def _kubeconfig(named: Path | None) -> Credentials | None:
    path = named or Path(os.environ.get("KUBECONFIG") or _KUBECONFIG.expanduser())
    if named is None and ":" not in str(path) and not path.exists():
        return None
    try:
        return await Credentials.load(path)
    except ConfigurationError as error:
        raise CommandError(str(error)) from error


def _this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class ApiClient:
    """The API, asked as its caller. Use it as an async context manager, from `connect`."""

    def __init__(self, place: Place, session: aiohttp.ClientSession) -> None:
        self.place = place
        self._session = session

    @property
    def namespace(self) -> str:
        """Where names are looked up."""
        return self.place.namespace

    async def get(self, path: str, kind: type[Answer], query: Mapping[str, str] | None = None) -> Answer:
        """An answer of the API, of that kind. Raises `CommandError` with what it said."""
        return await self._answer("GET", path, kind, query)

    async def patch(self, path: str, kind: type[Answer], query: Mapping[str, str | list[str]] | None = None) -> Answer:
        """Have something changed; the answer. Raises `CommandError` with what it said."""
        return await self._answer("PATCH", path, kind, query)

    async def pages(
        self, path: str, kind: type[SomePage], query: Mapping[str, str | list[str]], *, method: str = "GET"
    ) -> AsyncIterator[SomePage]:
        """One page after the other. Raises `CommandError`, also where a page says that it follows itself."""
        asked: Mapping[str, str | list[str]] = query
        while True:
            page = await self._answer(method, path, kind, asked)
            yield page
            if page.next is None:
                return
            if page.next in ("", asked.get("cursor")):
                raise self.odd("a page names itself as the next one")
            asked = {**query, "cursor": page.next}

    async def _answer(
        self, method: str, path: str, kind: type[Answer], query: Mapping[str, str | list[str]] | None
    ) -> Answer:
        async with self.stream(path, query, method=method, seconds=_ANSWER_SECONDS) as response:
            return self.read(await response.read(), kind)

    def read(self, body: bytes | str, kind: type[Answer]) -> Answer:
        """A part of an answer, of that kind. Raises `OddAnswerError`."""
        try:
            return msgspec.json.decode(body, type=kind)
        except UNREADABLE as error:
            raise self.odd(error) from error

    def odd(self, why: object) -> OddAnswerError:
        """That what came is no answer of the API."""
        return OddAnswerError(f"{self.place.url} does not answer as the API of Taskjobs would: {why}")

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        query: Mapping[str, str | list[str]] | None = None,
        *,
        method: str = "GET",
        seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A good answer, to be read piece by piece. Raises `CommandError`, also while it is being read. One that has
        no time limit has one for its silence."""
        silence = _SILENCE_SECONDS if seconds is None else None
        try:
            async with self._session.request(
                method,
                self.place.url + path,
                params=query,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=10, sock_read=silence),
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    kind = NotFoundError if response.status == 404 else CommandError
                    raise kind(self._refusal(response.status, await response.read()))
                yield response
        except TimeoutError as error:
            raise CommandError(f"the API at {self.place.url} did not answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise CommandError(
                f"the API at {self.place.url} cannot be reached: {error}. Name it with --api or TASKJOBS_API_URL"
            ) from error

    def _refusal(self, code: int, body: bytes) -> str:
        try:
            said = msgspec.json.decode(body, type=Refusal).detail
        except UNREADABLE:
            return f"{self.place.url} answered {code}, and not as the API of Taskjobs would"
        if code == 401 and self.place.token is None:
            said += (
                ". No token was sent: set TASKJOBS_TOKEN, for example to the output of `kubectl create token ACCOUNT` "
                "(a client certificate does not log in here)"
            )
        return said

    async def find(self, name: str) -> Job:
        """The newest job of that name, as `GET /jobs/` shows it. Raises `CommandError` if there is none."""
        query = {"namespace": self.namespace, "name": name, "limit": "500"}
        async for page in self.pages("/jobs/", Page, query):
            for job in page.items:
                if job.name == name:
                    return job
        raise CommandError(f'there is no job "{name}" in namespace "{self.namespace}" that you may read')


@asynccontextmanager
async def connect(given: argparse.Namespace) -> AsyncIterator[ApiClient]:
    """The API that the command line means. Raises `CommandError`."""
    place = await Place.find(given)
    headers = {"User-Agent": "taskjob", "Accept": "application/json"}
    if place.token is not None:
        headers["Authorization"] = f"Bearer {place.token}"
    async with aiohttp.ClientSession(headers=headers, cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield ApiClient(place, session)
