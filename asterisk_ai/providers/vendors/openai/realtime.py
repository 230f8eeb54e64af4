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

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from asterisk_ai.config.settings import merged, read_settings
from asterisk_ai.dialog.caller import instructions
from asterisk_ai.errors import ProviderError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.api import Readiness, RealtimeRequest
from asterisk_ai.providers.net.http import ServiceSettings
from asterisk_ai.providers.net.websocket import Keep, Sockets
from asterisk_ai.providers.tools.toolbox import Toolbox
from asterisk_ai.providers.vendors.openai.client import client
from asterisk_ai.providers.vendors.openai.realtime_session import NAME, OpenAIRealtimeSession, closed

FORMATS: Mapping[int, Mapping[str, Any]] = {8000: {"type": "audio/pcmu"}, 24_000: {"type": "audio/pcm", "rate": 24_000}}
MAX_MESSAGE = 4 * 1024 * 1024
"""The longest audio delta is far below this."""
KEEP = Keep(seconds=5.0, oldest=300.0)
"""A session ends after 60 minutes: a call that gets a connection which waited has nearly all of them. A connection
costs nothing, responses do. Source: https://platform.openai.com/docs/guides/realtime-conversations (session
lifecycle), .../realtime-costs. How long an idle one is let alone is not told; hence the pings."""
_RULES = (
    "You are on the telephone. Answer in one or two short sentences. If you did not understand the caller, say so and "
    "ask again."
)


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


class OpenAIRealtime:
    """The ``openai_realtime`` engine of one agent. Satisfies :class:`~asterisk_ai.providers.api.RealtimeAgent`.

    :param agent: ``prompt``, ``language``, ``voice`` and ``tools`` of the agent.
    """

    sample_rates = tuple(FORMATS)

    def __init__(self, settings: Mapping[str, Any], agent: Mapping[str, Any]) -> None:
        own = self._own = read_settings(OpenAIRealtimeSettings, settings, f"providers.{NAME}")
        self._client, self._dropped = client(own, NAME), 0
        self._prompt = "\n\n".join(part for part in (str(agent.get("prompt") or ""), _RULES) if part)
        self._voice = str(agent.get("voice") or own.voice)
        self._language = str(agent.get("language") or "en-US")
        self._tools = Toolbox(agent.get("tools") or {}, f"agents.{agent.get('name') or '?'}.tools")
        self._query = urlencode({"model": own.model})
        self._sockets = Sockets(
            NAME,
            f"ws{self._client.base_url.removeprefix('http')}realtime",
            keep=KEEP if own.spare else None,
            headers=self._client.headers,
            max_message=MAX_MESSAGE,
            query=self._query,
            connect_seconds=own.connect_seconds,
            proxy=own.proxy or None,
            limit=self._client.limit,
        )

    async def start(self) -> None:
        """Find out how the service is, and keep doing so; each call has a connection of its own."""
        await self._tools.start()
        await asyncio.gather(self._client.start(), self._sockets.start())

    async def stop(self) -> None:
        await self._sockets.stop()
        await self._client.stop()
        await self._tools.stop()

    def counters(self) -> Mapping[str, int]:
        return {"dropped_frames": self._dropped}

    def readiness(self) -> Readiness:
        """Also whether the service lets us have a connection for the model, where one is kept for the next call."""
        state = self._client.readiness()
        return self._sockets.readiness() if state.ready else state

    @asynccontextmanager
    async def open(self, request: RealtimeRequest) -> AsyncIterator[OpenAIRealtimeSession]:
        """Connect, and have the session as it is to be."""
        if request.rate not in FORMATS:
            raise ProviderRejected(NAME, f"has no audio at {request.rate} Hz")
        self._client.check()
        connection = await self._sockets.begin(partial(self._set_up, request), self._query)
        try:
            session = OpenAIRealtimeSession(connection, request, self._tools)
            writing = asyncio.create_task(session.write(), name=f"{NAME} writer")
            try:
                yield session
            finally:
                self._dropped += session.dropped
                writing.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await writing
                await session.close()
        finally:
            self._sockets.leave(connection)

    async def _set_up(self, request: RealtimeRequest, connection: ClientConnection) -> None:
        """``session.update``, and the service's agreement to it. Raises ProviderError."""
        wanted = self._session(request)
        try:
            async with asyncio.timeout(self._own.seconds):
                await connection.send(json.dumps({"type": "session.update", "session": wanted}))
                await _agreed(connection, wanted["audio"])
        except TimeoutError as error:
            raise ProviderUnavailable(NAME, "no session in time") from error
        except ConnectionClosed as error:
            raise closed(error) from error

    def _session(self, request: RealtimeRequest) -> dict[str, Any]:
        own = self._own
        listening: dict[str, Any] = {
            "format": FORMATS[request.rate],
            "turn_detection": dict(own.turn_detection or {"type": "server_vad"}),
        }
        if own.transcription:
            language = self._language.partition("-")[0]
            listening["transcription"] = {"model": own.transcription, "language": language}
        tools = [{"type": "function", **schema["function"]} for schema in self._tools.schemas(request.actions)]
        session = {
            "type": "realtime",
            "output_modalities": ["audio"],
            "instructions": instructions(
                f"{self._prompt}\n\nSpeak {self._language} unless the caller wants otherwise.",
                request.caller,
                request.actions,
            ),
            "audio": {"input": listening, "output": {"format": FORMATS[request.rate], "voice": self._voice}},
            "tools": tools,
            "tool_choice": "auto",
        }
        return merged(session, own.session)


async def _agreed(connection: ClientConnection, audio: Mapping[str, Any]) -> None:
    """Wait for ``session.updated``. Raises ProviderError where it refuses, or has another format than was asked for."""
    while True:
        message = await connection.recv()
        try:
            event = json.loads(message)
            kind = event["type"]
            if kind == "error":
                raise _refusal(event["error"])
            if kind == "session.updated":
                for side in ("input", "output"):
                    has, wants = event["session"]["audio"][side]["format"], audio[side]["format"]
                    if has["type"] != wants["type"] or has.get("rate", 24_000) != wants.get("rate", 24_000):
                        raise ProviderRejected(NAME, f"does not speak {wants['type']}, but {has['type']}")
                return
        except (ValueError, TypeError, LookupError) as error:
            raise ProviderUnavailable(NAME, "sent an event that makes no sense") from error


def _refusal(error: Mapping[str, Any]) -> ProviderError:
    text = " ".join(str(error.get("message", "")).split())[:300]
    refused = error.get("type") in ("invalid_request_error", "authentication_error", "permission_error")
    return (ProviderRejected if refused else ProviderUnavailable)(NAME, f"no session: {text}")
