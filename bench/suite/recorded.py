"""When history shows a job's end: one reader beside the run, that listens and reads as the API's stream does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from taskjob.core.phases import Phase
from taskjob.history.reader import HistoryReader, JobFilter

from .work import Seen

_AT_ONCE = 1000
_ENDS = frozenset(phase.value for phase in Phase if phase.terminal)


@asynccontextmanager
async def reading(url: str, seen: Seen) -> AsyncIterator[None]:
    """While in this context, `seen.recorded` tells when each end could be read. The history must have been set up."""
    async with HistoryReader(url, size=1) as reader:
        cursor, grown = await reader.head(), asyncio.Event()

        async def read() -> None:
            nonlocal cursor
            while True:
                await grown.wait()
                grown.clear()
                more = True
                while more:
                    changes = await reader.transitions_after(cursor, JobFilter(), _AT_ONCE)
                    now, cursor, more = time.monotonic(), changes.cursor, changes.more
                    for each in changes.rows:
                        if each.to_phase in _ENDS:
                            seen.recorded.setdefault(each.job.name, now)
                    seen.news.set()

        tasks = [asyncio.create_task(reader.listen(grown.set)), asyncio.create_task(read())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
