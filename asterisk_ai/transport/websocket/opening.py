"""A connection with chan_websocket until Asterisk has told whose audio it carries, and of which format."""

from __future__ import annotations

import asyncio
import logging
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qs, urlsplit

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from asterisk_ai.errors import CallRefused, Refusal, RemoteProtocolError
from asterisk_ai.protocol import websocket
from asterisk_ai.transport.websocket.connection import WebSocketConnection

if TYPE_CHECKING:
    from asterisk_ai.transport.websocket.server import WebSocketServer

logger = logging.getLogger(__name__)

PATH = "/media"
"""Where Asterisk is to connect to, with ``?call=UUID``."""


class Opening(asyncio.Protocol):
    """Shakes hands and waits for ``MEDIA_START``; then a :class:`WebSocketConnection` takes its place.

    :param call_id: of a call that we connect to Asterisk for; an Asterisk that connects to us tells it itself.
    """

    def __init__(self, server: WebSocketServer, socket: ServerProtocol | ClientProtocol, call_id: str = "") -> None:
        self._server, self._socket, self._call_id = server, socket, call_id
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Why the call has no audio this way; empty where it has."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._server.admit(self, self._peer(), ours=bool(self._call_id)):
            self._transport.abort()
            return
        loop, seconds = asyncio.get_running_loop(), self._server.handshake_seconds
        self._timer = loop.call_later(seconds, self.refuse, Refusal.TIMEOUT)
        if isinstance(self._socket, ClientProtocol):
            self._socket.send_request(self._socket.connect())
            self._flush()

    def data_received(self, data: bytes) -> None:
        self._socket.receive_data(data)
        events = self._socket.events_received()
        while events and self._transport is not None and not self._transport.is_closing():
            event = events.pop(0)
            if isinstance(event, Request):
                self._requested(event)
            elif isinstance(event, Frame):
                self._told(event, [event for event in events if isinstance(event, Frame)])
                events = []
        if self._transport is None:
            return  # the call's connection has it
        self._flush()
        if error := self._socket.handshake_exc or self._socket.parser_exc:
            self.refuse(Refusal.PROTOCOL, str(error))

    def _requested(self, request: Request) -> None:
        socket = cast(ServerProtocol, self._socket)
        self._call_id = _call_of(request.path)
        if self._call_id:
            socket.send_response(socket.accept(request))
        else:
            socket.send_response(socket.reject(HTTPStatus.NOT_FOUND, f"{PATH}?call=UUID is all there is\n"))
            self._flush()
            self.refuse(Refusal.PROTOCOL, f"it asks for something else than {PATH}?call=UUID")

    def _told(self, frame: Frame, more: list[Frame]) -> None:
        """The first message has to be the start of the media."""
        text = bytes(frame.data).decode("utf-8", "replace")
        try:
            event = websocket.parse(text) if frame.opcode is Opcode.TEXT and frame.fin else None
        except RemoteProtocolError as error:
            self.refuse(Refusal.PROTOCOL, str(error))
            return
        if not isinstance(event, websocket.MediaStart):
            if frame.opcode is not Opcode.PING:
                self.refuse(Refusal.PROTOCOL, "chan_websocket: the first message is no MEDIA_START")
        elif event.format not in websocket.RATES:
            takes = ", ".join(sorted(websocket.RATES))
            cure = f"name one of {takes} in Dial(WebSocket/.../c(slin))"
            self.refuse(Refusal.FORMAT, f"Asterisk sends {event.format}: {cure}")
        else:
            self._start(event, more, json_form=websocket.is_json(text))

    def _start(self, start: websocket.MediaStart, more: list[Frame], *, json_form: bool) -> None:
        transport = cast(asyncio.Transport, self._transport)
        connection = WebSocketConnection(
            self._server, transport, self._socket, start, self._call_id, json_form=json_form
        )
        try:
            handler = self._server.accept(self._call_id, connection)
        except CallRefused as refused:
            self.refuse(refused.reason, str(refused))
            return
        self._stop_timer()
        self._server.known(self, connection)
        transport.set_protocol(connection)
        self._transport = None
        self._finish("")
        connection.begin(handler, more)

    def _flush(self) -> None:
        for data in self._socket.data_to_send():
            if self._transport is not None and data:
                self._transport.write(data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_timer()
        self._server.forget(self)
        self._transport = None
        self._finish(f"lost: {error}" if error else "Asterisk closed the connection")

    def abort(self, reason: str) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def refuse(self, reason: Refusal, detail: str = "") -> None:
        """Close, once what was answered is sent; ``reason`` is counted."""
        if self._transport is None or self._transport.is_closing():
            return
        self._server.counters.refuse(reason)
        logger.warning("chan_websocket connection with %s refused: %s", self._peer(), detail or reason)
        self._stop_timer()
        self._finish(detail or reason)
        self._transport.close()
        self._timer = asyncio.get_running_loop().call_later(self._server.handshake_seconds, self._transport.abort)

    def _finish(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_result(reason)

    def _peer(self) -> str:
        peer = self._transport.get_extra_info("peername") if self._transport is not None else None
        return str(peer[0]) if peer else ""

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _call_of(path: str) -> str:
    """The call that a request is about; empty where it is about none."""
    address = urlsplit(path)
    if address.path.rstrip("/") != PATH:
        return ""
    try:
        return str(uuid.UUID(parse_qs(address.query).get("call", [""])[0]))
    except ValueError:
        return ""
