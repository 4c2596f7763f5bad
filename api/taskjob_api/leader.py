"""The operator that leads, asked why a job waits: it alone knows the order in which jobs will start.

All operators stand behind one name (a headless Service); each is asked, and the one that leads answers. We show a token
of our own that is meant for nothing else, never the caller's.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import aiohttp
import msgspec

from taskjob.kube.fields import UNREADABLE
from taskjob.kube.http import read_at_most
from taskjob_api.problems import Problem, unavailable

_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 2.0
_LONGEST: Final = 2**20


class Leader:
    """Asks, within `async with`."""

    def __init__(self, url: str, token_file: Path | None = None) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._token_file = token_file
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def explain(self, uid: str) -> Mapping[str, Any] | None:
        """What the leader says of a job; None if there is none of that UID in the cluster as it sees it.

        Raises `Problem`: 503 with the reason while nobody leads or answers.
        """
        headers, addresses = self._headers(), await self._addresses()
        answers = await asyncio.gather(*(self._ask(address, headers, uid) for address in addresses))
        refused = ""
        for code, body in answers:
            if code == 200:
                try:
                    return dict(msgspec.json.decode(body, type=dict[str, Any]))
                except UNREADABLE as error:
                    raise _nobody(f"the leader's answer cannot be read: {error}") from error
            if code == 404:
                return None
            if code in (401, 403):
                raise _nobody(
                    "the leading operator does not let this API ask: TASKJOBS_OPERATOR_TOKEN_FILE, EXPLAIN_TO"
                )
            refused = refused or body.decode(errors="replace").strip()[:300]
        raise _nobody(refused or "there is no operator at TASKJOBS_OPERATOR_URL")

    async def _ask(self, address: str, headers: Mapping[str, str], uid: str) -> tuple[int, bytes]:
        host = f"[{address}]" if ":" in address else address
        try:
            async with self._session.get(
                f"http://{host}:{self._port}/explain", params={"uid": uid}, headers=headers, allow_redirects=False
            ) as response:
                return response.status, await read_at_most(response.content, _LONGEST)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return 0, (str(error) or "an operator does not answer").encode()

    async def _addresses(self) -> list[str]:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise _nobody(f"{self._host}: {error.strerror or error}") from error
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        try:
            return {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}
        except (OSError, UnicodeDecodeError) as error:
            raise _nobody(f"our token for it cannot be read: {error}") from error


def _nobody(why: str) -> Problem:
    return unavailable(f"no operator that leads can be asked: {why}", _RETRY_SECONDS)
