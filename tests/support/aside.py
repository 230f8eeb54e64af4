"""A server for a test, in a thread of its own: what blocks in the test is not held against the server's caller."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import Any


@contextlib.contextmanager
def aside(*services: AbstractAsyncContextManager[Any]) -> Iterator[list[Any]]:
    """What the services give when they are entered, in an event loop of their own; they are left with the block."""
    entered: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, list[Any]]] = Future()

    async def main() -> None:
        stop = asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            given = [await stack.enter_async_context(service) for service in services]
            entered.set_result((asyncio.get_running_loop(), stop, given))
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    loop, stop, given = entered.result(5)
    try:
        yield given
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
