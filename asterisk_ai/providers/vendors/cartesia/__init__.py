"""Cartesia's voices, over HTTP, streamed as they are made, at the line's own rate.

::

    providers:
      cartesia: {api_key: "${CARTESIA_API_KEY}", model: sonic-3, voice: the-id-of-a-voice, language: en}

HTTP and not the WebSocket: the connection is kept as well, and leaving the request ends it.
Source: https://docs.cartesia.ai/api-reference/tts/bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from asterisk_ai.config.settings import read_settings
from asterisk_ai.providers.net.http import HttpService, ServiceSettings
from asterisk_ai.providers.net.voice import HttpVoice

NAME = "cartesia"
BASE_URL = "https://api.cartesia.ai"
HEADERS = {"Cartesia-Version": "2026-08-14"}
"""The API's version, as of the vendor's SDK that it was held against."""
MAX_TEXT = 5000
SLOWEST, FASTEST = 0.6, 1.5


@dataclass(frozen=True, slots=True)
class CartesiaSettings(ServiceSettings):
    """``providers.cartesia``."""

    model: str = "sonic-3"
    voice: str = field(default="", metadata={"needed": "the id of a voice, see https://play.cartesia.ai/voices"})
    """The agent's ``voice`` goes first."""
    rate: Literal[8_000, 16_000, 22_050, 24_000, 44_100, 48_000] = 8_000
    """Hz of what the service sends."""
    language: str = ""
    """ISO 639-1; empty: as the model has it."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Other parts of the request."""


class CartesiaSpeech(HttpVoice):
    """The ``cartesia`` synthesiser."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        own = self._own = read_settings(CartesiaSettings, settings, f"providers.{NAME}")
        service = HttpService(NAME, own, base_url=BASE_URL, probe="voices?limit=1", headers=HEADERS)
        super().__init__(NAME, service, own.rate, MAX_TEXT)

    def _request(self, text: str, voice: str, speed: float) -> tuple[str, dict[str, Any]]:
        own = self._own
        body = {
            "model_id": own.model,
            "transcript": text,
            "voice": {"id": voice or own.voice},
            "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": own.rate},
            **({"language": own.language} if own.language else {}),
            **({"generation_config": {"speed": min(max(speed, SLOWEST), FASTEST)}} if speed != 1.0 else {}),
            **own.extra,
        }
        return "tts/bytes", {"json": body}
