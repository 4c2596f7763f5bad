"""One-use tickets for browsers, whose WebSockets cannot send a header: short-lived, and good at every replica.

PostgreSQL holds them, so that two replicas never both take one. It holds no secret: of the ticket its hash, and instead
of the caller's token who the API server said that the caller is. That suffices to ask what the caller may; whether the
token is still accepted cannot be asked any more, so a stream that a ticket opened ends after minutes.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from taskjob_api.problems import unavailable
from taskjob_api.reviews import Caller, User, unauthenticated

TICKET_SECONDS: Final = 30.0
TICKETS_MAX: Final = 10_000
TICKETS_OF_ONE: Final = 100
"""So that one caller does not take all."""
STREAM_SECONDS: Final = 300.0
"""For how long whoever comes by a ticket is taken at its word."""
_ENCODER: Final = msgspec.json.Encoder(order="sorted")
_DECODER: Final = msgspec.json.Decoder(User | None)


class Store(Protocol):
    """Where tickets are kept: `history.reader.HistoryReader`."""

    async def keep_ticket(
        self, hash_: bytes, caller: str, seconds: float, *, of_one: int, of_all: int
    ) -> tuple[int, int]:
        """Keep one of a caller's (JSON), unless that many are out; how many were."""

    async def take_ticket(self, hash_: bytes) -> str | None:
        """Whose one is, once."""


class Tickets:
    """Gives tickets out and takes them. `HistoryUnavailableError` passes."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock

    async def issue(self, user: User | None) -> str:
        """A new ticket; None: where nobody has to log in. Raises `Problem`, 503, when too many are out."""
        ticket = secrets.token_urlsafe(32)
        his, total = await self._store.keep_ticket(
            _hash(ticket), _ENCODER.encode(user).decode(), TICKET_SECONDS, of_one=TICKETS_OF_ONE, of_all=TICKETS_MAX
        )
        if his >= TICKETS_OF_ONE or total >= TICKETS_MAX:
            whose = "of yours " if his >= TICKETS_OF_ONE else ""
            raise unavailable(f"too many tickets {whose}are out and not used", TICKET_SECONDS)
        return ticket

    async def redeem(self, ticket: str) -> Caller:
        """Whom it was given to. Raises `Problem`, 401: it is none, has expired or was used."""
        kept = await self._store.take_ticket(_hash(ticket))
        if kept is None:
            raise unauthenticated(f"this ticket is not valid (any more): one holds {TICKET_SECONDS:g} s, and once")
        user = _DECODER.decode(kept)
        return Caller(None) if user is None else Caller.known_as(user, self._clock() + STREAM_SECONDS)


def _hash(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode()).digest()
