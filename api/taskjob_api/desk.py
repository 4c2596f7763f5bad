"""What one request works with: nothing here does or shows more than its caller may."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from taskjob_api.auth import Rights
from taskjob_api.hub import Hub
from taskjob_api.jobs import Jobs
from taskjob_api.logs import Logs


@dataclass(frozen=True, slots=True)
class Desk:
    """For one caller."""

    rights: Rights
    jobs: Jobs
    logs: Logs
    hub: Hub
    going: asyncio.Event  # set when the process is about to end
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
