"""Engines that make something bit by bit (speech, text) in a worker, and the asyncio side that takes it as it comes.

The worker does a step whenever nobody waits for words, in the order in which
the streams were opened: one after the other, so that none is starved.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.workers.pool import WorkerPool

_START = b"\0\0"  # a worker opens a stream with its first audio


class ProducerStream:
    """The worker's side: an :class:`~asterisk_ai.providers.workers.child.EngineStream` around an iterator.

    Each item is sent as it is made; the last message has ``end``.
    """

    def __init__(self, items: Iterator[Mapping[str, Any]]) -> None:
        self._items = items
        self._news: Mapping[str, Any] | None = None
        self._ended = False

    def feed(self, data: bytes) -> None:
        """What opened the stream means nothing more."""

    def finish(self) -> Mapping[str, Any]:
        return {}

    def ahead(self) -> bool:
        if self._ended:
            return False
        self._news = next(self._items, None)
        if self._news is None:
            self._ended, self._news = True, {"end": True}
        return True

    def news(self) -> Mapping[str, Any] | None:
        news, self._news = self._news, None
        return news

    def close(self) -> None:
        close = getattr(self._items, "close", None)
        if close is not None:
            close()


@contextlib.asynccontextmanager
async def producing(
    pool: WorkerPool, provider: str, options: Mapping[str, Any], seconds: float = 30.0
) -> AsyncIterator[AsyncIterator[Mapping[str, Any]]]:
    """Open a stream that makes something; its messages are iterated over. Leaving ends the work at its next step.

    :param seconds: how long the next message may take.
    :raises ProviderUnavailable, ProviderRejected: here and while iterating.
    """
    news: deque[Mapping[str, Any]] = deque()
    woken = asyncio.Event()

    def take(body: Mapping[str, Any]) -> None:
        news.append(body)
        woken.set()

    async with pool.open(options, take) as stream:
        stream.result.add_done_callback(lambda _: woken.set())
        stream.feed(_START)

        async def messages() -> AsyncIterator[Mapping[str, Any]]:
            while True:
                while news:
                    body = news.popleft()
                    if body.get("end"):
                        return
                    yield body
                if stream.result.done():
                    if stream.result.cancelled():
                        raise ProviderUnavailable(provider, "the stream was closed")
                    stream.result.result()
                    return
                woken.clear()
                try:
                    async with asyncio.timeout(seconds):
                        await woken.wait()
                except TimeoutError:
                    raise ProviderUnavailable(provider, f"its worker made nothing for {seconds:g} s") from None

        yield messages()
