"""Google's Gemini Live API: speech to speech over one WebSocket a call.

::

    providers:
      gemini_live:
        api_key: ${GEMINI_API_KEY}
        model: gemini-live-2.5-flash
        voice: Puck                       # or the agent's `voice`
        setup: {realtimeInputConfig: {automaticActivityDetection: {silenceDurationMs: 500}}}

Calls are resampled: the service speaks at 24 kHz, whatever it hears. It finds out by itself that the caller
interrupts, and cannot be told how much of an answer was heard.

Source: https://ai.google.dev/api/live, https://ai.google.dev/gemini-api/docs/live-guide, .../live-session.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection

from asterisk_ai.config.settings import merged, read_settings
from asterisk_ai.errors import ProviderRejected
from asterisk_ai.providers.api import RealtimeRequest
from asterisk_ai.providers.net.http import HttpService, ServiceSettings
from asterisk_ai.providers.net.realtime_agent import SocketAgent
from asterisk_ai.providers.net.realtime_session import known
from asterisk_ai.providers.net.websocket import Sockets
from asterisk_ai.providers.vendors.gemini import BASE_URL, KEY, declared
from asterisk_ai.providers.vendors.gemini.live_session import NAME, RATE, GeminiLiveSession

METHOD = "google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
MAX_MESSAGE = 4 * 1024 * 1024
PING_SECONDS = 2.0
"""A service that has gone silent is found within twice that."""


@dataclass(frozen=True, slots=True)
class GeminiLiveSettings(ServiceSettings):
    """``providers.gemini_live``."""

    model: str = field(default="", metadata={"needed": "name a model of the Live API, as the service calls it"})
    voice: str = "Puck"
    """Where the agent has none."""
    setup: Mapping[str, Any] = field(default_factory=dict)
    """Anything else of the API's setup message, merged into ours."""


class GeminiLive(SocketAgent):
    """The ``gemini_live`` engine of one agent."""

    sample_rates = (RATE,)

    def __init__(self, settings: Mapping[str, Any], agent: Mapping[str, Any]) -> None:
        own = self._own = read_settings(GeminiLiveSettings, settings, f"providers.{NAME}")
        service = HttpService(NAME, own, base_url=BASE_URL, scheme=KEY, probe=f"models/{own.model}")
        host = service.base_url.removeprefix("http").rstrip("/").rpartition("/")[0]
        # None waits for the next caller: a connection without a setup is closed.
        sockets = Sockets(
            NAME, f"ws{host}/ws/{METHOD}", keep=None, headers=service.headers, max_message=MAX_MESSAGE,
            connect_seconds=own.connect_seconds, proxy=own.proxy or None, ping_seconds=PING_SECONDS,
            limit=service.limit,
        )  # fmt: skip
        super().__init__(NAME, agent, voice=own.voice, service=service, sockets=sockets, seconds=own.seconds)

    def _session(self, connection: ClientConnection, request: RealtimeRequest) -> GeminiLiveSession:
        return GeminiLiveSession(connection, request, self._tools)

    async def _set_up(self, request: RealtimeRequest, connection: ClientConnection) -> None:
        """Nothing may be sent between the setup and the service's agreement to it. A refusal closes the connection."""
        await connection.send(json.dumps({"setup": self.wanted(request)}))
        answer = json.loads(await connection.recv())
        if "setupComplete" not in answer:
            raise ProviderRejected(NAME, f"no session: {answer}"[:300])
        if turns := known(request):
            roles = {"caller": "user", "agent": "model"}
            told = [{"role": roles.get(turn.role, "user"), "parts": [{"text": turn.text}]} for turn in turns]
            await connection.send(json.dumps({"clientContent": {"turns": told, "turnComplete": True}}))

    def wanted(self, request: RealtimeRequest) -> dict[str, Any]:
        """The vendor's setup message."""
        voice = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": self._voice}}, "languageCode": self._language}
        setup: dict[str, Any] = {
            "model": f"models/{self._own.model}",
            "generationConfig": {"responseModalities": ["AUDIO"], "speechConfig": voice},
            "systemInstruction": {"parts": [{"text": self._instructions(request)}]},
            "inputAudioTranscription": {},
            "outputAudioTranscription": {},
            "contextWindowCompression": {"slidingWindow": {}},  # without it a session ends after 15 minutes
        }
        if functions := self._functions(request):
            setup["tools"] = [{"functionDeclarations": [declared(function) for function in functions]}]
        if known(request):
            setup["historyConfig"] = {"initialHistoryInClientContent": True}
        return merged(setup, self._own.setup)
