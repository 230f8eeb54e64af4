"""Speech: the audio of one text streamed over HTTP at the line's own rate.

HTTP and not the WebSocket, which takes no more than 20 texts a minute (``Flush``) and says no word of which audio is
whose after a ``Clear``; leaving a request ends it at once. Source: https://developers.deepgram.com/docs/tts-ws-flush.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from asterisk_ai.audio.wav import Samples
from asterisk_ai.config.settings import read_settings
from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.api import Readiness
from asterisk_ai.providers.vendors.deepgram.client import NAME, DeepgramSettings, service

MAX_TEXT = 2000
"""Characters of one request. Source: https://developers.deepgram.com/docs/text-chunking-for-tts-optimization."""
PIECE_BYTES = 3200


class DeepgramTextToSpeech:
    """The ``deepgram`` synthesiser. Satisfies :class:`~asterisk_ai.providers.api.TextToSpeech`."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        own = read_settings(DeepgramSettings, settings, f"providers.{NAME}")
        self._own, self._service = own.speak, service(own)

    @property
    def sample_rate(self) -> int:
        return self._own.rate

    async def start(self) -> None:
        await self._service.start()

    async def stop(self) -> None:
        await self._service.stop()

    def readiness(self) -> Readiness:
        return self._service.readiness()

    @asynccontextmanager
    async def open(self, text: str, *, voice: str = "", speed: float = 1.0) -> AsyncIterator[AsyncIterator[bytes]]:
        """Speak ``text``; at another speed than 1 where the voice can. Raises ProviderUnavailable, ProviderRejected."""
        yield self._pieces(" ".join(text.split())[:MAX_TEXT], voice, speed)

    async def _pieces(self, text: str, voice: str, speed: float) -> AsyncIterator[bytes]:
        if not text:
            return
        own = self._own
        query = {
            "model": voice or own.model,
            "encoding": "linear16",
            "sample_rate": own.rate,
            "container": "none",
            **({"speed": speed} if speed != 1.0 else {}),
            **own.extra,
        }
        async with self._service.post("speak", params=query, json={"text": text}) as response:
            if "json" in response.headers.get("content-type", ""):
                raise ProviderUnavailable(NAME, "sent no audio")
            stream = Samples(self.sample_rate)
            async for data in response.aiter_bytes(PIECE_BYTES):
                if pcm := stream.push(data):
                    yield pcm
            if pcm := stream.flush():
                yield pcm
