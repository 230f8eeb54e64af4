"""Speech: the audio of one text streamed over HTTP at the line's own rate.

HTTP and not the WebSocket, which takes no more than 20 texts a minute (``Flush``) and says no word of which audio is
whose after a ``Clear``; leaving a request ends it at once. Source: https://developers.deepgram.com/docs/tts-ws-flush.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from asterisk_ai.audio.wav import Samples
from asterisk_ai.errors import ConfigError, ProviderUnavailable
from asterisk_ai.providers.api import Readiness
from asterisk_ai.providers.net.http import HttpService
from asterisk_ai.providers.vendors.deepgram.client import NAME, Settings

RATES = (8_000, 16_000, 24_000, 32_000, 48_000)
"""Of linear16. Source: https://developers.deepgram.com/docs/tts-media-output-settings."""
MAX_TEXT = 2000
"""Characters of one request. Source: https://developers.deepgram.com/docs/text-chunking-for-tts-optimization."""
PIECE_BYTES = 3200


class DeepgramTextToSpeech:
    """The ``deepgram`` synthesiser. Satisfies :class:`~asterisk_ai.providers.api.TextToSpeech`.

    Settings below ``speak``: ``model`` (the voice), ``rate`` (Hz, 8000: the telephone's), and ``extra`` for other
    parameters of the query. The agent's ``voice`` is a model, too.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = Settings(settings, "speak", {"model": "aura-2-thalia-en", "rate": 8000, "extra": {}})
        if self._settings.own["rate"] not in RATES:
            raise ConfigError(f"must be one of {', '.join(map(str, RATES))}", path=f"providers.{NAME}.speak.rate")
        self._service = HttpService(
            NAME,
            base_url=self._settings.base_url,
            headers=self._settings.headers,
            seconds=self._settings.seconds,
            connect_seconds=self._settings.connect_seconds,
            proxy=self._settings.proxy,
            probe="projects",
        )

    @property
    def sample_rate(self) -> int:
        return int(self._settings.own["rate"])

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
        own = self._settings.own
        query = {
            "model": voice or own["model"],
            "encoding": "linear16",
            "sample_rate": own["rate"],
            "container": "none",
            **({"speed": speed} if speed != 1.0 else {}),
            **own["extra"],
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
