"""Voices of Azure's speech service, over HTTP, streamed as they are made, at the line's own rate.

::

    providers:
      azure_speech: {api_key: "${AZURE_SPEECH_KEY}", region: westeurope, voice: en-US-AvaMultilingualNeural}

Source: https://learn.microsoft.com/azure/ai-services/speech-service/rest-text-to-speech.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from xml.sax.saxutils import escape, quoteattr

from asterisk_ai.config.settings import read_settings
from asterisk_ai.errors import ConfigError
from asterisk_ai.providers.net.http import HttpService, ServiceSettings
from asterisk_ai.providers.net.voice import HttpVoice

NAME = "azure_speech"
KEY = "Ocp-Apim-Subscription-Key:"
FORMATS: Mapping[int, str] = {
    8_000: "raw-8khz-16bit-mono-pcm",
    16_000: "raw-16khz-16bit-mono-pcm",
    24_000: "raw-24khz-16bit-mono-pcm",
    48_000: "raw-48khz-16bit-mono-pcm",
}
HEADERS = {"User-Agent": "asterisk-ai"}
MAX_TEXT = 5000
"""Some ten minutes of speech is all that one request may give."""


@dataclass(frozen=True, slots=True)
class AzureSpeechSettings(ServiceSettings):
    """``providers.azure_speech``."""

    region: str = ""
    """Of the resource, such as westeurope; or ``base_url``, where a container of one's own serves."""
    voice: str = "en-US-AvaMultilingualNeural"
    """The agent's ``voice`` goes first."""
    language: str = ""
    """Of the text, such as de-DE; empty: the voice's."""
    rate: Literal[8_000, 16_000, 24_000, 48_000] = 8_000
    """Hz of what the service sends."""


class AzureSpeech(HttpVoice):
    """The ``azure_speech`` synthesiser."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        own = self._own = read_settings(AzureSpeechSettings, settings, f"providers.{NAME}")
        if not (own.region or own.base_url):
            raise ConfigError("name the resource's region, e.g. westeurope", path=f"providers.{NAME}.region")
        base_url = f"https://{own.region}.tts.speech.microsoft.com/cognitiveservices"
        # The list of voices needs the key, but is too long to be asked for all the time.
        service = HttpService(NAME, own, base_url=base_url, scheme=KEY, probe="v1", headers=HEADERS)
        super().__init__(NAME, service, own.rate, MAX_TEXT)

    def _request(self, text: str, voice: str, speed: float) -> tuple[str, dict[str, Any]]:
        headers = {"Content-Type": "application/ssml+xml", "X-Microsoft-OutputFormat": FORMATS[self._own.rate]}
        return "v1", {"headers": headers, "content": self._ssml(text, voice or self._own.voice, speed).encode()}

    def _ssml(self, text: str, voice: str, speed: float) -> str:
        language = self._own.language or "-".join(voice.split("-")[:2])
        said = escape("".join(char if char.isprintable() else " " for char in text))
        if speed != 1.0:
            said = f'<prosody rate="{(speed - 1) * 100:+.0f}%">{said}</prosody>'
        return (
            f'<speak version="1.0" xmlns="http://www.w3.org/2001/10/synthesis" xml:lang={quoteattr(language)}>'
            f"<voice name={quoteattr(voice)}>{said}</voice></speak>"
        )
