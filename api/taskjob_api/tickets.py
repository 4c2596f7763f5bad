"""One-use tickets for browsers, whose WebSockets cannot send a header: short-lived, and good at every replica.

PostgreSQL holds them, so that two replicas never both take one. It holds nothing by which somebody could act: of the
ticket its hash, and the caller's token sealed with the ticket itself, which only the browser has.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final, Protocol

from taskjob_api.problems import unavailable
from taskjob_api.reviews import Caller, unauthenticated

TICKET_SECONDS: Final = 30.0
TICKETS_MAX: Final = 10_000
TICKETS_OF_ONE: Final = 100
"""So that one caller does not take all."""
_SEALING: Final = b"taskjobs: the token of a ticket\0"


class Store(Protocol):
    """Where tickets are kept: `history.reader.HistoryReader`."""

    async def keep_ticket(
        self, hash_: bytes, caller: bytes, sealed: bytes, seconds: float, *, of_one: int, of_all: int
    ) -> tuple[int, int]:
        """Keep one, unless that many are out; how many were."""

    async def take_ticket(self, hash_: bytes) -> bytes | None:
        """What one stands for, once."""


class Tickets:
    """Gives tickets out and takes them. `HistoryUnavailableError` passes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def issue(self, caller: Caller) -> str:
        """A new ticket. Raises `Problem`, 503, when too many are out."""
        ticket = secrets.token_urlsafe(32)
        sealed = _seal(ticket, (caller.token or "").encode())
        his, total = await self._store.keep_ticket(
            _hash(ticket), caller.key, sealed, TICKET_SECONDS, of_one=TICKETS_OF_ONE, of_all=TICKETS_MAX
        )
        if his >= TICKETS_OF_ONE or total >= TICKETS_MAX:
            whose = "of yours " if his >= TICKETS_OF_ONE else ""
            raise unavailable(f"too many tickets {whose}are out and not used", TICKET_SECONDS)
        return ticket

    async def redeem(self, ticket: str) -> Caller:
        """Whom it was given to. Raises `Problem`, 401: it is none, has expired or was used."""
        sealed = await self._store.take_ticket(_hash(ticket))
        if sealed is None:
            raise unauthenticated(f"this ticket is not valid (any more): one holds {TICKET_SECONDS:g} s, and once")
        token = _seal(ticket, sealed).decode()
        return Caller.bearing(token) if token else Caller(None)


def _hash(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode()).digest()


def _seal(ticket: str, text: bytes) -> bytes:
    """Seal, or open what was sealed: a key stream drawn from the ticket's 256 random bits, which seal one text only."""
    stream = hashlib.shake_256(_SEALING + ticket.encode()).digest(len(text))
    return bytes(one ^ other for one, other in zip(text, stream, strict=True))
