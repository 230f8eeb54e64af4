"""The doors of listeners that callers' audio comes to: who gets in, who waits, who makes room, and the end."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from abc import abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from asterisk_ai.errors import Refusal
from asterisk_ai.protocol.door import Door
from asterisk_ai.protocol.strangers import Strangers
from asterisk_ai.transport.listener import bound_port, descriptor, listen

logger = logging.getLogger(__name__)


class Opening(Hashable, Protocol):
    """A connection that has not told which call it is for."""

    def abort(self, reason: str) -> None: ...

    def refuse(self, reason: Refusal, detail: str = "") -> None: ...


class OfCall(Hashable, Protocol):
    """A connection that has found its call."""

    def abort(self, reason: str) -> None: ...


O = TypeVar("O", bound=Opening)  # noqa: E741 - an Opening
C = TypeVar("C", bound=OfCall)


@dataclass(slots=True)
class MediaCounters:
    """Of a listener, since the start of the server."""

    connections: int = 0
    refused: dict[Refusal, int] = field(default_factory=dict)
    frames_dropped: int = 0
    """Frames not sent because the peer did not take the ones before."""
    unknown_messages: int = 0
    empty_audio: int = 0
    """Audio messages without a whole number of samples, which were left out."""

    def refuse(self, reason: Refusal) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1


class MediaListener(Generic[O, C]):
    """Lets connections in; each is an ``Opening`` first, and then that of a call.

    :param max_connections: openings at a time. Where there are more, the oldest makes room: a caller's tells its call
        at once, and those that have told theirs are as many as the calls that are let in.
    """

    def __init__(self, door: Door, max_connections: int) -> None:
        self.counters = MediaCounters()
        self._door = door
        self._connections: set[O | C] = set()
        self._strangers: Strangers[O] = Strangers(max_connections)
        self._listeners: list[asyncio.Server] = []
        self._stopped = False

    @abstractmethod
    def _opening(self) -> asyncio.Protocol:
        """The protocol of a new connection."""

    async def start(self, host: str, port: int, inherited: socket.socket | None = None) -> int:
        """Listen, on a socket of the process before this one where there is one; returns the port. Raises OSError."""
        loop = asyncio.get_running_loop()

        async def serve(**where: object) -> asyncio.Server:
            return await loop.create_server(self._opening, **where)  # type: ignore[call-overload,no-any-return]

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

    def admit(self, opening: O, source: str, *, ours: bool = False) -> bool:
        """A new connection, from an address; False where it is to be closed at once.

        :param ours: we opened it: it needs no permission and displaces nobody.
        """
        self.counters.connections += 1
        if self._stopped:
            return False
        if not ours and (refusal := self._door.refuses(source, time.monotonic())) is not None:
            self.counters.refuse(refusal)
            logger.warning("a connection is refused (%s)", refusal, extra={"source": source})
            return False
        self._connections.add(opening)
        if not ours and (displaced := self._strangers.add(opening, source)) is not None:
            count = len(self._strangers)
            displaced.refuse(Refusal.FULL, f"{count} connections wait without a call, the oldest is closed")
        return True

    def known(self, opening: O, connection: C) -> None:
        """``opening`` has found its call, which ``connection`` serves from now on."""
        self._strangers.discard(opening)
        self._connections.discard(opening)
        self._connections.add(connection)

    def forget(self, connection: O | C) -> None:
        """It is gone."""
        self._strangers.discard(connection)  # type: ignore[arg-type] # which is none of them where it has a call
        self._connections.discard(connection)

    def __len__(self) -> int:
        return len(self._connections)
