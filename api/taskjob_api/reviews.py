"""What the API server says of a bearer token: who it is (TokenReview) and what it may (SubjectAccessReview).

Asked with our own credentials, and kept for seconds by the hash of the token; the token itself is kept nowhere. If the
API server does not answer, or does not let us ask, nobody is anybody and nothing is allowed: a `Problem` with 503.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from taskjob.kube.fields import UNREADABLE
from taskjob.kube.http import KubeHttp, NoAnswerError, encode
from taskjob.resources.words import GROUP, TASKJOBS
from taskjob_api.problems import Kind, Problem, unavailable
from taskjob_api.remembered import Kept, Remembered

REFUSED_SECONDS: Final = 2.0
"""How long it is kept that a token is not accepted: only so that one that is tried again and again costs little."""
STRANGERS: Final = 8
"""How many tokens are asked about at once that were not accepted before: anybody can make some up, without end."""
_ACQUAINTED: Final = 32
"""How many questions at once are about those who were accepted; with the strangers' fewer than a session has slots."""
_IDENTITIES: Final = 10_000
_DECISIONS: Final = 100_000
_Review = TypeVar("_Review")
_CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}


class User(msgspec.Struct, frozen=True):
    """Who a token stands for, as the API server knows it."""

    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] | None = None
    extra: dict[str, tuple[str, ...]] | None = None


class _TokenStatus(msgspec.Struct, frozen=True):
    authenticated: bool = False
    user: User = User()
    audiences: tuple[str, ...] | None = None


class _TokenReview(msgspec.Struct, frozen=True):
    status: _TokenStatus = _TokenStatus()


class _AccessStatus(msgspec.Struct, frozen=True):
    allowed: bool = False
    denied: bool = False


class _AccessReview(msgspec.Struct, frozen=True):
    status: _AccessStatus = _AccessStatus()


@dataclass(frozen=True, slots=True)
class Right:
    """One verb on one resource; without a namespace: in all of them."""

    verb: str
    namespace: str = ""
    group: str = GROUP
    resource: str = TASKJOBS
    subresource: str = ""

    def __str__(self) -> str:
        resource = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        where = f"in the namespace {self.namespace!r}" if self.namespace else "in all namespaces"
        return f"{self.verb} {resource} {where}"


def to_read_logs(namespace: str) -> Right:
    """What `kubectl logs` needs."""
    return Right("get", namespace, group="", resource="pods", subresource="log")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request: the bearer of a token, or a user who is known without one until an instant of the monotonic
    clock. Neither, only where nobody has to log in: ourselves."""

    token: str | None = field(repr=False)
    key: bytes = field(repr=False, default=b"")
    user: User | None = None
    until: float = 0.0

    @classmethod
    def bearing(cls, token: str) -> Caller:
        """The bearer of a token, who or whatever that is."""
        return cls(token, hashlib.sha256(token.encode()).digest())

    @classmethod
    def known_as(cls, user: User, until: float) -> Caller:
        """A user whom the API server named a while ago. The key is no token's: JSON has braces, and no token has."""
        return cls(None, hashlib.sha256(msgspec.json.encode(user, order="sorted")).digest(), user, until)


def unauthenticated(detail: str) -> Problem:
    """401: who is it?"""
    return Problem(Kind.UNAUTHENTICATED, detail, headers=_CHALLENGE)


class Reviews:
    """Asks the API server, and remembers its answers for `keep_seconds`. Tokens that nobody knows wait for each other,
    and not those who were accepted before for them."""

    def __init__(
        self,
        http: KubeHttp,
        *,
        audiences: Sequence[str] = (),
        keep_seconds: float = 10,
        identities: int = _IDENTITIES,
        decisions: int = _DECISIONS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = http
        self._audiences = list(audiences)
        self._keep_seconds = keep_seconds
        self._clock = clock
        self._strangers = asyncio.Semaphore(STRANGERS)
        self._acquainted = asyncio.Semaphore(_ACQUAINTED)
        self._met: OrderedDict[bytes, None] = OrderedDict()  # whose token was accepted the last time
        self._met_max = identities
        self.identities: Remembered[bytes, User | None] = Remembered(identities, clock)
        self.decisions: Remembered[tuple[bytes, Right], bool] = Remembered(decisions, clock)

    async def user(self, caller: Caller) -> User:
        """Who it is. Raises `Problem`: 401 if the API server does not know the token, or who came without one has been
        here for long enough, 503 if the API server does not say."""
        if caller.user is not None:
            if self._clock() >= caller.until:
                raise unauthenticated("a ticket's stream has ended: come back with a new ticket and the last cursor")
            return caller.user
        token = caller.token
        assert token is not None  # noqa: S101 - whoever has none is never asked about
        user = await self.identities.get(caller.key, lambda: self._ask_who(caller.key, token))
        if user is None:
            raise unauthenticated("the API server does not accept this token: it has expired, or is not one of its own")
        return user

    async def may(self, caller: Caller, right: Right) -> bool:
        """Whether it has a right. Raises `Problem` as `user` does."""
        user = await self.user(caller)
        return await self.decisions.get((caller.key, right), lambda: self._ask_whether(user, right))

    async def _ask_who(self, key: bytes, token: str) -> Kept[User | None]:
        spec: dict[str, object] = {"token": token}
        if self._audiences:
            spec["audiences"] = self._audiences
        turn = self._acquainted if key in self._met else self._strangers
        body = await self._ask("authentication.k8s.io", "TokenReview", "tokenreviews", spec, turn)
        status = _read(body, _TokenReview).status
        # An authenticator that does not know of audiences names none: then the token was not meant for us.
        meant = not self._audiences or not set(self._audiences).isdisjoint(status.audiences or ())
        self._met.pop(key, None)
        if status.authenticated and meant and status.user.username:
            self._met[key] = None
            while len(self._met) > self._met_max:
                self._met.popitem(last=False)
            return Kept(status.user, self._keep_seconds)
        return Kept(None, min(REFUSED_SECONDS, self._keep_seconds))

    async def _ask_whether(self, user: User, right: Right) -> Kept[bool]:
        spec: dict[str, object] = {
            "user": user.username,
            "uid": user.uid,
            "groups": list(user.groups or ()),
            "extra": {name: list(values) for name, values in (user.extra or {}).items()},
            "resourceAttributes": {
                "namespace": right.namespace,
                "verb": right.verb,
                "group": right.group,
                "resource": right.resource,
                "subresource": right.subresource,
            },
        }
        body = await self._ask(
            "authorization.k8s.io", "SubjectAccessReview", "subjectaccessreviews", spec, self._acquainted
        )
        status = _read(body, _AccessReview).status
        # A no is kept as long as a yes: a list asks about every namespace there is, and most of the answers are no.
        return Kept(status.allowed and not status.denied, self._keep_seconds)

    async def _ask(
        self, group: str, kind: str, resource: str, spec: dict[str, object], turn: asyncio.Semaphore
    ) -> bytes:
        seconds = self._http.timeout_seconds
        try:
            async with asyncio.timeout(seconds), turn:
                reply = await self._http.request(
                    "POST",
                    f"/apis/{group}/v1/{resource}",
                    verb="create",
                    resource=resource,
                    body=encode({"apiVersion": f"{group}/v1", "kind": kind, "spec": spec}),
                )
        except (NoAnswerError, TimeoutError) as error:
            why = str(error) or f"no answer within {seconds:g} s"
            raise unavailable(f"the API server does not answer who may do what: {why}") from error
        if reply.code in (401, 403):
            raise unavailable(
                f"this API may not ask the API server who may do what: grant its account to create {resource}.{group}",
                10,
            )
        if not reply.ok:  # its own words might quote what was asked
            raise unavailable(
                f"the API server did not say who may do what ({resource}: {reply.code})", reply.retry_after_seconds
            )
        return reply.body


def _read(body: bytes, kind: type[_Review]) -> _Review:
    try:
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE as error:
        raise unavailable("the API server's answer about who may do what cannot be read") from error
