"""Where connections with chan_websocket come from: Asterisk's to us, and ours to Asterisk.

Needs the ``websocket`` extra (websockets).
"""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from websockets.client import ClientProtocol
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from asterisk_ai.errors import ControlError, Refusal
from asterisk_ai.protocol.strangers import Strangers
from asterisk_ai.protocol.websocket import SUBPROTOCOL
from asterisk_ai.transport.clock import PlayoutClock
from asterisk_ai.transport.listener import bound_port, descriptor, listen
from asterisk_ai.transport.media import Line, MediaHandler
from asterisk_ai.transport.websocket.connection import WebSocketConnection
from asterisk_ai.transport.websocket.opening import Opening

MAX_MESSAGE = 65_536
"""Bytes. A frame of audio has 2,000 at most; MEDIA_START in JSON has the channel's variables in it."""


@dataclass(slots=True)
class WebSocketCounters:
    """Since the start of the server."""

    connections: int = 0
    refused: dict[Refusal, int] = field(default_factory=dict)
    frames_dropped: int = 0
    """Frames not sent because the peer did not take the ones before."""
    unknown_messages: int = 0

    def refuse(self, reason: Refusal) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1


class WebSocketServer:
    """Listens for Asterisk, connects to it where it is asked to, and hands each connection to its call.

    :param accept: takes a call id and its connection, and raises CallRefused to refuse it.
    :param asterisk: where Asterisk listens for media, e.g. ``ws://127.0.0.1:8088/media``.
    :param max_connections: those that have not told their call.
    :param idle_seconds: a peer whose host answers no TCP keepalive for so long is gone.
    """

    def __init__(
        self,
        accept: Callable[[str, Line], MediaHandler],
        clock: PlayoutClock,
        *,
        asterisk: str,
        handshake_seconds: float = 5.0,
        idle_seconds: float = 120.0,
        max_connections: int = 200,
    ) -> None:
        self.accept = accept
        self.clock = clock
        self.handshake_seconds = handshake_seconds
        self.idle_seconds = idle_seconds
        self.counters = WebSocketCounters()
        self._asterisk = asterisk.rstrip("/")
        self._connections: set[Opening | WebSocketConnection] = set()
        self._strangers: Strangers[Opening] = Strangers(max_connections)
        self._listeners: list[asyncio.Server] = []
        self._stopped = False

    async def start(self, host: str, port: int, inherited: socket.socket | None = None) -> int:
        """Listen, on a socket of the process before this one where there is one; returns the port. Raises OSError."""
        serve = functools.partial(asyncio.get_running_loop().create_server, self._opening)
        self._listeners = await listen(serve, host, port, inherited=inherited)
        return bound_port(self._listeners)

    def _opening(self) -> Opening:
        protocol = ServerProtocol(subprotocols=[Subprotocol(SUBPROTOCOL)], max_size=MAX_MESSAGE)
        return Opening(self, protocol)

    async def connect(self, call_id: str, connection_id: str) -> None:
        """Connect to the channel of Asterisk that waits for us as ``connection_id``, and give its audio to the call.

        :raises ControlError: it cannot be reached, or will not have us.
        """
        url = f"{self._asterisk}/{quote(connection_id, safe='')}"
        uri = parse_uri(url)
        protocol = ClientProtocol(uri, subprotocols=[Subprotocol(SUBPROTOCOL)], max_size=MAX_MESSAGE)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.handshake_seconds):
                _, opening = await loop.create_connection(lambda: Opening(self, protocol, call_id), uri.host, uri.port)
        except (OSError, TimeoutError) as error:
            raise ControlError(
                f"{url}: {str(error) or 'no answer'} (enabled=yes in http.conf, and chan_websocket loaded?)"
            ) from error
        if problem := await opening.done:
            raise ControlError(f"{url}: {problem}")

    @property
    def descriptor(self) -> int:
        """See :func:`~asterisk_ai.transport.listener.descriptor`."""
        return descriptor(self._listeners)

    def stop_listening(self) -> None:
        """Take no new connections; those there are go on."""
        for listener in self._listeners:
            listener.close()

    async def stop(self) -> None:
        """Close everything."""
        self.stop_listening()
        self._stopped = True
        for connection in tuple(self._connections):
            connection.abort("the server stops")
        for listener in self._listeners:
            await listener.wait_closed()
        self._listeners.clear()

    def admit(self, connection: Opening, source: str, *, ours: bool) -> bool:
        """A new connection; False where it came as the server stopped. One too many displaces the oldest of its kind.

        :param ours: we opened it; it displaces nobody.
        """
        self.counters.connections += 1
        if self._stopped:
            return False
        self._connections.add(connection)
        displaced = None if ours else self._strangers.add(connection, source)
        if displaced is not None:
            displaced.refuse(
                Refusal.FULL, f"{len(self._strangers)} connections wait without a call, the oldest is closed"
            )
        return True

    def known(self, opening: Opening, connection: WebSocketConnection) -> None:
        """``opening`` has found its call, which ``connection`` serves from now on."""
        self._strangers.discard(opening)
        self._connections.discard(opening)
        self._connections.add(connection)

    def forget(self, connection: Opening | WebSocketConnection) -> None:
        if isinstance(connection, Opening):
            self._strangers.discard(connection)
        self._connections.discard(connection)

    def __len__(self) -> int:
        return len(self._connections)
