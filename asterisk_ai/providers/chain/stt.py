"""Recognisers in line."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from asterisk_ai.audio.formats import SAMPLE_BYTES
from asterisk_ai.audio.resample import Resampler
from asterisk_ai.audio.window import Window
from asterisk_ai.errors import ProviderError, ProviderUnavailable
from asterisk_ai.providers.api import (
    Hints,
    SpeechToText,
    SpeechToTextStream,
    Transcript,
    Usage,
    ignore,
)
from asterisk_ai.providers.boundary import engine_boundary
from asterisk_ai.providers.chain.chain import Attempt, Chain

logger = logging.getLogger(__name__)

KEPT_SECONDS = 60.0
"""Audio of one utterance kept to be played to the next engine; the oldest is dropped beyond."""


class SpeechToTextChain(Chain[SpeechToText]):
    """Recognisers in line. Satisfies :class:`~asterisk_ai.providers.api.SpeechToText`."""

    stage = "stt"

    @property
    def sample_rates(self) -> Sequence[int]:
        """Those of the engine that would serve now; the others get it resampled."""
        return self.first().engine.sample_rates

    async def check_grammar(self, hints: Hints) -> None:
        """See whether every engine that can check grammars takes this one. Raises ProviderRejected."""
        for member in self.members:
            check = getattr(member.engine, "check_grammar", None)
            if check is not None and member.usable():
                await check(hints)

    @asynccontextmanager
    async def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AsyncIterator[SpeechToTextStream]:
        """Open a stream on the first engine that can; the words come from the first that gives them.

        :raises ProviderUnavailable, ProviderRejected: from here or from ``finish``: all have failed.
        """
        stream = _Utterance(self, rate, hints, partial)
        try:
            await stream.begin()
            yield stream
        finally:
            await stream.close()


class _Utterance:
    """One utterance on its way to one engine after the other."""

    def __init__(
        self, chain: SpeechToTextChain, rate: int, hints: Hints, partial: Callable[[Transcript], None]
    ) -> None:
        self._chain = chain
        self._rate, self._hints, self._partial = rate, hints, partial
        self._fed = 0  # bytes that the engine got
        self._attempts = chain.attempts()
        self._attempt: Attempt[SpeechToText] | None = None
        self._stack = AsyncExitStack()
        self._stream: SpeechToTextStream | None = None
        self._resampler: Resampler | None = None
        self._kept = Window(KEPT_SECONDS, rate)

    async def begin(self) -> None:
        """Open the next engine in line that opens. Raises ProviderError where none does."""
        while True:
            await self._leave()
            self._attempt = attempt = next(self._attempts, None)
            if attempt is None:
                raise ProviderUnavailable("stt", "no engine is left")
            async with attempt.limit():
                rates = list(attempt.member.engine.sample_rates)
                rate = self._rate if self._rate in rates else rates[0]
                self._resampler = Resampler(self._rate, rate) if rate != self._rate else None
                opening = attempt.member.engine.open(rate=rate, hints=self._hints, partial=self._partial)
                self._stream = await self._stack.enter_async_context(opening)
            if self._kept.dropped:
                dropped = self._kept.dropped / self._rate
                logger.warning("%s gets an utterance without its first %.0f s", attempt.member.name, dropped)
            for pcm in self._kept:
                self._pass(pcm)
            if attempt.failure is None:
                return

    def feed(self, pcm: bytes) -> None:
        self._kept.push(pcm)
        self._pass(pcm)

    def _pass(self, pcm: bytes) -> None:
        if self._stream is None or self._attempt is None:
            return
        self._fed += len(pcm)
        try:
            with engine_boundary(self._attempt.member.name):
                if line := self._resampler.push(pcm) if self._resampler else pcm:
                    self._stream.feed(line)
        except ProviderError as error:
            self._attempt.failed(error)
            self._stream = None

    async def finish(self) -> Transcript:
        while True:
            attempt, stream = self._attempt, self._stream
            if attempt is None:
                raise ProviderUnavailable("stt", "the stream was left")
            words: Transcript | None = None
            if stream is not None:
                async with attempt.limit():
                    if self._resampler is not None and (tail := self._resampler.flush()):
                        stream.feed(tail)
                    words = await stream.finish()
            if attempt.failure is None and words is not None:
                attempt.served = True
                return words
            await self.begin()

    async def _leave(self) -> None:
        stack, self._stack, self._stream = self._stack, AsyncExitStack(), None
        if self._attempt is not None:
            self._chain.spend(self._attempt, Usage(seconds=self._fed / SAMPLE_BYTES / self._rate))
            self._fed = 0
            await self._attempt.close(stack)

    async def close(self) -> None:
        await self._leave()
        close = getattr(self._attempts, "close", None)
        if close is not None:
            close()
