"""Looking after a service between calls: what all connections to it that are kept have in common."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

BACKOFF_SECONDS = (1.0, 2.0, 5.0, 15.0, 30.0)


class Keeper:
    """Has a service looked after: every so often while it is well, with growing pauses while it is not.

    :param look: whether it is well. Raises nothing.
    :param seconds: between two looks while it is.
    """

    def __init__(self, name: str, look: Callable[[], Awaitable[bool]], seconds: float) -> None:
        self._name, self._look, self._seconds = name, look, seconds
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look for the first time, and go on beside the caller."""
        well = await self._look()
        self._task = asyncio.create_task(self._keep(well), name=f"{self._name} keeper")

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def wake(self) -> None:
        """Look now: something was taken, or has come back."""
        self._news.set()

    async def _keep(self, well: bool) -> None:
        failed = 0 if well else 1
        while True:
            wait = BACKOFF_SECONDS[min(failed - 1, len(BACKOFF_SECONDS) - 1)] if failed else self._seconds
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._news.wait()
            self._news.clear()
            failed = 0 if await self._look() else failed + 1
