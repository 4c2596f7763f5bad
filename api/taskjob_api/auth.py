"""Who calls, and what of history it may see.

Whatever is done in the cluster is done with the caller's own token, and the API server judges (`cluster.py`). History
is ours, and nobody judges there unless we ask: each read of it passes through `Rights`, which asks the API server and
fails closed. With `--insecure-local` nobody is asked for a token, and everything is done and seen with our own.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from starlette.datastructures import Headers

from taskjob_api.problems import FieldError, Kind, Problem
from taskjob_api.remembered import Kept, Remembered
from taskjob_api.reviews import Caller, Reviews, Right, User, unauthenticated

NAMESPACES_MAX: Final = 200
"""How many namespaces are asked about for one caller; where history knows more, a caller has to name one."""
_NAMESPACES_KEPT_SECONDS: Final = 5.0
_TOKEN_MAX: Final = 16_384
_TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 6750
_NOBODY: Final = "send a bearer token that the API server accepts, as with kubectl: Authorization: Bearer <token>"

Known = Callable[[int], Awaitable[Sequence[str]]]
"""At most so many of the namespaces that history knows."""


class Guard:
    """Judges all callers. Without `reviews` (`--insecure-local`) everybody is let in as ourselves."""

    def __init__(self, reviews: Reviews | None, known: Known, *, recheck_seconds: float = 40) -> None:
        self.reviews = reviews
        self.recheck_seconds = recheck_seconds
        """How often those are judged anew that stay: streams and followed logs."""
        self._known = known
        self._namespaces: Remembered[None, Sequence[str]] = Remembered(1)

    def caller(self, headers: Headers) -> Caller:
        """Who a request says that it is: nothing is asked yet. Raises `Problem`: 401 without a usable token."""
        if self.reviews is None:
            return Caller(None)
        given = headers.getlist("authorization")
        if not given:
            raise unauthenticated(_NOBODY)
        scheme, _, token = given[0].partition(" ")
        token = token.strip()
        if len(given) > 1 or scheme.lower() != "bearer":
            raise unauthenticated(_NOBODY)
        if len(token) > _TOKEN_MAX or not _TOKEN.fullmatch(token):
            raise unauthenticated("the bearer token is not one: RFC 6750 says which characters it may have")
        return Caller.bearing(token)

    async def namespaces(self) -> Sequence[str]:
        """Those that history knows, as of seconds ago; at most one more than `NAMESPACES_MAX`."""

        async def ask() -> Kept[Sequence[str]]:
            return Kept(await self._known(NAMESPACES_MAX + 1), _NAMESPACES_KEPT_SECONDS)

        return await self._namespaces.get(None, ask)


class Rights:
    """What one caller may. Raises `Problem`: 401 for a token that is not accepted, 503 when that cannot be asked."""

    def __init__(self, guard: Guard, caller: Caller) -> None:
        self._guard = guard
        self._reviews = guard.reviews
        self.caller = caller
        self.recheck_seconds = guard.recheck_seconds

    @property
    def unlimited(self) -> bool:
        """Nobody is judged here."""
        return self._reviews is None

    async def user(self) -> User | None:
        """Who the API server says that the caller is; None: nobody is judged here."""
        return None if self._reviews is None else await self._reviews.user(self.caller)

    async def may(self, right: Right) -> bool:
        """Whether the caller has this right."""
        return self._reviews is None or await self._reviews.may(self.caller, right)

    async def require(self, right: Right) -> None:
        """Raises `Problem`, 403, without the right."""
        if not await self.may(right):
            raise Problem(Kind.FORBIDDEN, f"you may not {right}")

    async def scope(self, verb: str, namespace: str | None) -> frozenset[str] | None:
        """The namespaces in which the caller may `verb` TaskJobs, of those asked for (None: of all); None: everywhere.

        Raises `Problem`: 403 if it may not in the one namespace that was asked for.
        """
        if namespace is not None:
            if not await self.may(Right(verb, namespace)):
                raise Problem(
                    Kind.FORBIDDEN,
                    f"you may not {Right(verb, namespace)}",
                    [FieldError(field="namespace", message=f"you may not {verb} taskjobs there")],
                )
            return frozenset({namespace})
        if await self.may(Right(verb)):
            return None
        known = await self._guard.namespaces()
        if len(known) > NAMESPACES_MAX:
            raise Problem(
                Kind.FORBIDDEN,
                f"you may not {Right(verb)}, and there are too many to look which of them you may see: name one",
                [FieldError(field="namespace", message="is required of you")],
            )
        return frozenset(await self.among(verb, known))

    async def among(self, verb: str, namespaces: Iterable[str]) -> list[str]:
        """Those of some namespaces in which the caller may `verb` TaskJobs."""
        asked = list(namespaces)
        allowed = await asyncio.gather(*(self.may(Right(verb, namespace)) for namespace in asked))
        return [namespace for namespace, may in zip(asked, allowed, strict=True) if may]


class Sight:
    """The namespaces that one stream may show, judged when a frame of theirs is to be sent, and anew every so often.

    So a right that is withdrawn ends its frames within that time, and one that is given begins them.
    """

    def __init__(
        self, rights: Rights, verb: str, namespace: str | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rights = rights
        self._verb = verb
        self._namespace = namespace
        self._clock = clock
        self._all = rights.unlimited
        self._judged: dict[str, bool] = {}
        self._expires_at = float("-inf")

    @property
    def seconds_left(self) -> float:
        """Until it has to be judged anew."""
        return max(0.0, self._expires_at - self._clock())

    async def of(self, namespaces: Iterable[str]) -> Callable[[str], bool]:
        """A judge of these namespaces. Raises `Problem`: the token is not accepted any more, or the namespace that was
        asked for may not be seen (any more)."""
        if self._clock() >= self._expires_at:
            await self._look()
        if self._all:
            return lambda _: True
        new = {namespace for namespace in namespaces if namespace not in self._judged}
        if new:
            allowed = set(await self._rights.among(self._verb, new))
            self._judged |= {namespace: namespace in allowed for namespace in new}
        judged = self._judged
        return lambda namespace: judged.get(namespace, False)

    async def _look(self) -> None:
        began = self._clock()
        await self._rights.user()
        self._judged = {}
        if self._namespace is not None:
            await self._rights.scope(self._verb, self._namespace)
        else:
            self._all = self._rights.unlimited or await self._rights.may(Right(self._verb))
        self._expires_at = began + self._rights.recheck_seconds
