"""Deepgram's voice agent: it hears, decides and speaks over one WebSocket a call.

::

    providers:
      deepgram:
        api_key: ${DEEPGRAM_API_KEY}
        agent:
          think: {type: open_ai, model: gpt-4o-mini, temperature: 0.3}
          listen: {type: deepgram, model: nova-3}
          speak: {type: deepgram, model: aura-2-thalia-en}     # its model: the agent's `voice` where that is set

Audio goes both ways as linear16 at the line's rate. Source: https://developers.deepgram.com/docs/voice-agent-message-flow
and .../configure-voice-agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from asterisk_ai.errors import ConfigError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.base import Readiness, RealtimeRequest
from asterisk_ai.providers.deepgram.agent_session import DeepgramAgentSession
from asterisk_ai.providers.deepgram.client import CLOSE_SECONDS, MAX_MESSAGE, NAME, Settings, broken
from asterisk_ai.providers.http_service import HttpService, secure_context
from asterisk_ai.providers.tools import Toolbox

URL = "wss://agent.deepgram.com/v1/agent/converse"
RATES = (8_000, 16_000, 24_000, 48_000)
PING_SECONDS = 2.0
"""A service that stands still is found within twice this: it answers no ping."""
_OWN: Mapping[str, Any] = {
    "url": URL,
    "listen": {"type": "deepgram", "model": "nova-3"},
    "think": {"type": "open_ai", "model": "gpt-4o-mini"},
    "speak": {"type": "deepgram", "model": "aura-2-thalia-en"},
    "extra": {},
}
_RULES = (
    "You are on the telephone. Answer in one or two short sentences. If you did not understand the caller, say so and "
    "ask again."
)


class DeepgramAgent:
    """The ``deepgram`` engine of speech to speech of one agent.

    Satisfies :class:`~asterisk_ai.providers.base.RealtimeAgent`.
    """

    sample_rates = RATES

    def __init__(self, settings: Mapping[str, Any], agent: Mapping[str, Any]) -> None:
        self._settings = Settings(settings, "agent", _OWN)
        own = self._settings.own
        if not own["url"].startswith(("ws://", "wss://")):
            raise ConfigError("expected ws:// or wss://", path=f"providers.{NAME}.agent.url")
        self._prompt = "\n\n".join(part for part in (str(agent.get("prompt") or ""), _RULES) if part)
        self._voice = str(agent.get("voice") or "")
        self._language = str(agent.get("language") or "en-US")
        self._tools = Toolbox(agent.get("tools") or {}, f"agents.{agent.get('name') or '?'}.tools")
        self._service = HttpService(
            NAME,
            base_url=self._settings.base_url,
            headers=self._settings.headers,
            seconds=self._settings.seconds,
            connect_seconds=self._settings.connect_seconds,
            proxy=self._settings.proxy,
            probe="projects",
        )
        self._secure: ssl.SSLContext | None = None
        self._open: set[ClientConnection] = set()

    async def start(self) -> None:
        """Find out how the service is, and keep doing so; each call has a connection of its own."""
        self._secure = self._secure or await secure_context(self._settings.own["url"])
        await self._tools.start()
        await self._service.start()

    async def stop(self) -> None:
        await self._service.stop()
        await self._tools.stop()
        for connection in tuple(self._open):
            await connection.close()

    def readiness(self) -> Readiness:
        return self._service.readiness()

    @asynccontextmanager
    async def open(self, request: RealtimeRequest) -> AsyncIterator[DeepgramAgentSession]:
        """Connect, and have the agent as it is to be. Raises ProviderUnavailable, ProviderRejected."""
        if request.rate not in RATES:
            raise ProviderRejected(NAME, f"has no audio at {request.rate} Hz")
        self._service.check()
        connection = await self._connected()
        self._open.add(connection)
        try:
            await self._set_up(connection, request)
            session = DeepgramAgentSession(connection, request, self._tools)
            tasks = [
                asyncio.create_task(session.write(), name=f"{NAME} writer"),
                asyncio.create_task(session.read(), name=f"{NAME} reader"),
            ]
            try:
                yield session
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await session.close()
        finally:
            self._open.discard(connection)
            with contextlib.suppress(TimeoutError, ConnectionClosed, OSError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await connection.close()

    async def _connected(self) -> ClientConnection:
        settings = self._settings
        try:
            return await connect(
                settings.own["url"],
                additional_headers=settings.headers,
                compression=None,
                ssl=self._secure,
                proxy=settings.proxy,
                open_timeout=settings.connect_seconds,
                close_timeout=CLOSE_SECONDS,
                ping_interval=PING_SECONDS,
                ping_timeout=PING_SECONDS,
                max_size=MAX_MESSAGE,
                process_exception=lambda error: error,
            )
        except InvalidStatus as error:
            after = error.response.headers.get("Retry-After", "")
            body = bytes(error.response.body or b"")
            raise self._service.refused(error.response.status_code, after, body) from error
        except TimeoutError as error:
            raise ProviderUnavailable(NAME, "no connection in time") from error
        except (WebSocketException, OSError, EOFError) as error:
            raise ProviderUnavailable(NAME, f"no connection: {error!r}"[:300]) from error

    async def _set_up(self, connection: ClientConnection, request: RealtimeRequest) -> None:
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

    def _wanted(self, request: RealtimeRequest) -> dict[str, Any]:
        own = self._settings.own
        caller = ", ".join(
            f"{key} {value}" for key, value in request.caller.items() if value and key in ("number", "name")
        )
        prompt = f"{self._prompt}\n\nSpeak {self._language} unless the caller wants otherwise."
        think: dict[str, Any] = {
            "provider": own["think"],
            "prompt": prompt + (f"\n\nThe caller: {caller}." if caller else ""),
        }
        if functions := [schema["function"] for schema in self._tools.schemas()]:
            think["functions"] = functions
        sound = {"encoding": "linear16", "sample_rate": request.rate}
        agent: dict[str, Any] = {
            "listen": {"provider": {"language": self._language.partition("-")[0], **own["listen"]}},
            "think": think,
            "speak": {"provider": {**own["speak"], **({"model": self._voice} if self._voice else {})}},
        }
        if request.greeting:
            agent["greeting"] = request.greeting
        if request.history:
            roles = {"caller": "user", "agent": "assistant"}
            turns = [
                {"type": "History", "role": roles.get(turn.role, "user"), "content": turn.text}
                for turn in request.history
            ]
            agent["context"] = {"messages": turns}
        audio = {"input": sound, "output": {**sound, "container": "none"}}
        return {"type": "Settings", "audio": audio, "agent": agent, **own["extra"]}


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
