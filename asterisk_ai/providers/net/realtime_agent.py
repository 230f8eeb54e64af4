"""An engine of speech to speech that has one WebSocket a call: what those of all vendors have in common.

A vendor's own is a subclass that says how a session is set up. Needs the ``remote`` extra.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from asterisk_ai.dialog.caller import instructions
from asterisk_ai.errors import ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.api import Readiness, RealtimeAgent, RealtimeRequest
from asterisk_ai.providers.net.http import HttpService
from asterisk_ai.providers.net.realtime_session import Json, SocketSession
from asterisk_ai.providers.net.websocket import Sockets, closed
from asterisk_ai.providers.tools.toolbox import Toolbox

_RULES = (
    "You are on the telephone. Answer in one or two short sentences. If you did not understand the caller, say so and "
    "ask again."
)


class SocketAgent(RealtimeAgent, ABC):
    """The engine of one agent: each call has a connection of its own.

    :param agent: ``prompt``, ``language``, ``voice`` and ``tools`` of the agent.
    :param voice: where the agent has none.
    :param service: asked over HTTP how it is.
    :param seconds: how long setting a session up may take.
    """

    sample_rates: tuple[int, ...] = ()
    streams = "sound both ways"

    def __init__(
        self, name: str, agent: Json, *, voice: str, service: HttpService, sockets: Sockets, seconds: float
    ) -> None:
        self._name, self._service, self._sockets, self._seconds = name, service, sockets, seconds
        self._language = str(agent.get("language") or "en-US")
        self._voice = str(agent.get("voice") or voice)
        speak = f"Speak {self._language} unless the caller wants otherwise."
        self._prompt = "\n\n".join(part for part in (str(agent.get("prompt") or ""), _RULES, speak) if part)
        self._tools = Toolbox(
            agent.get("tools") or {}, f"agents.{agent.get('name') or '?'}.tools", tuple(agent.get("transfers") or ())
        )
        self._dropped = 0

    async def start(self) -> None:
        """Find out how the service is, and keep doing so."""
        await self._tools.start()
        await asyncio.gather(self._service.start(), self._sockets.start())

    async def stop(self) -> None:
        await self._sockets.stop()
        await self._service.stop()
        await self._tools.stop()

    def counters(self) -> Mapping[str, int]:
        return {"dropped_frames": self._dropped}

    def tool_problems(self) -> list[str]:
        """Why some of the agent's tools cannot be offered now: ``asterisk-ai check`` tells."""
        return self._tools.problems()

    def readiness(self) -> Readiness:
        """Also whether the service lets us have a connection, where one is kept for the next call."""
        state = self._service.readiness()
        return self._sockets.readiness() if state.ready else state

    @asynccontextmanager
    async def open(self, request: RealtimeRequest) -> AsyncIterator[SocketSession]:
        """Connect, and have the session as it is to be. Raises ProviderUnavailable, ProviderRejected."""
        if request.rate not in self.sample_rates:
            raise ProviderRejected(self._name, f"has no audio at {request.rate} Hz")
        self._service.check()
        connection = await self._connect(request)
        try:
            session = self._session(connection, request)
            writing = asyncio.create_task(session.write(), name=f"{self._name} writer")
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

    async def _connect(self, request: RealtimeRequest) -> ClientConnection:
        """A connection with the session set up on it. Raises ProviderError."""
        return await self._sockets.begin(partial(self._begin, request))

    async def _begin(self, request: RealtimeRequest, connection: ClientConnection) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await self._set_up(request, connection)
        except TimeoutError as error:
            raise ProviderUnavailable(self._name, "no session in time") from error
        except ConnectionClosed as error:
            raise closed(self._name, error) from error
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise ProviderUnavailable(self._name, "sent a message that makes no sense") from error

    @abstractmethod
    async def _set_up(self, request: RealtimeRequest, connection: ClientConnection) -> None:
        """Have the service agree to the session; what cannot be read in its messages may be raised as it comes."""

    @abstractmethod
    def _session(self, connection: ClientConnection, request: RealtimeRequest) -> SocketSession: ...

    def _instructions(self, request: RealtimeRequest) -> str:
        return instructions(self._prompt, request.caller, request.actions)

    def _functions(self, request: RealtimeRequest) -> list[dict[str, Any]]:
        """What the model may call: name, description and parameters as a JSON schema."""
        return [schema["function"] for schema in self._tools.schemas(request.actions)]
