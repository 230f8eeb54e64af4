"""Deepgram's voice agent: it hears, decides and speaks over one WebSocket a call.

::

    providers:
      deepgram:
        api_key: ${DEEPGRAM_API_KEY}
        agent:
          spare: false                    # true: connected before a caller comes, which the vendor charges for
          think: {type: open_ai, model: gpt-4o-mini, temperature: 0.3}
          listen: {type: deepgram, model: nova-3}
          speak: {type: deepgram, model: aura-2-thalia-en}     # its model: the agent's `voice` where that is set

With ``spare`` the next call's connection is open before it comes. That is off unless it is asked for: the vendor
charges for the time that a connection is open (so it is reported; the price list was not at hand), around the clock
then, and counts it among those that are open at once (15 on the smallest plan, https://developers.deepgram.com/
reference/api-rate-limits).

Audio goes both ways as linear16 at the line's rate. Source: https://developers.deepgram.com/docs/voice-agent-message-flow
and .../configure-voice-agent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection

from asterisk_ai.config.settings import merged, read_settings
from asterisk_ai.errors import ProviderRejected
from asterisk_ai.providers.api import RealtimeRequest
from asterisk_ai.providers.net.realtime_agent import SocketAgent
from asterisk_ai.providers.net.realtime_session import known
from asterisk_ai.providers.net.websocket import Keep, Sockets
from asterisk_ai.providers.vendors.deepgram.agent_session import DeepgramAgentSession
from asterisk_ai.providers.vendors.deepgram.client import MAX_MESSAGE, NAME, DeepgramSettings, service

PING_SECONDS = 2.0
"""A service that stands still is found within twice this: it answers no ping."""
KEEP = Keep(seconds=4.0, oldest=8.0)
"""Nothing but ``Settings`` may come first, which say who calls: so a connection that waits cannot be kept by
``KeepAlive``, and is replaced when one would be due (every 8 s). Source: /docs/agent-keep-alive."""
_LISTEN: Mapping[str, Any] = {"type": "deepgram", "model": "nova-3"}
_THINK: Mapping[str, Any] = {"type": "open_ai", "model": "gpt-4o-mini"}
_SPEAK: Mapping[str, Any] = {"type": "deepgram", "model": "aura-2-thalia-en"}


class DeepgramAgent(SocketAgent):
    """The ``deepgram`` engine of speech to speech of one agent."""

    sample_rates = (8_000, 16_000, 24_000, 48_000)

    def __init__(self, settings: Mapping[str, Any], agent: Mapping[str, Any]) -> None:
        read = read_settings(DeepgramSettings, settings, f"providers.{NAME}")
        self._own, http = read.agent, service(read)
        sockets = Sockets(
            NAME,
            self._own.url,
            keep=KEEP if self._own.spare else None,
            headers=http.headers,
            max_message=MAX_MESSAGE,
            connect_seconds=read.connect_seconds,
            proxy=read.proxy or None,
            ping_seconds=PING_SECONDS,
            limit=http.limit,
        )
        super().__init__(NAME, agent, voice="", service=http, sockets=sockets, seconds=read.seconds)

    def _session(self, connection: ClientConnection, request: RealtimeRequest) -> DeepgramAgentSession:
        return DeepgramAgentSession(connection, request, self._tools)

    async def _set_up(self, request: RealtimeRequest, connection: ClientConnection) -> None:
        """Nothing may be sent before ``Welcome``, and nothing but ``Settings`` before ``SettingsApplied``."""
        await _until(connection, "Welcome")
        await connection.send(json.dumps(self.wanted(request)))
        await _until(connection, "SettingsApplied")

    def _listen(self) -> dict[str, Any]:
        part = _part(self._own.listen, _LISTEN)
        provider = part["provider"]
        if provider.get("version") != "v2" and not str(provider.get("model", "")).startswith("flux"):
            provider = {"language": self._language.partition("-")[0], **provider}  # flux has no such key
        return {**part, "provider": provider}

    def _speak(self) -> dict[str, Any]:
        """With the agent's voice, under the key that the maker of the voice has for it."""
        part = _part(self._own.speak, _SPEAK)
        provider = dict(part["provider"])
        if self._voice:
            match provider.get("type"):
                case "deepgram":
                    provider["model"] = self._voice
                case "open_ai" | "aws_polly":
                    provider["voice"] = self._voice
                case "cartesia":
                    provider["voice"] = {"mode": "id", "id": self._voice}
                case _:
                    pass  # ElevenLabs has it in the address of `endpoint`
        return {**part, "provider": provider}

    def wanted(self, request: RealtimeRequest) -> dict[str, Any]:
        """The vendor's ``Settings`` message."""
        think: dict[str, Any] = {**_part(self._own.think, _THINK), "prompt": self._instructions(request)}
        # The service thinks ahead of the end of the turn: what is done for the caller waits until it is certain.
        # Source: https://developers.deepgram.com/docs/voice-agent-speculative-replies.
        if functions := self._functions(request):
            think["functions"] = [{**function, "defer_until_eot": True} for function in functions]
        agent: dict[str, Any] = {"listen": self._listen(), "think": think, "speak": self._speak()}
        if request.greeting:
            agent["greeting"] = request.greeting
        roles = {"caller": "user", "agent": "assistant"}
        if turns := known(request):
            agent["context"] = {
                "messages": [
                    {"type": "History", "role": roles.get(turn.role, "user"), "content": turn.text} for turn in turns
                ]
            }
        sound = {"encoding": "linear16", "sample_rate": request.rate}
        audio = {"input": sound, "output": {**sound, "container": "none"}}
        return merged({"type": "Settings", "audio": audio, "agent": agent}, self._own.extra)


def _part(own: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """The vendor's object with ``provider``: the administrator may give the whole of it, or the provider alone."""
    if "provider" in own or "endpoint" in own:
        return {"provider": dict(usual), **own}
    return {"provider": dict(own or usual)}


async def _until(connection: ClientConnection, kind: str) -> None:
    """Wait for that message. Raises ProviderRejected where the service refuses."""
    while True:
        found = json.loads(await connection.recv())
        if found["type"] == kind:
            return
        if found["type"] == "Error":
            text = " ".join(str(found.get("description", "")).split())[:300]
            raise ProviderRejected(NAME, f"no session: {text} ({found.get('code')})")
