"""Speech: the audio of one text streamed over HTTP at the line's own rate.

HTTP and not the WebSocket, which takes no more than 20 texts a minute (``Flush``) and says no word of which audio is
whose after a ``Clear``; leaving a request ends it at once. Source: https://developers.deepgram.com/docs/tts-ws-flush.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from asterisk_ai.config.settings import read_settings
from asterisk_ai.providers.net.voice import HttpVoice
from asterisk_ai.providers.vendors.deepgram.client import NAME, DeepgramSettings, service

MAX_TEXT = 2000
"""Characters of one request. Source: https://developers.deepgram.com/docs/text-chunking-for-tts-optimization."""


class DeepgramTextToSpeech(HttpVoice):
    """The ``deepgram`` synthesiser; at another speed than 1 where the voice can."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        own = read_settings(DeepgramSettings, settings, f"providers.{NAME}")
        super().__init__(NAME, service(own), own.speak.rate, MAX_TEXT)
        self._own = own.speak

    def _request(self, text: str, voice: str, speed: float) -> tuple[str, dict[str, Any]]:
        query = {
            "model": voice or self._own.model,
            "encoding": "linear16",
            "sample_rate": self._own.rate,
            "container": "none",
            **({"speed": speed} if speed != 1.0 else {}),
            **self._own.extra,
        }
        return "speak", {"params": query, "json": {"text": text}}
