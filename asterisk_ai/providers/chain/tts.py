"""Voices in line."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

from asterisk_ai.audio.formats import SAMPLE_BYTES
from asterisk_ai.audio.resample import Resampler
from asterisk_ai.dialog.heard import SECONDS_PER_LETTER, Spoken, heard_text
from asterisk_ai.errors import ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.api import (
    MarkedPcm,
    TextToSpeech,
    Usage,
)
from asterisk_ai.providers.chain.chain import Attempt, Chain, next_item


class TextToSpeechChain(Chain[TextToSpeech]):
    """Synthesisers in line. Satisfies :class:`~asterisk_ai.providers.api.TextToSpeech`."""

    stage = "tts"

    @property
    def sample_rate(self) -> int:
        """That of the engine that would serve now; what others speak is resampled to it."""
        return self.first().engine.sample_rate

    @asynccontextmanager
    async def open(self, text: str, *, voice: str = "", speed: float = 1.0) -> AsyncIterator[AsyncIterator[bytes]]:
        """Speak ``text``; where an engine fails in the middle, the next one speaks the words that were not spoken."""
        async with aclosing(self._pieces(text, voice, speed, self.sample_rate)) as pieces:
            yield pieces

    async def _pieces(self, text: str, voice: str, speed: float, rate: int) -> AsyncGenerator[bytes, None]:
        rest, before = text, 0
        for attempt in self.attempts():
            spoken = 0
            async with aclosing(self._one(attempt, rest, voice, speed, rate)) as pieces:
                async for pcm in pieces:
                    if not attempt.served:
                        self.spend(attempt, Usage(characters=len(rest)))
                    attempt.served = True
                    spoken += len(pcm) // SAMPLE_BYTES
                    yield MarkedPcm(pcm, before + pcm.words) if before and isinstance(pcm, MarkedPcm) else pcm
            if attempt.failure is None:
                attempt.served = True
                return
            rest = _unspoken(rest, spoken, rate)
            before = len(text.split()) - len(rest.split())

    @staticmethod
    async def _one(
        attempt: Attempt[TextToSpeech], text: str, voice: str, speed: float, rate: int
    ) -> AsyncGenerator[bytes, None]:
        engine, name = attempt.member.engine, attempt.member.name
        stack = AsyncExitStack()
        pieces: AsyncIterator[bytes] | None = None
        audible = not any(char.isalnum() for char in text)
        try:
            resampler, words = Resampler(rate, rate), 0
            async with attempt.limit():
                resampler = Resampler(engine.sample_rate, rate)
                pieces = await _open(stack, engine, text, voice, speed)
            while attempt.failure is None:
                pcm: bytes | None = None
                async with attempt.limit():
                    pcm = await next_item(pieces)
                if pcm is None:
                    break
                audible = audible or bool(pcm)
                words = pcm.words if isinstance(pcm, MarkedPcm) else words
                if line := resampler.push(pcm):
                    yield MarkedPcm(line, words) if words else line
                    words = 0
            if attempt.failure is None and not audible:
                attempt.failure = ProviderUnavailable(name, "made no audio")
            if tail := resampler.flush():
                yield tail
        finally:
            await attempt.close(stack)


async def _open(
    stack: AsyncExitStack, engine: TextToSpeech, text: str, voice: str, speed: float
) -> AsyncIterator[bytes]:
    """Open the engine with the agent's voice, or with its own where it has no such voice."""
    try:
        return await stack.enter_async_context(engine.open(text, voice=voice, speed=speed))
    except ProviderRejected:
        if not voice:
            raise
        return await stack.enter_async_context(engine.open(text, speed=speed))


def _unspoken(text: str, samples: int, rate: int) -> str:
    """The words of ``text`` that ``samples`` of audio do not hold, by the usual pace."""
    if not samples:
        return text
    whole = int(len(text) * SECONDS_PER_LETTER * rate)
    words = len(heard_text([Spoken(text, max(whole, samples + 1))], samples).split())
    return " ".join(text.split()[words:])
