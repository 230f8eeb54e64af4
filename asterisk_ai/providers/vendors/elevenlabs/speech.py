"""Speech over HTTP, streamed as it is made, at the line's own rate.

HTTP and not the WebSocket: a clause is spoken at once and whole, and leaving the request ends it.
Source: https://elevenlabs.io/docs/api-reference/text-to-speech/stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from asterisk_ai.providers.net.voice import HttpVoice
from asterisk_ai.providers.vendors.elevenlabs.client import NAME, read, service

MAX_TEXT = 5000
SLOWEST, FASTEST = 0.7, 1.2


class ElevenLabsSpeech(HttpVoice):
    """The ``elevenlabs`` synthesiser."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        own = read(settings)
        super().__init__(NAME, service(own), own.speech.rate, MAX_TEXT)
        self._own = own.speech

    def _request(self, text: str, voice: str, speed: float) -> tuple[str, dict[str, Any]]:
        own, told = self._own, dict(self._own.settings)
        speed *= float(told.get("speed", 1.0))
        if speed != 1.0:
            told["speed"] = min(max(speed, SLOWEST), FASTEST)
        body = {
            "text": text,
            "model_id": own.model,
            **({"language_code": own.language} if own.language else {}),
            **({"voice_settings": told} if told else {}),
            **own.extra,
        }
        path = f"text-to-speech/{quote(voice or own.voice, safe='')}/stream"
        return path, {"params": {"output_format": f"pcm_{own.rate}"}, "json": body}
