"""The end of a server that has callers."""

from __future__ import annotations

import asyncio
import logging
import time

from asterisk_ai.session.store import SessionStore

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.05


async def drain(store: SessionStore, seconds: float, at_once: asyncio.Event) -> None:
    """Wait until the calls that there are have finished, for ``seconds`` or until ``at_once``."""
    until = time.monotonic() + seconds
    if store.talking:
        logger.info("%d calls may finish within %g s", store.talking, seconds)
    while (store.count or store.elsewhere) and not at_once.is_set() and time.monotonic() < until:
        if not store.talking and not store.elsewhere and all(session.away for session in store.live):
            break  # nobody is talking or about to ask what comes next: the others come back to the next server
        await asyncio.sleep(_LOOK_SECONDS)
    if store.talking:
        logger.warning("%d calls go back to the dialplan unfinished", store.talking)
