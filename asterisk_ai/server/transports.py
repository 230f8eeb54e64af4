"""The transports of a server put together: what callers' audio and the dialplan's questions come by."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asterisk_ai.config import AriConfig, Config, WebSocketConfig
from asterisk_ai.errors import ConfigError
from asterisk_ai.pbx.agi_routes import CallRoutes
from asterisk_ai.protocol.agi.commands import set_variable_line
from asterisk_ai.protocol.door import Door
from asterisk_ai.server.calls import Calls
from asterisk_ai.transport.audiosocket.server import AudioSocketServer
from asterisk_ai.transport.clock import PlayoutClock
from asterisk_ai.transport.fastagi.server import FastAgiServer
from asterisk_ai.transport.media import Line, MediaHandler
from asterisk_ai.transport.rtp.formats import FORMATS
from asterisk_ai.transport.rtp.ports import RtpPorts

if TYPE_CHECKING:  # they need libraries that are not always there
    from asterisk_ai.pbx.ari.application import AriApplication
    from asterisk_ai.transport.websocket.server import WebSocketServer

Accept = Callable[[str, Line], MediaHandler]
"""Gives a call, by its id, to what carries its audio."""
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
    websocket = None if media is None else _websocket(media, clock, accept)
    table = routes(None if websocket is None else websocket.connect)
    return Transports(
        AudioSocketServer(
            calls.accept,
            clock,
            handshake_seconds=config.audiosocket.handshake_seconds,
            idle_seconds=config.audiosocket.idle_seconds,
            max_connections=config.audiosocket.max_connections,
            door=Door(config.audiosocket.allow, config.audiosocket.per_second),
        ),
        FastAgiServer(
            table.table(),
            header_seconds=config.fastagi.header_seconds,
            command_seconds=10.0,
            max_connections=config.fastagi.max_connections,
            refusal=set_variable_line("AI_STATUS", "FULL"),
            expects=table.expects,
            door=Door(config.fastagi.allow, config.fastagi.per_second),
        ),
        None if ari is None else _external_media(ari, clock, accept),
        websocket,
    )


def _external_media(config: AriConfig, clock: PlayoutClock, accept: Accept) -> AriApplication:
    """The Stasis application, and the RTP of its calls."""
    try:
        from asterisk_ai.pbx.ari.application import AriApplication
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is missing: pip install 'asterisk-ai[ari]'", path="ari") from error
    sound_format = FORMATS[config.format]
    try:
        sound_format.coder()
    except ModuleNotFoundError as error:
        raise ConfigError("g722 is missing: pip install 'asterisk-ai[ari]'", path="ari.format") from error
    ports = RtpPorts(
        sound_format,
        clock,
        accept,
        host=config.host,
        first=config.rtp_first_port,
        last=config.rtp_last_port,
        advertise=config.advertise,
    )
    return AriApplication(
        url=config.url,
        user=config.user,
        password=config.password,
        app=config.app,
        sound_format=config.format,
        ports=ports,
    )


def _websocket(config: WebSocketConfig, clock: PlayoutClock, accept: Accept) -> WebSocketServer:
    """Audio by chan_websocket."""
    try:
        from asterisk_ai.transport.websocket.server import WebSocketServer
    except ModuleNotFoundError as error:
        raise ConfigError(f"{error.name} is missing: pip install 'asterisk-ai[websocket]'", path="websocket") from error
    return WebSocketServer(
        accept,
        clock,
        asterisk=config.asterisk,
        handshake_seconds=config.handshake_seconds,
        idle_seconds=config.idle_seconds,
        max_connections=config.max_connections,
        door=Door(config.allow, config.per_second),
    )
