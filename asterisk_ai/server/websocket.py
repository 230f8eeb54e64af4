"""Audio by chan_websocket put together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from asterisk_ai.config import WebSocketConfig
from asterisk_ai.errors import ConfigError
from asterisk_ai.transport.clock import PlayoutClock
from asterisk_ai.transport.media import Line, MediaHandler

if TYPE_CHECKING:
    from asterisk_ai.transport.websocket.server import WebSocketServer


def websocket_media(
    config: WebSocketConfig, clock: PlayoutClock, accept: Callable[[str, Line], MediaHandler]
) -> WebSocketServer:
    """The server of such audio, not listening yet.

    :raises ConfigError: the library that speaks WebSocket is not installed.
    """
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
    )
