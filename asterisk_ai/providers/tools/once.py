"""What changes something is done once a call, whatever becomes of the turn that asked for it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable

from asterisk_ai.providers.ledger import UNKNOWN, Ledger

logger = logging.getLogger(__name__)
MAX_RESULT = 8000
"""Characters of an answer that the model is told."""
Certain = Callable[[], Awaitable[object]]


class Once:
    """Does it for the calls of one agent."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[str]] = {}

    async def stop(self) -> None:
        """What is on its way ends now."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def do(
        self, name: str, key: str, ledger: Ledger, certain: Certain, work: Callable[[], Awaitable[tuple[str, bool]]]
    ) -> str:
        """What came of it, for the model.

        It is not begun before the turn is ``certain``, goes on to its end where this is cancelled, and is not done
        again for the same call.

        :param key: the same for the same function with the same arguments.
        :param work: does it: what came of it, and whether anything can have reached the service.
        """
        await certain()
        key = f"{name}:{hashlib.sha256(key.encode()).hexdigest()[:16]}"
        before, own = ledger.result(key), f"{id(ledger)}:{key}"
        if before is None:
            ledger.begin(key)
            task = asyncio.create_task(_recorded(work, ledger, key), name=f"tool {name}")
            self._running[own] = task
            task.add_done_callback(lambda _: self._running.pop(own, None))
            return await asyncio.shield(task)
        running = self._running.get(own)
        if running is not None:
            return await asyncio.shield(running)
        logger.info("tool %s was not sent again", name)
        return before if before == UNKNOWN else f"(done before in this call, not done again) {before}"


async def _recorded(work: Callable[[], Awaitable[tuple[str, bool]]], ledger: Ledger, key: str) -> str:
    result, sent = await work()
    if sent:
        ledger.end(key, result)
    else:
        ledger.drop(key)
    return result


def unknown(reason: str) -> str:
    """What a model is told where nobody knows what came of something that changes something."""
    return f"error: {reason}. It is not known whether it was done. Do not send it again; tell the caller."


def plain(text: str) -> str:
    """A service's answer as a model is told it."""
    text = "".join(char for char in text if char.isprintable() or char in "\n\t").strip()
    return text if len(text) <= MAX_RESULT else f"{text[:MAX_RESULT]} ... (cut off)"
