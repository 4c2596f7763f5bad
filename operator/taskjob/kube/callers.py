"""Who may ask the operator's own port about jobs: named accounts, by tokens that are meant for the operator alone.

The API server says whose a token is (TokenReview). The token's audience is not the API server's, so that whoever should
catch one on its way can do nothing with it but ask the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from typing import Final

import msgspec

from taskjob.kube.fields import UNREADABLE
from taskjob.kube.http import KubeHttp, NoAnswerError, encode

AUDIENCE: Final = "taskjobs-operator"
ASKING_MAX: Final = 4
"""Questions under way. Whoever reaches the port can cause them, and they use the leader's connections."""
_KEEP_SECONDS: Final = 30.0
_KEPT: Final = 100
_TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]{1,16384}=*")


class _User(msgspec.Struct, frozen=True):
    username: str = ""


class _Status(msgspec.Struct, frozen=True):
    authenticated: bool = False
    user: _User = _User()
    audiences: tuple[str, ...] | None = None


class _Review(msgspec.Struct, frozen=True):
    status: _Status = _Status()


_decode: Final = msgspec.json.Decoder(_Review).decode


class Callers:
    """Judges bearer tokens; remembers its judgements for half a minute, by the hash of the token."""

    def __init__(self, http: KubeHttp, accounts: Collection[str]) -> None:
        self._http = http
        self._accounts = frozenset(accounts)
        self._judged: dict[bytes, tuple[bool, float]] = {}
        self._asking = 0

    async def accepts(self, header: str | None) -> bool:
        """Whether an `Authorization` header lets its sender in. Raises `NoAnswerError` if nobody can say."""
        scheme, _, token = (header or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not _TOKEN.fullmatch(token):
            return False
        key, now = hashlib.sha256(token.encode()).digest(), self._http.clock.elapsed()
        known = self._judged.get(key)
        if known is not None and now < known[1]:
            return known[0]
        if self._asking >= ASKING_MAX:
            raise NoAnswerError("too many ask at once who they are; try again")
        self._asking += 1
        try:
            accepted = await self._ask(token)
        finally:
            self._asking -= 1
        if len(self._judged) >= _KEPT:
            self._judged.clear()
        self._judged[key] = (accepted, now + _KEEP_SECONDS)
        return accepted

    async def _ask(self, token: str) -> bool:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [AUDIENCE]},
        }
        reply = await self._http.request(
            "POST",
            "/apis/authentication.k8s.io/v1/tokenreviews",
            verb="create",
            resource="tokenreviews",
            body=encode(body),
        )
        if not reply.ok:
            # Not in its own words, which might quote what was asked: the token.
            raise NoAnswerError(f"the API server does not let us ask who calls: {reply.code}")
        try:
            status = _decode(reply.body).status
        except UNREADABLE as error:
            raise NoAnswerError(f"an answer that cannot be read: {error}") from error
        # An authenticator that does not know of audiences names none: then the token was not meant for us.
        return status.authenticated and AUDIENCE in (status.audiences or ()) and status.user.username in self._accounts
