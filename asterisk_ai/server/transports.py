"""The transports of a server put together: what callers' audio and the dialplan's questions come by."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asterisk_ai.config import Config
from asterisk_ai.pbx.agi_routes import CallRoutes
from asterisk_ai.protocol.agi.commands import set_variable_line
from asterisk_ai.server.calls import Calls
from asterisk_ai.server.external_media import external_media
from asterisk_ai.server.websocket import websocket_media
from asterisk_ai.transport.audiosocket.server import AudioSocketServer
from asterisk_ai.transport.clock import PlayoutClock
from asterisk_ai.transport.fastagi.server import FastAgiServer

if TYPE_CHECKING:  # they need libraries that are not always there
    from asterisk_ai.pbx.ari.application import AriApplication
    from asterisk_ai.transport.websocket.server import WebSocketServer

Fetch = Callable[[str, str], Awaitable[None]]
"""Connects to the channel that waits with a call's audio, given the call's id and the channel's."""


@dataclass(frozen=True, slots=True)
class Transports:
    """Of one server; None where the configuration does not ask for it. Nothing listens yet."""

    audiosocket: AudioSocketServer
    fastagi: FastAgiServer
    external_media: AriApplication | None
    websocket: WebSocketServer | None


def transports(
    config: Config, clock: PlayoutClock, calls: Calls, routes: Callable[[Fetch | None], CallRoutes]
) -> Transports:
    """Those that the configuration asks for.

    :param routes: makes the dialplan's routes, given what fetches a call's audio by chan_websocket.
    :raises ConfigError: a library that one of them needs is not installed.
    """
    media, ari, accept = config.websocket, config.ari, calls.accept_media
    websocket = None if media is None else websocket_media(media, clock, accept)
    table = routes(None if websocket is None else websocket.connect)
    return Transports(
        AudioSocketServer(
            calls.accept,
            clock,
            handshake_seconds=config.audiosocket.handshake_seconds,
            idle_seconds=config.audiosocket.idle_seconds,
            max_connections=config.audiosocket.max_connections,
        ),
        FastAgiServer(
            table.table(),
            header_seconds=config.fastagi.header_seconds,
            command_seconds=10.0,
            max_connections=config.fastagi.max_connections,
            refusal=set_variable_line("AI_STATUS", "FULL"),
            expects=table.expects,
        ),
        None if ari is None else external_media(ari, clock, accept),
        websocket,
    )
