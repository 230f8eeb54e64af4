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

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from asterisk_ai.config.settings import merged, read_settings
from asterisk_ai.dialog.caller import instructions, name_as_data
from asterisk_ai.errors import ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.api import Message, Readiness, RealtimeRequest
from asterisk_ai.providers.net.websocket import Keep, Sockets
from asterisk_ai.providers.tools.toolbox import Toolbox
from asterisk_ai.providers.vendors.deepgram.agent_session import DeepgramAgentSession
from asterisk_ai.providers.vendors.deepgram.client import MAX_MESSAGE, NAME, DeepgramSettings, broken, service

RATES = (8_000, 16_000, 24_000, 48_000)
PING_SECONDS = 2.0
"""A service that stands still is found within twice this: it answers no ping."""
KEEP = Keep(seconds=4.0, oldest=8.0)
"""Nothing but ``Settings`` may come first, which say who calls: so a connection that waits cannot be kept by
``KeepAlive``, and is replaced when one would be due (every 8 s). Source: /docs/agent-keep-alive."""
_LISTEN: Mapping[str, Any] = {"type": "deepgram", "model": "nova-3"}
_THINK: Mapping[str, Any] = {"type": "open_ai", "model": "gpt-4o-mini"}
_SPEAK: Mapping[str, Any] = {"type": "deepgram", "model": "aura-2-thalia-en"}
_RULES = (
    "You are on the telephone. Answer in one or two short sentences. If you did not understand the caller, say so and "
    "ask again."
)


class DeepgramAgent:
    """The ``deepgram`` engine of speech to speech of one agent.

    Satisfies :class:`~asterisk_ai.providers.api.RealtimeAgent`.
    """

    sample_rates = RATES

    def __init__(self, settings: Mapping[str, Any], agent: Mapping[str, Any]) -> None:
        self._settings = read_settings(DeepgramSettings, settings, f"providers.{NAME}")
        own = self._settings.agent
        self._prompt = "\n\n".join(part for part in (str(agent.get("prompt") or ""), _RULES) if part)
        self._voice = str(agent.get("voice") or "")
        self._language = str(agent.get("language") or "en-US")
        self._tools = Toolbox(agent.get("tools") or {}, f"agents.{agent.get('name') or '?'}.tools")
        self._service, self._dropped = service(self._settings), 0
        self._sockets = Sockets(
            NAME,
            own.url,
            keep=KEEP if own.spare else None,
            headers=self._service.headers,
            max_message=MAX_MESSAGE,
            connect_seconds=self._settings.connect_seconds,
            proxy=self._settings.proxy or None,
            ping_seconds=PING_SECONDS,
            limit=self._service.limit,
        )

    async def start(self) -> None:
        """Find out how the service is, and keep doing so; each call has a connection of its own."""
        await self._tools.start()
        await asyncio.gather(self._service.start(), self._sockets.start())

    async def stop(self) -> None:
        await self._sockets.stop()
        await self._service.stop()
        await self._tools.stop()

    def counters(self) -> Mapping[str, int]:
        return {"dropped_frames": self._dropped}

    def readiness(self) -> Readiness:
        state = self._service.readiness()
        return self._sockets.readiness() if state.ready else state

    @asynccontextmanager
    async def open(self, request: RealtimeRequest) -> AsyncIterator[DeepgramAgentSession]:
        """Connect, and have the agent as it is to be. Raises ProviderUnavailable, ProviderRejected."""
        if request.rate not in RATES:
            raise ProviderRejected(NAME, f"has no audio at {request.rate} Hz")
        self._service.check()
        connection = await self._sockets.begin(partial(self._set_up, request))
        try:
            session = DeepgramAgentSession(connection, request, self._tools)
            tasks = [
                asyncio.create_task(session.write(), name=f"{NAME} writer"),
                asyncio.create_task(session.read(), name=f"{NAME} reader"),
            ]
            try:
                yield session
            finally:
                self._dropped += session.dropped
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await session.close()
        finally:
            self._sockets.leave(connection)

    async def _set_up(self, request: RealtimeRequest, connection: ClientConnection) -> None:
        """Nothing may be sent before ``Welcome``, and nothing but ``Settings`` before ``SettingsApplied``."""
        try:
            async with asyncio.timeout(self._settings.seconds):
                await _until(connection, "Welcome")
                await connection.send(json.dumps(self._wanted(request)))
                await _until(connection, "SettingsApplied")
        except TimeoutError as error:
            raise ProviderUnavailable(NAME, "no session in time") from error
        except ConnectionClosed as error:
            raise broken(error) from error

    def _listen(self) -> dict[str, Any]:
        part = _part(self._settings.agent.listen, _LISTEN)
        provider = part["provider"]
        if provider.get("version") != "v2" and not str(provider.get("model", "")).startswith("flux"):
            provider = {"language": self._language.partition("-")[0], **provider}  # flux has no such key
        return {**part, "provider": provider}

    def _speak(self) -> dict[str, Any]:
        """With the agent's voice, under the key that the maker of the voice has for it."""
        part = _part(self._settings.agent.speak, _SPEAK)
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

    def _wanted(self, request: RealtimeRequest) -> dict[str, Any]:
        own = self._settings.agent
        prompt = f"{self._prompt}\n\nSpeak {self._language} unless the caller wants otherwise."
        think: dict[str, Any] = {
            **_part(own.think, _THINK),
            "prompt": instructions(prompt, request.caller, request.actions),
        }
        # The service thinks ahead of the end of the turn: what is done for the caller waits until it is certain.
        # Source: https://developers.deepgram.com/docs/voice-agent-speculative-replies.
        schemas = self._tools.schemas(request.actions)
        if schemas:
            think["functions"] = [{**schema["function"], "defer_until_eot": True} for schema in schemas]
        sound = {"encoding": "linear16", "sample_rate": request.rate}
        agent: dict[str, Any] = {
            "listen": self._listen(),
            "think": think,
            "speak": self._speak(),
        }
        if request.greeting:
            agent["greeting"] = request.greeting
        name = name_as_data(request.caller)
        history = [*([Message("caller", name)] if name else ()), *request.history]
        if history:
            roles = {"caller": "user", "agent": "assistant"}
            turns = [
                {"type": "History", "role": roles.get(turn.role, "user"), "content": turn.text} for turn in history
            ]
            agent["context"] = {"messages": turns}
        audio = {"input": sound, "output": {**sound, "container": "none"}}
        return merged({"type": "Settings", "audio": audio, "agent": agent}, own.extra)


def _part(own: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """The vendor's object with ``provider``: the administrator may give the whole of it, or the provider alone."""
    if "provider" in own or "endpoint" in own:
        return {"provider": dict(usual), **own}
    return {"provider": dict(own or usual)}


async def _until(connection: ClientConnection, kind: str) -> None:
    """Wait for that message. Raises ProviderError where it is refused."""
    while True:
        try:
            found = json.loads(await connection.recv())
            told = found["type"]
        except (ValueError, TypeError, LookupError) as error:
            raise ProviderUnavailable(NAME, "sent a message that makes no sense") from error
        if told == kind:
            return
        if told == "Error":
            text = " ".join(str(found.get("description", "")).split())[:300]
            raise ProviderRejected(NAME, f"no session: {text} ({found.get('code')})")
