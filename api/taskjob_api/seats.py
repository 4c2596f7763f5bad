"""How many long-lived connections of one kind there may be at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Final

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from taskjob_api.problems import unavailable

RETRY_SECONDS: Final = 10


class Seats:
    """So many at once, and those among them whose rights are still being asked for. `full` says it in a sentence."""

    def __init__(self, number: int, full: str) -> None:
        self._number = number
        self._full = full
        self._taken = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Take one for as long as the client is there. Raises `Problem` if there is none."""
        if self._taken >= self._number:
            raise unavailable(f"{self._number} {self._full}", RETRY_SECONDS)
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


class Seated(StreamingResponse):
    """A stream that holds something until its client has gone, also if that is before its first byte."""

    held: AsyncExitStack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As any response."""
        async with self.held:
            await super().__call__(scope, receive, send)
