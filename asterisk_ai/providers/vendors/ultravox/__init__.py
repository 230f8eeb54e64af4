"""Ultravox: speech to speech, a call of its own asked for over HTTP, which is then one WebSocket.

::

    providers:
      ultravox:
        api_key: ${ULTRAVOX_API_KEY}
        voice: Mark                       # or the agent's `voice`: an id, or a name that is the only one
        call: {vadSettings: {turnEndpointDelay: "0.384s"}}     # anything else of the request for a call

Source: https://docs.ultravox.ai/api-reference/calls/calls-post, .../apps/websockets, .../apps/datamessages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from websockets.asyncio.client import ClientConnection

from asterisk_ai.config.settings import merged, read_settings
from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.api import RealtimeRequest
from asterisk_ai.providers.net.http import HttpService, ServiceSettings
from asterisk_ai.providers.net.realtime_agent import SocketAgent
from asterisk_ai.providers.net.realtime_session import known
from asterisk_ai.providers.net.websocket import Sockets
from asterisk_ai.providers.vendors.ultravox.session import NAME, UltravoxSession

BASE_URL = "https://api.ultravox.ai/api"
MAX_MESSAGE = 1 << 20
PING_SECONDS = 2.0
"""A service that has gone silent is found within twice that."""
BUFFER_MS = 30_000
"""Of speech that we take before it is played: the service says when it is to be forgotten."""
TOOL_SECONDS = "20s"
"""For what a function gives; the service's own limit of 2.5 s is short for a request to somebody else."""


@dataclass(frozen=True, slots=True)
class UltravoxSettings(ServiceSettings):
    """``providers.ultravox``."""

    model: str = ""
    """Empty: the service's own."""
    voice: str = ""
    """Where the agent has none; empty: the service's own."""
    call: Mapping[str, Any] = field(default_factory=dict)
    """Anything else of the request for a call, merged into ours."""


class Ultravox(SocketAgent):
    """The ``ultravox`` engine of one agent."""

    sample_rates = (8_000, 16_000, 24_000, 48_000)

    def __init__(self, settings: Mapping[str, Any], agent: Mapping[str, Any]) -> None:
        own = self._own = read_settings(UltravoxSettings, settings, f"providers.{NAME}")
        service = HttpService(NAME, own, base_url=BASE_URL, scheme="X-API-Key:", probe="accounts/me")
        # The address that is joined is the key to it: ours is not sent there.
        sockets = Sockets(
            NAME, f"ws{service.base_url.removeprefix('http')}", keep=None, headers={}, max_message=MAX_MESSAGE,
            connect_seconds=own.connect_seconds, proxy=own.proxy or None, ping_seconds=PING_SECONDS,
            limit=service.limit,
        )  # fmt: skip
        super().__init__(NAME, agent, voice=own.voice, service=service, sockets=sockets, seconds=own.seconds)

    def _session(self, connection: ClientConnection, request: RealtimeRequest) -> UltravoxSession:
        return UltravoxSession(connection, request, self._tools)

    async def _connect(self, request: RealtimeRequest) -> ClientConnection:
        async with self._service.post("calls", json=self.wanted(request)) as response:
            body = await response.aread()
        try:
            url = str(json.loads(body)["joinUrl"])
        except (ValueError, LookupError, TypeError):
            raise ProviderUnavailable(NAME, "made a call that cannot be joined") from None
        if not url.startswith("ws" + self._service.base_url.removeprefix("http").partition("/")[0]):
            raise ProviderUnavailable(NAME, "made a call whose address is not secure")
        return await self._sockets.begin(partial(self._begin, request), url=url)

    async def _set_up(self, request: RealtimeRequest, connection: ClientConnection) -> None:
        """All is said when the call is asked for."""

    def wanted(self, request: RealtimeRequest) -> dict[str, Any]:
        """The vendor's request for a call."""
        roles = {"caller": "MESSAGE_ROLE_USER", "agent": "MESSAGE_ROLE_AGENT"}
        medium = {
            "inputSampleRate": request.rate,
            "outputSampleRate": request.rate,
            "clientBufferSizeMs": BUFFER_MS,
            "dataMessages": {"userStartedSpeaking": True},
        }
        call: dict[str, Any] = {
            "systemPrompt": self._instructions(request),
            "languageHint": self._language,
            "medium": {"serverWebSocket": medium},
            "firstSpeakerSettings": {"agent": {"text": request.greeting}} if request.greeting else {"user": {}},
            "selectedTools": [{"temporaryTool": _tool(function)} for function in self._functions(request)],
            "initialMessages": [
                {"role": roles.get(turn.role, roles["caller"]), "text": turn.text} for turn in known(request)
            ],
            **({"voice": self._voice} if self._voice else {}),
            **({"model": self._own.model} if self._own.model else {}),
        }
        return merged(call, self._own.call)


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    required = function["parameters"].get("required") or ()
    parameters = [
        {"name": name, "location": "PARAMETER_LOCATION_BODY", "schema": schema, "required": name in required}
        for name, schema in function["parameters"]["properties"].items()
    ]
    return {
        "modelToolName": function["name"],
        "description": function["description"],
        "dynamicParameters": parameters,
        "timeout": TOOL_SECONDS,
        "client": {},
    }
