"""Speech as a synthesiser: PCM as it comes; a service that sends WAV all the same is taken at its word for the rate."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from asterisk_ai.audio.resample import Resampler
from asterisk_ai.errors import ConfigError, ProviderUnavailable
from asterisk_ai.providers.base import Readiness
from asterisk_ai.providers.openai.client import NAME, Client, Settings

MAX_TEXT = 4096
PIECE_BYTES = 9600
MAX_HEAD = 4096


class OpenAISpeech:
    """The ``openai`` synthesiser. Satisfies :class:`~asterisk_ai.providers.base.TextToSpeech`."""

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
            stream = _Audio(self.sample_rate)
            async for data in response.aiter_bytes(PIECE_BYTES):
                if pcm := stream.push(data):
                    yield pcm
            if pcm := stream.flush():
                yield pcm


class _Audio:
    """Bytes of a body to whole samples at one rate."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._resampler: Resampler | None = None
        self._rest = b""

    def push(self, data: bytes) -> bytes:
        data = self._rest + data
        if self._resampler is None:
            if b"RIFF".startswith(data[:4]) and len(data) < MAX_HEAD and not _head(data):
                self._rest = data
                return b""
            start, rate = _head(data) or (0, self._rate)
            data = data[start:]
            self._resampler = Resampler(rate, self._rate)
        whole = len(data) // 2 * 2
        self._rest = data[whole:]
        return self._resampler.push(data[:whole])

    def flush(self) -> bytes:
        return self._resampler.flush() if self._resampler else b""


def _head(data: bytes) -> tuple[int, int] | None:
    """Where a WAV file's samples begin, and their rate; None where it is none, or not yet known."""
    if data[:4] != b"RIFF" or data[8:12] not in (b"WAVE", b""):
        return None
    place, rate = 12, 0
    while place + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, place)
        if name == b"data":
            return (place + 8, rate) if rate else None
        if name == b"fmt " and place + 24 <= len(data):
            coding, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", data, place + 8)
            if (coding, channels, bits) != (1, 1, 16) or not 4000 <= rate <= 192_000:
                raise ProviderUnavailable(NAME, f"sent WAV audio that is not 16-bit mono ({channels} x {bits} bit)")
        place += 8 + length + (length & 1)
    return None
