"""Speech as a synthesiser: PCM as it comes; a service that sends WAV all the same is taken at its word for the rate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from asterisk_ai.audio.wav import Samples
from asterisk_ai.errors import ConfigError, ProviderUnavailable
from asterisk_ai.providers.api import Readiness
from asterisk_ai.providers.vendors.openai.client import NAME, Client, Settings

MAX_TEXT = 4096
PIECE_BYTES = 9600


class OpenAISpeech:
    """The ``openai`` synthesiser. Satisfies :class:`~asterisk_ai.providers.api.TextToSpeech`."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        known = {"model": "gpt-4o-mini-tts", "voice": "alloy", "rate": 24_000, "speed": 1.0, "instructions": ""}
        self._settings = Settings(settings, "speech", known)
        if not 8000 <= int(self._settings.own["rate"]) <= 96_000:
            raise ConfigError("must be between 8000 and 96000", path=f"providers.{NAME}.speech.rate")
        self._client = Client(self._settings)

    @property
    def sample_rate(self) -> int:
        return int(self._settings.own["rate"])

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
        own = self._settings.own
        body: dict[str, Any] = {
            "model": own["model"],
            "input": text,
            "voice": voice or own["voice"],
            "response_format": "pcm",
            "speed": own["speed"] * speed,
        }
        if own["instructions"]:
            body["instructions"] = own["instructions"]
        async with self._client.post("audio/speech", json=body) as response:
            if "json" in response.headers.get("content-type", ""):
                raise ProviderUnavailable(NAME, "sent no audio")
            stream = Samples(self.sample_rate)
            async for data in response.aiter_bytes(PIECE_BYTES):
                if pcm := stream.push(data):
                    yield pcm
            if pcm := stream.flush():
                yield pcm
