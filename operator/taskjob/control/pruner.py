"""Takes out of history what it need not keep any longer, a little at a time: who writes or reads should not notice."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from taskjob import metrics
from taskjob.ports import HistoryPort, HistoryUnavailableError, Keep

logger = logging.getLogger(__name__)

BATCH: Final = 200
PACE_SECONDS: Final = 1.0
"""Between two batches: 700,000 jobs an hour can go, and PostgreSQL has time for others."""

REST_SECONDS: Final = 60.0


class Pruner:
    """Prunes as long as this process leads. `run` is its task."""

    def __init__(self, history: HistoryPort, keep: Keep, *, epoch: int) -> None:
        self._history = history
        self._keep = keep
        self._epoch = epoch

    async def run(self) -> None:
        """Prune until cancelled; returns if all is kept for ever."""
        if self._keep == Keep():
            return
        while True:
            seconds = PACE_SECONDS if await self._batch() else REST_SECONDS
            await asyncio.sleep(seconds)

    async def _batch(self) -> bool:
        """Whether there may be more to take out at once."""
        try:
            pruned = await self._history.prune(self._epoch, self._keep, BATCH)
        except HistoryUnavailableError as error:
            logger.info("nothing was pruned: %s", error)
            return False
        metrics.history_pruned.labels("jobs").inc(pruned.jobs)
        metrics.history_pruned.labels("logs").inc(pruned.logs)
        return BATCH in (pruned.jobs, pruned.logs)
