"""The OpenAI realtime API as released (not its beta): speech to speech over one websocket a call.

::

    providers:
      openai_realtime:
        base_url: https://api.openai.com/v1
        api_key: ${OPENAI_API_KEY}
        model: gpt-realtime
        voice: marin                        # or the agent's `voice`
        transcription: gpt-4o-mini-transcribe
        turn_detection: {type: server_vad, silence_duration_ms: 500}    # or {type: semantic_vad, eagerness: high}
        spare: true                         # the next call's connection is open before it comes

Calls of 8 kHz are carried as ``audio/pcmu``: G.711 is what the telephone line has anyhow, nothing is resampled, and
it is a sixth of the bytes of ``audio/pcm``, which the service has at 24 kHz only. Wideband calls take the latter.

The library is ``websockets``: it is what the vendor's own ``openai`` package uses below its types, and that package
would bring pydantic models of every endpoint for the twenty messages that are used here.

Source: https://platform.openai.com/docs/api-reference/realtime-client-events and .../realtime-server-events,
https://platform.openai.com/docs/guides/realtime-conversations.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection

from asterisk_ai.config.settings import merged, read_settings
from asterisk_ai.errors import ProviderError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.api import RealtimeRequest
from asterisk_ai.providers.net.http import ServiceSettings
from asterisk_ai.providers.net.realtime_agent import SocketAgent
from asterisk_ai.providers.net.websocket import Keep, Sockets
from asterisk_ai.providers.vendors.openai.client import client
from asterisk_ai.providers.vendors.openai.realtime_session import NAME, OpenAIRealtimeSession

FORMATS: Mapping[int, Mapping[str, Any]] = {8000: {"type": "audio/pcmu"}, 24_000: {"type": "audio/pcm", "rate": 24_000}}
MAX_MESSAGE = 4 * 1024 * 1024
"""The longest audio delta is far below this."""
KEEP = Keep(seconds=5.0, oldest=300.0)
"""A session ends after 60 minutes: a call that gets a connection which waited has nearly all of them. A connection
costs nothing, responses do. Source: https://platform.openai.com/docs/guides/realtime-conversations (session
lifecycle), .../realtime-costs. How long an idle one is let alone is not told; hence the pings."""


@dataclass(frozen=True, slots=True)
class OpenAIRealtimeSettings(ServiceSettings):
    """``providers.openai_realtime``."""

    model: str = "gpt-realtime"
    voice: str = "marin"
    """Where the agent has none."""
    transcription: str = "gpt-4o-mini-transcribe"
    """The model that writes down what the caller says; empty for none."""
    turn_detection: Mapping[str, Any] = field(default_factory=dict)
    """How the service tells the end of a turn; its server's own detection where nothing is said."""
    session: Mapping[str, Any] = field(default_factory=dict)
    """Anything else of the vendor's session object, merged into ours."""
    spare: bool = True
    """The next call's connection is open before it comes."""


class OpenAIRealtime(SocketAgent):
    """The ``openai_realtime`` engine of one agent."""

    sample_rates = tuple(FORMATS)

    def __init__(self, settings: Mapping[str, Any], agent: Mapping[str, Any]) -> None:
        own = self._own = read_settings(OpenAIRealtimeSettings, settings, f"providers.{NAME}")
        service = client(own, NAME)
        sockets = Sockets(
            NAME,
            f"ws{service.base_url.removeprefix('http')}realtime?{urlencode({'model': own.model})}",
            keep=KEEP if own.spare else None,
            headers=service.headers,
            max_message=MAX_MESSAGE,
            connect_seconds=own.connect_seconds,
            proxy=own.proxy or None,
            limit=service.limit,
        )
        super().__init__(NAME, agent, voice=own.voice, service=service, sockets=sockets, seconds=own.seconds)

    def _session(self, connection: ClientConnection, request: RealtimeRequest) -> OpenAIRealtimeSession:
        return OpenAIRealtimeSession(connection, request, self._tools)

    async def _set_up(self, request: RealtimeRequest, connection: ClientConnection) -> None:
        """``session.update``, and the service's agreement to it, in the formats that were asked for."""
        wanted = self.wanted(request)
        await connection.send(json.dumps({"type": "session.update", "session": wanted}))
        while True:
            event = json.loads(await connection.recv())
            if event["type"] == "error":
                raise _refusal(event["error"])
            if event["type"] == "session.updated":
                break
        for side in ("input", "output"):
            has, wants = event["session"]["audio"][side]["format"], wanted["audio"][side]["format"]
            if has["type"] != wants["type"] or has.get("rate", 24_000) != wants.get("rate", 24_000):
                raise ProviderRejected(NAME, f"does not speak {wants['type']}, but {has['type']}")

    def wanted(self, request: RealtimeRequest) -> dict[str, Any]:
        """The vendor's session object."""
        own = self._own
        listening: dict[str, Any] = {
            "format": FORMATS[request.rate],
            "turn_detection": dict(own.turn_detection or {"type": "server_vad"}),
        }
        if own.transcription:
            language = self._language.partition("-")[0]
            listening["transcription"] = {"model": own.transcription, "language": language}
        session = {
            "type": "realtime",
            "output_modalities": ["audio"],
            "instructions": self._instructions(request),
            "audio": {"input": listening, "output": {"format": FORMATS[request.rate], "voice": self._voice}},
            "tools": [{"type": "function", **function} for function in self._functions(request)],
            "tool_choice": "auto",
        }
        return merged(session, own.session)


def _refusal(error: Mapping[str, Any]) -> ProviderError:
    text = " ".join(str(error.get("message", "")).split())[:300]
    refused = error.get("type") in ("invalid_request_error", "authentication_error", "permission_error")
    return (ProviderRejected if refused else ProviderUnavailable)(NAME, f"no session: {text}")
