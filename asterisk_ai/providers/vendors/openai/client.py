"""The settings and the HTTP client of the engines: one connection pool each, kept warm."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from asterisk_ai.config.schema import Range
from asterisk_ai.config.settings import read_settings
from asterisk_ai.errors import ConfigError
from asterisk_ai.providers.net.http import HttpService, ServiceSettings
from asterisk_ai.providers.presets import OPENAI, Preset

NAME = "openai"
_THINKS = re.compile(r"(?:^|/)(?:gpt-[5-9]|o\d)")


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """``chat`` of ``providers.openai``: the language model."""

    model: str = "gpt-4o-mini"
    temperature: Annotated[float, Range(0, 10)] | None = None
    """Not sent where nothing is said: some models refuse it."""
    max_tokens: Annotated[int, Range(1, 1_000_000)] | None = None
    """Of an answer. Sent as ``max_completion_tokens`` to models that think, which count their thoughts."""
    context_tokens: Annotated[int, Range(500, 100_000_000)] | None = None
    """That the model can be told and say at once, where a call may have more: its oldest turns are left out then."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Other parameters of the request."""

    def parameters(self, limit: str = "") -> dict[str, Any]:
        """What the request says beside the conversation.

        :param limit: the service's name of ``max_tokens``; empty: by the model.
        Source: https://platform.openai.com/docs/api-reference/chat/create (max_tokens is refused by o-series models).
        """
        limit = limit or ("max_completion_tokens" if _THINKS.search(self.model) else "max_tokens")
        given = {"model": self.model, "temperature": self.temperature, limit: self.max_tokens, "stream": True}
        return {key: value for key, value in given.items() if value is not None} | dict(self.extra)


@dataclass(frozen=True, slots=True)
class TranscriptionSettings:
    """``transcription`` of ``providers.openai``: the recogniser."""

    model: str = "gpt-4o-mini-transcribe"
    prompt: str = ""
    in_pauses: bool = True
    """Ask for the words in pauses that may be the end, so that the answer comes sooner: up to three requests more."""


@dataclass(frozen=True, slots=True)
class SpeechSettings:
    """``speech`` of ``providers.openai``: the voice."""

    model: str = "gpt-4o-mini-tts"
    voice: str = "alloy"
    rate: Annotated[int, Range(8000, 96_000)] = 24_000
    """Hz of what the service sends."""
    speed: Annotated[float, Range(0.1, 10)] = 1.0
    instructions: str = ""


@dataclass(frozen=True, slots=True)
class OpenAISettings(ServiceSettings):
    """``providers.openai``: each engine has a part of its own."""

    chat: ChatSettings = field(default_factory=ChatSettings)
    transcription: TranscriptionSettings = field(default_factory=TranscriptionSettings)
    speech: SpeechSettings = field(default_factory=SpeechSettings)


def read(settings: Mapping[str, Any], preset: Preset, part: str) -> OpenAISettings:
    """The settings of an engine of the service.

    :param part: what is said of this kind of engine.
    :raises ConfigError: what is wrong with them; also that no model is named where only OpenAI has the usual one.
    """
    path = f"providers.{preset.name}"
    own = read_settings(OpenAISettings, settings, path)
    if not (own.base_url or preset.base_url):
        raise ConfigError(f"name the service's address: {preset.example}", path=f"{path}.base_url")
    if preset is not OPENAI and not (settings.get(part) or {}).get("model"):
        raise ConfigError("name a model, as the service calls it", path=f"{path}.{part}.model")
    return own


def client(settings: ServiceSettings, name: str = NAME, preset: Preset = OPENAI) -> HttpService:
    """Requests to the service."""
    return HttpService(name, settings, base_url=preset.base_url, scheme=preset.scheme, probe=preset.probe)
