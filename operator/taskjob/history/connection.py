"""How history reaches PostgreSQL: bounded in every direction, and the password is never shown.

The server ends what takes too long by itself (statement, lock and idle-in-transaction timeouts), so that a writer
that hangs cannot hold the lock of history; the client gives up a little later.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import unquote

import asyncpg

from taskjob.ports import HistoryUnavailableError

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

LOST: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # seen when the server was killed while a statement was being prepared
    OSError,
)
"""What a call of asyncpg raises when its connection broke: another connection may do better at once."""

UNREACHABLE: Final = (*LOST, asyncpg.PostgresError, TimeoutError, EOFError)
"""What it raises when the server is away, restarts, refuses or is too slow."""

PAGE_PLANS: Final = {
    # Filters that were not given must vanish from the plan: a generic plan would scan.
    "plan_cache_mode": "force_custom_plan",
    # A page is read along an index: jumping is cheap on what is in memory or on an SSD. With the default of 4 the
    # planner collects and sorts all of a large namespace when it merges several.
    "random_page_cost": "1.1",
}
"""How sessions that read pages plan."""

_PASSWORD = re.compile(r"(?<=//)([^:@/]*):(.*)@")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds in seconds."""

    connect: float = 5
    statement: float = 20
    lock: float = 5
    idle_in_transaction: float = 10


class Address:
    """Where PostgreSQL is: `postgresql://user:password@host:port/name`. Printing it never shows the password."""

    __slots__ = ("_url", "limits")

    def __init__(self, url: str, limits: Limits | None = None) -> None:
        self._url = url
        self.limits = limits or Limits()

    def __repr__(self) -> str:
        return f"Address({self.scrub(self._url)!r})"

    def scrub(self, text: str) -> str:
        """The text without the password, should it hold it."""
        if found := _PASSWORD.search(self._url):
            for secret in filter(None, (found[2], unquote(found[2]))):
                text = text.replace(secret, "***")
        return re.sub(r"(password=)[^&\s]+", r"\1***", text)

    def unavailable(self, error: BaseException, doing: str) -> HistoryUnavailableError:
        """The error of the seam for one of the driver's."""
        said = self.scrub(str(error)) or "no answer in time"
        return HistoryUnavailableError(f"PostgreSQL, {doing}: {said} ({type(error).__name__})")

    async def connect(self, application: str) -> asyncpg.Connection[asyncpg.Record]:
        """A new connection. Raises `HistoryUnavailableError`."""
        try:
            async with asyncio.timeout(self.limits.connect):
                return await asyncpg.connect(
                    self._url, timeout=self.limits.connect, server_settings=dict(self.settings(application))
                )
        except (*UNREACHABLE, ValueError) as error:
            # ValueError: a URL that cannot be read, and whose pieces the driver quotes: no chained traceback.
            raise self.unavailable(error, "connecting") from None

    def pool(self, application: str, size: int) -> asyncpg.Pool[asyncpg.Record]:
        """A pool that connects when it is first used, not yet opened. Raises `HistoryUnavailableError`."""
        try:
            return asyncpg.create_pool(
                self._url,
                min_size=0,
                max_size=size,
                timeout=self.limits.connect,
                command_timeout=self.limits.statement + 5,
                max_inactive_connection_lifetime=120,
                server_settings={**self.settings(application), **PAGE_PLANS},
            )
        except (*UNREACHABLE, ValueError) as error:
            raise self.unavailable(error, "connecting") from None

    def settings(self, application: str) -> Mapping[str, str]:
        """What the server holds a session to."""
        return {
            "application_name": application,
            "statement_timeout": f"{int(self.limits.statement * 1000)}ms",
            "lock_timeout": f"{int(self.limits.lock * 1000)}ms",
            "idle_in_transaction_session_timeout": f"{int(self.limits.idle_in_transaction * 1000)}ms",
            "tcp_user_timeout": "15000",
            "timezone": "UTC",
            "jit": "off",
        }
