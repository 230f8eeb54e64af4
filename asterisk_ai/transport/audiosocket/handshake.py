"""An AudioSocket connection until it has told which call it belongs to."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from asterisk_ai.config import host_port
from asterisk_ai.errors import CallRefused, Refusal, RemoteProtocolError
from asterisk_ai.protocol import audiosocket
from asterisk_ai.transport.audiosocket.connection import AudioSocketConnection
from asterisk_ai.transport.media import MediaHandler

if TYPE_CHECKING:
    from asterisk_ai.transport.audiosocket.server import AudioSocketServer

logger = logging.getLogger(__name__)

C = TypeVar("C", bound=AudioSocketConnection)


class Connect(Protocol):
    """Makes the connection of a call that is taken, of the kind that it needs. To be called once."""

    def __call__(self, kind: type[C]) -> C: ...


Accept = Callable[[str, Connect], MediaHandler]
"""Takes the call of a UUID and makes its connection; raises CallRefused to refuse it."""


class Handshake(asyncio.Protocol):
    """Waits for the UUID; then an :class:`AudioSocketConnection` takes its place."""

    def __init__(self, server: AudioSocketServer) -> None:
        self._server = server
        self._reader = audiosocket.Reader()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._connection: AudioSocketConnection | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = self._transport.get_extra_info("peername")
        if not self._server.admit(self, str(peer[0]) if peer else ""):
            self._transport.abort()
            return
        loop, seconds = asyncio.get_running_loop(), self._server.handshake_seconds
        self._timer = loop.call_later(seconds, self.refuse, Refusal.TIMEOUT)

    def data_received(self, data: bytes) -> None:
        try:
            events = self._reader.receive(data)
        except RemoteProtocolError as error:
            self.refuse(Refusal.PROTOCOL, str(error))
            return
        if events and isinstance(events[0], audiosocket.CallId):  # the reader takes nothing else for the first message
            self._greeted(events[0].uuid, events[1:])

    def _greeted(self, call_id: uuid.UUID, more: list[audiosocket.Event]) -> None:
        self._stop_timer()
        if self._transport is None or self._transport.is_closing():
            return

        def connect(kind: type[C], transport: asyncio.Transport = self._transport) -> C:
            self._connection = connection = kind(self._server, transport, self._reader, str(call_id))
            return connection

        try:
            handler = self._server.accept(str(call_id), connect)
        except CallRefused as refused:
            self.refuse(refused.reason, str(refused))
            return
        connection = self._connection or connect(AudioSocketConnection)
        self._server.known(self, connection)
        self._transport.set_protocol(connection)
        self._transport = self._connection = None
        connection.start(handler, more)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_timer()
        self._server.forget(self)
        self._transport = None

    def abort(self, reason: str) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def refuse(self, reason: Refusal, detail: str = "") -> None:
        """Close at once; ``reason`` is counted."""
        if self._transport is None or self._transport.is_closing():
            return
        self._server.counters.refuse(reason)
        peer = self._transport.get_extra_info("peername")
        address = host_port(peer[0], peer[1]) if peer else "?"
        logger.warning("AudioSocket connection from %s refused: %s", address, detail or reason)
        self._stop_timer()
        self._transport.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
