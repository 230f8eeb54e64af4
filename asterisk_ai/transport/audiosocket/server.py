"""The AudioSocket server: one TCP connection a call, Asterisk is the client."""

from __future__ import annotations

import asyncio
import functools
import socket
from dataclasses import dataclass, field

from asterisk_ai.errors import Refusal
from asterisk_ai.protocol.strangers import Strangers
from asterisk_ai.transport.audiosocket.connection import AudioSocketConnection
from asterisk_ai.transport.audiosocket.handshake import Accept, Handshake
from asterisk_ai.transport.clock import PlayoutClock
from asterisk_ai.transport.listener import bound_port, descriptor, listen


@dataclass(slots=True)
class AudioSocketCounters:
    """Since the start of the server."""

    connections: int = 0
    refused: dict[Refusal, int] = field(default_factory=dict)
    frames_dropped: int = 0
    """Frames not sent because the peer did not take the ones before."""
    unknown_messages: int = 0
    empty_audio: int = 0
    """Audio messages without a whole number of samples, which were left out."""

    def refuse(self, reason: Refusal) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1


class AudioSocketServer:
    """Listens for Asterisk's connections and hands each to the call that its UUID names."""

    def __init__(
        self,
        accept: Accept,
        clock: PlayoutClock,
        *,
        handshake_seconds: float = 5.0,
        idle_seconds: float = 120.0,
        max_connections: int = 200,
    ) -> None:
        """Nothing listens yet.

        :param max_connections: those that have not told their UUID.
        :param idle_seconds: a peer whose host answers no TCP keepalive for so long is gone.
        """
        self.accept = accept
        self.clock = clock
        self.handshake_seconds = handshake_seconds
        self.idle_seconds = idle_seconds
        self.counters = AudioSocketCounters()
        self._connections: set[Handshake | AudioSocketConnection] = set()
        self._strangers: Strangers[Handshake] = Strangers(max_connections)
        self._listeners: list[asyncio.Server] = []
        self._stopped = False

    async def start(self, host: str, port: int, inherited: socket.socket | None = None) -> int:
        """Listen, on a socket of the process before this one where there is one; returns the port. Raises OSError."""
        serve = functools.partial(asyncio.get_running_loop().create_server, lambda: Handshake(self))
        self._listeners = await listen(serve, host, port, inherited=inherited)
        return bound_port(self._listeners)

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
        self.clock.close()

    def admit(self, connection: Handshake, source: str) -> bool:
        """A new connection, from an address; False where it was accepted as the server stopped.

        Where too many have not told their UUID, the oldest makes room: a caller's does so at once, and those that have
        told theirs are as many as the calls that are let in.
        """
        self.counters.connections += 1
        if self._stopped:
            return False
        self._connections.add(connection)
        displaced = self._strangers.add(connection, source)
        if displaced is not None:
            displaced.refuse(
                Refusal.FULL, f"{len(self._strangers)} connections wait without a UUID, the oldest is closed"
            )
        return True

    def known(self, handshake: Handshake, connection: AudioSocketConnection) -> None:
        """``handshake`` has found its call, which ``connection`` serves from now on."""
        self._strangers.discard(handshake)
        self._connections.discard(handshake)
        self._connections.add(connection)

    def forget(self, connection: Handshake | AudioSocketConnection) -> None:
        if isinstance(connection, Handshake):
            self._strangers.discard(connection)
        self._connections.discard(connection)

    def __len__(self) -> int:
        return len(self._connections)
