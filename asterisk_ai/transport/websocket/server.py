"""Where connections with chan_websocket come from: Asterisk's to us, and ours to Asterisk.

Needs the ``websocket`` extra (websockets).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import quote

from websockets.client import ClientProtocol
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from asterisk_ai.errors import ControlError
from asterisk_ai.protocol.door import Door
from asterisk_ai.protocol.websocket import SUBPROTOCOL
from asterisk_ai.transport.admission import MediaListener
from asterisk_ai.transport.clock import PlayoutClock
from asterisk_ai.transport.media import Line, MediaHandler
from asterisk_ai.transport.websocket.connection import WebSocketConnection
from asterisk_ai.transport.websocket.opening import Opening

MAX_MESSAGE = 65_536
"""Bytes. A frame of audio has 2,000 at most; MEDIA_START in JSON has the channel's variables in it."""


class WebSocketServer(MediaListener[Opening, WebSocketConnection]):
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
        door: Door | None = None,
    ) -> None:
        super().__init__(door or Door(), max_connections)
        self.accept = accept
        self.clock = clock
        self.handshake_seconds = handshake_seconds
        self.idle_seconds = idle_seconds
        self._asterisk = asterisk.rstrip("/")

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
