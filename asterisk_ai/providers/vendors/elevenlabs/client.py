"""What ElevenLabs' engines have in common: their settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from asterisk_ai.config.settings import read_settings
from asterisk_ai.providers.net.http import HttpService, ServiceSettings

NAME = "elevenlabs"
BASE_URL = "https://api.elevenlabs.io/v1"
KEY = "xi-api-key:"


@dataclass(frozen=True, slots=True)
class SpeechSettings:
    """``speech`` of ``providers.elevenlabs``: the voice."""

    model: str = "eleven_flash_v2_5"
    voice: str = "JBFqnCBsd6RMkjVDRZzb"
    """An id. The agent's ``voice`` is one, too."""
    rate: Literal[8_000, 16_000, 22_050, 24_000, 44_100, 48_000] = 8_000
    """Hz of what the service sends. Source: its output_format, of which not every plan has the highest."""
    language: str = ""
    """ISO 639-1, for models that are told; empty: by the text."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The API's ``voice_settings``: stability, similarity_boost, style, speed ..."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Other parts of the request's body."""


@dataclass(frozen=True, slots=True)
class TranscriptionSettings:
    """``transcription`` of ``providers.elevenlabs``: the recogniser."""

    model: str = "scribe_v2_realtime"
    language: str = ""
    """Empty: the agent's."""
    keyterms: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Other parameters of the query."""


@dataclass(frozen=True, slots=True)
class ElevenLabsSettings(ServiceSettings):
    """``providers.elevenlabs``: each engine has a part of its own."""

    speech: SpeechSettings = field(default_factory=SpeechSettings)
    transcription: TranscriptionSettings = field(default_factory=TranscriptionSettings)


def read(settings: Mapping[str, Any]) -> ElevenLabsSettings:
    """:raises ConfigError: what is wrong with them."""
    return read_settings(ElevenLabsSettings, settings, f"providers.{NAME}")


def service(settings: ElevenLabsSettings) -> HttpService:
    """Requests to the service."""
    return HttpService(NAME, settings, base_url=BASE_URL, scheme=KEY, probe="models")
