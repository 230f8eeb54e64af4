"""A Wyoming voice."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from wyoming.audio import AudioChunk, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.tts import Synthesize, SynthesizeVoice

from asterisk_ai.audio.resample import Resampler
from asterisk_ai.errors import ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.api import ServedEngine
from asterisk_ai.providers.vendors.wyoming.service import NAME, Service, voices


class WyomingTextToSpeech(ServedEngine):
    """The ``wyoming`` synthesiser. Satisfies :class:`~asterisk_ai.providers.api.TextToSpeech`."""

    streams, at_home = "sound as it is made", True

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._service = Service(settings, 10_200, voices, "voice")
        super().__init__(self._service)
        self._rate = self._service.own.rate

    @property
    def sample_rate(self) -> int:
        return self._rate

    @contextlib.asynccontextmanager
    async def open(self, text: str, *, voice: str = "", speed: float = 1.0) -> AsyncIterator[AsyncIterator[bytes]]:
        """Speak ``text``; the protocol knows no speed. Raises ProviderUnavailable, ProviderRejected."""
        self._service.usable()
        text = " ".join(text.split())
        if not any(map(str.isalnum, text)):
            yield _nothing()
            return
        name = voice or self._service.own.voice
        if problem := self._service.offers.lacks(name):
            raise ProviderRejected(NAME, problem)
        async with self._service.connected() as client:
            await client.write_event(Synthesize(text, SynthesizeVoice(name=name) if name else None).event())
            yield self._pieces(client)

    async def _pieces(self, client: AsyncTcpClient) -> AsyncIterator[bytes]:
        resampler: Resampler | None = None
        while True:
            event = await self._service.event(client)
            if AudioStop.is_type(event.type):
                break
            if not AudioChunk.is_type(event.type):
                continue
            chunk = AudioChunk.from_event(event)
            if (chunk.width, chunk.channels) != (2, 1) or len(chunk.audio) % 2:
                raise ProviderUnavailable(NAME, "sent audio that is not 16-bit mono")
            resampler = resampler or Resampler(chunk.rate, self._rate)
            if pcm := resampler.push(chunk.audio):
                size = self._rate // 2 * 2  # half a second
                for start in range(0, len(pcm), size):
                    yield pcm[start : start + size]
        if resampler is not None and (pcm := resampler.flush()):
            yield pcm


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for pcm in nothing:
        yield pcm
