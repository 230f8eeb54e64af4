"""The AudioSocket server: one TCP connection a call, Asterisk is the client."""

from __future__ import annotations

import asyncio

from asterisk_ai.protocol.door import Door
from asterisk_ai.transport.admission import MediaListener
from asterisk_ai.transport.audiosocket.connection import AudioSocketConnection
from asterisk_ai.transport.audiosocket.handshake import Accept, Handshake
from asterisk_ai.transport.clock import PlayoutClock


class AudioSocketServer(MediaListener[Handshake, AudioSocketConnection]):
    """Listens for Asterisk's connections and hands each to the call that its UUID names."""

    def __init__(
        self,
        accept: Accept,
        clock: PlayoutClock,
        *,
        handshake_seconds: float = 5.0,
        idle_seconds: float = 120.0,
        max_connections: int = 200,
        door: Door | None = None,
    ) -> None:
        """Nothing listens yet.

        :param max_connections: those that have not told their UUID.
        :param idle_seconds: a peer whose host answers no TCP keepalive for so long is gone.
        """
        super().__init__(door or Door(), max_connections)
        self.accept = accept
        self.clock = clock
        self.handshake_seconds = handshake_seconds
        self.idle_seconds = idle_seconds

    def _opening(self) -> asyncio.Protocol:
        return Handshake(self)

    async def stop(self) -> None:
        """Close everything, the clock as well."""
        await super().stop()
        self.clock.close()
