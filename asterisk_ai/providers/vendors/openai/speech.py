"""Speech as a synthesiser: PCM as it comes; a service that sends WAV all the same is taken at its word for the rate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from asterisk_ai.audio.wav import Samples
from asterisk_ai.config.settings import read_settings
from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.api import Readiness
from asterisk_ai.providers.vendors.openai.client import NAME, OpenAISettings, client

MAX_TEXT = 4096
PIECE_BYTES = 9600


class OpenAISpeech:
    """The ``openai`` synthesiser. Satisfies :class:`~asterisk_ai.providers.api.TextToSpeech`."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        own = read_settings(OpenAISettings, settings, f"providers.{NAME}")
        self._own, self._client = own.speech, client(own)

    @property
    def sample_rate(self) -> int:
        return self._own.rate

    async def start(self) -> None:
        await self._client.start()

    async def stop(self) -> None:
        await self._client.stop()

    def readiness(self) -> Readiness:
        return self._client.readiness()

    @asynccontextmanager
    async def open(self, text: str, *, voice: str = "", speed: float = 1.0) -> AsyncIterator[AsyncIterator[bytes]]:
        yield self._pieces(" ".join(text.split())[:MAX_TEXT], voice, speed)

    async def _pieces(self, text: str, voice: str, speed: float) -> AsyncIterator[bytes]:
        if not text:
            return
        own = self._own
        body: dict[str, Any] = {
            "model": own.model,
            "input": text,
            "voice": voice or own.voice,
            "response_format": "pcm",
            "speed": own.speed * speed,
        }
        if own.instructions:
            body["instructions"] = own.instructions
        async with self._client.post("audio/speech", json=body) as response:
            if "json" in response.headers.get("content-type", ""):
                raise ProviderUnavailable(NAME, "sent no audio")
            stream = Samples(self.sample_rate)
            async for data in response.aiter_bytes(PIECE_BYTES):
                if pcm := stream.push(data):
                    yield pcm
            if pcm := stream.flush():
                yield pcm
