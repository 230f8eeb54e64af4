"""What engines whose work is done in worker processes have in common."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from asterisk_ai.providers.api import ServedEngine, Transcript, Word
from asterisk_ai.providers.workers.connection import WorkerStream
from asterisk_ai.providers.workers.pool import WorkerPool


class PooledEngine(ServedEngine):
    """An engine around a pool of processes: started, stopped and ready with it."""

    def __init__(self, pool: WorkerPool) -> None:
        super().__init__(pool)
        self._pool = pool

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The worker processes, for diagnosis."""
        return self._pool.pids

    def counters(self) -> Mapping[str, int]:
        """See :class:`~asterisk_ai.providers.api.Counting`."""
        return self._pool.counters()


class PooledUtterance:
    """One utterance on its way into a recogniser that runs in a worker."""

    def __init__(self, stream: WorkerStream, seconds: float) -> None:
        self._stream, self._seconds = stream, seconds

    @property
    def dropped(self) -> int:
        """Bytes of audio dropped for want of room, the worker's own share once :meth:`finish` returned."""
        return self._stream.dropped + self._stream.lost

    def feed(self, pcm: bytes) -> None:
        """Hand over audio. Never blocks, never raises; the oldest is dropped where the worker lags."""
        self._stream.feed(pcm)

    async def finish(self) -> Transcript:
        """The words, once all that was fed is decoded.

        :raises ProviderUnavailable: the worker died; :raises ProviderRejected: it cannot do what ``open`` asked for.
        """
        return _transcript(await self._stream.finish(self._seconds))


class PooledRecogniser(PooledEngine):
    """A recogniser in worker processes, whose results have ``text``, ``accepted``, ``confidence`` and maybe more."""

    @contextlib.asynccontextmanager
    async def utterance(
        self, options: Mapping[str, Any], partial: Callable[[Transcript], None], seconds: float = 10.0
    ) -> AsyncIterator[PooledUtterance]:
        """A stream for one utterance.

        :param options: what the worker's engine is told of it.
        :param seconds: how long the words may take, once all was fed.
        :raises ProviderUnavailable: no worker is ready.
        """
        async with self._pool.open(options, lambda news: partial(_transcript(news))) as stream:
            yield PooledUtterance(stream, seconds)


def _transcript(result: Mapping[str, Any]) -> Transcript:
    words = tuple(Word(item["word"], item["start"], item["end"]) for item in result.get("words", ()))
    confidence, free = float(result["confidence"]), str(result.get("free", ""))
    readings = tuple((str(text), float(likelihood)) for text, likelihood in result.get("readings", ()))
    return Transcript(str(result["text"]), bool(result["accepted"]), confidence, words, free, readings)
