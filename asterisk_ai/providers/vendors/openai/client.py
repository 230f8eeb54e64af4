"""The settings and the HTTP client of the engines: one connection pool each, kept warm."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import httpx

from asterisk_ai.config.schema import Range
from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.net.http import HttpService, ServiceSettings, message

NAME = "openai"
BASE_URL = "https://api.openai.com/v1"
DRAIN_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """``chat`` of ``providers.openai``: the language model."""

    model: str = "gpt-4o-mini"
    temperature: Annotated[float, Range(0, 10)] = 0.3
    max_tokens: Annotated[int, Range(1, 1_000_000)] = 300
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Other parameters of the request."""


@dataclass(frozen=True, slots=True)
class TranscriptionSettings:
    """``transcription`` of ``providers.openai``: the recogniser."""

    model: str = "gpt-4o-mini-transcribe"
    prompt: str = ""


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


def client(settings: ServiceSettings, name: str = NAME) -> HttpService:
    """Requests to the service."""
    return HttpService(name, settings, base_url=BASE_URL, probe="models")


async def events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The server-sent events of a stream up to ``[DONE]``. Raises ProviderUnavailable where it breaks off."""
    lines = response.aiter_lines()
    async for line in lines:
        if not line.startswith("data:"):
            continue  # empty lines, comments, other fields
        data = line[5:].strip()
        if data == "[DONE]":
            with contextlib.suppress(TimeoutError):  # read to the end, the connection can be used again
                async with asyncio.timeout(DRAIN_SECONDS):
                    async for _ in lines:
                        pass
            return
        try:
            event = json.loads(data)
        except ValueError:
            raise ProviderUnavailable(NAME, "sent an event that is not JSON") from None
        if not isinstance(event, dict):
            raise ProviderUnavailable(NAME, "sent an event that is not an object")
        if event.get("error"):
            raise ProviderUnavailable(NAME, f"broke off: {message(data.encode())}")
        yield event
    raise ProviderUnavailable(NAME, "closed the stream in the middle of the answer")
