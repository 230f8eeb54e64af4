"""Speech as a synthesiser: PCM as it comes; a service that sends WAV all the same is taken at its word for the rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from asterisk_ai.providers.net.voice import HttpVoice
from asterisk_ai.providers.presets import OPENAI, Preset
from asterisk_ai.providers.vendors.openai.client import client, read

MAX_TEXT = 4096


class OpenAISpeech(HttpVoice):
    """The ``openai`` synthesiser."""

    preset: ClassVar[Preset] = OPENAI

    def __init__(self, settings: Mapping[str, Any]) -> None:
        own, name = read(settings, self.preset, "speech"), self.preset.name
        super().__init__(name, client(own, name, self.preset), own.speech.rate, MAX_TEXT)
        self._own = own.speech

    def _request(self, text: str, voice: str, speed: float) -> tuple[str, dict[str, Any]]:
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
        return "audio/speech", {"json": body}
