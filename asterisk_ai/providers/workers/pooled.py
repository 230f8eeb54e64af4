"""What engines whose work is done in worker processes have in common."""

from __future__ import annotations

from collections.abc import Mapping

from asterisk_ai.providers.api import Readiness
from asterisk_ai.providers.workers.pool import WorkerPool


class PooledEngine:
    """An engine around a pool of processes, which is its life: started, stopped and ready with it."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The worker processes, for diagnosis."""
        return self._pool.pids

    async def start(self) -> None:
        """Start the workers; returns when each has loaded its model. Raises ProviderRejected where one cannot."""
        await self._pool.start()

    async def stop(self) -> None:
        await self._pool.stop()

    def readiness(self) -> Readiness:
        return self._pool.readiness()

    def counters(self) -> Mapping[str, int]:
        """See :class:`~asterisk_ai.providers.api.Counting`."""
        return self._pool.counters()
