"""What Deepgram's engines have in common: settings, and what their messages mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from asterisk_ai.config.schema import Range
from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.net.http import HttpService, ServiceSettings
from asterisk_ai.providers.net.websocket import Keep, Sockets

NAME = "deepgram"
BASE_URL = "https://api.deepgram.com/v1"
KEEP = Keep(seconds=4.0, oldest=600.0, message='{"type": "KeepAlive"}')
"""The service closes after 10 s with neither audio nor this, and asks for it every 3 to 5 s; how long it lets a
connection wait in this way is not told. Source: https://developers.deepgram.com/docs/audio-keep-alive."""
PING_SECONDS = 5.0
"""A connection whose other end is gone without a word is found so soon."""
MAX_MESSAGE = 1 << 20


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """``listen`` of ``providers.deepgram``: recognition."""

    model: str = "nova-3"
    language: str = ""
    """Empty: the agent's."""
    punctuate: bool = True
    endpointing: Annotated[int, Range(0, 60_000)] = 300
    """Milliseconds of silence after which words are final."""
    keyterms: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Other parameters of the query."""


@dataclass(frozen=True, slots=True)
class SpeakSettings:
    """``speak`` of ``providers.deepgram``: the voice."""

    model: str = "aura-2-thalia-en"
    """The voice. The agent's ``voice`` is a model, too."""
    rate: Literal[8_000, 16_000, 24_000, 32_000, 48_000] = 8_000
    """Hz, of linear16. Source: https://developers.deepgram.com/docs/tts-media-output-settings."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Other parameters of the query."""


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """``agent`` of ``providers.deepgram``: speech to speech."""

    url: str = "wss://agent.deepgram.com/v1/agent/converse"
    listen: Mapping[str, Any] = field(default_factory=dict)
    """The vendor's ``listen.provider``, or all of its ``listen``, in place of ours."""
    think: Mapping[str, Any] = field(default_factory=dict)
    """The vendor's ``think.provider``, or all of its ``think`` with ``endpoint``, in place of ours."""
    speak: Mapping[str, Any] = field(default_factory=dict)
    """The vendor's ``speak.provider``, or all of its ``speak`` with ``endpoint``, in place of ours."""
    spare: bool = False
    """The next call's connection is open before it comes, which the vendor charges for."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Anything else of the vendor's ``Settings`` message, merged into ours."""

    def __post_init__(self) -> None:
        if not self.url.startswith(("ws://", "wss://")):
            raise ValueError("url: expected ws:// or wss://")


@dataclass(frozen=True, slots=True)
class DeepgramSettings(ServiceSettings):
    """``providers.deepgram``: each engine has a part of its own."""

    listen: ListenSettings = field(default_factory=ListenSettings)
    speak: SpeakSettings = field(default_factory=SpeakSettings)
    agent: AgentSettings = field(default_factory=AgentSettings)


def service(settings: DeepgramSettings) -> HttpService:
    """Requests to the service."""
    return HttpService(NAME, settings, base_url=BASE_URL, scheme="Token", probe="projects")


def sockets(settings: DeepgramSettings, query: str) -> Sockets:
    """Connections for recognition."""
    base_url = (settings.base_url or BASE_URL).rstrip("/")
    return Sockets(
        NAME,
        f"ws{base_url.removeprefix('http')}/listen",
        keep=KEEP,
        headers=settings.all_headers("Token"),
        max_message=MAX_MESSAGE,
        query=query,
        connect_seconds=settings.connect_seconds,
        proxy=settings.proxy or None,
        ping_seconds=PING_SECONDS,
    )


def checked(message: Mapping[str, Any]) -> None:
    """Raise ProviderUnavailable where a message tells an error."""
    if message.get("type") == "Error":
        text = message.get("description") or message.get("message") or "no reason given"
        raise ProviderUnavailable(NAME, f"sent an error: {text}"[:300])
