"""What Deepgram's engines have in common: settings, and what their messages mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from websockets.exceptions import ConnectionClosed

from asterisk_ai.errors import ConfigError, ProviderUnavailable
from asterisk_ai.providers.net.websocket import Keep, Sockets

NAME = "deepgram"
BASE_URL = "https://api.deepgram.com/v1"
KEEP = Keep(seconds=4.0, oldest=600.0, message='{"type": "KeepAlive"}')
"""The service closes after 10 s with neither audio nor this, and asks for it every 3 to 5 s; how long it lets a
connection wait in this way is not told. Source: https://developers.deepgram.com/docs/audio-keep-alive."""
PING_SECONDS = 5.0
"""A connection whose other end is gone without a word is found so soon."""
MAX_MESSAGE = 1 << 20
_SHARED = ("base_url", "api_key", "seconds", "connect_seconds", "proxy")
_KINDS = ("listen", "speak", "agent")


class Settings:
    """``providers.deepgram`` as one engine sees it: what all share, and its own part.

    :raises ConfigError: unknown keys or wrong types.
    """

    def __init__(self, settings: Mapping[str, Any], kind: str, known: Mapping[str, Any]) -> None:
        for key in settings:
            if key not in (*_SHARED, *_KINDS):
                raise ConfigError(
                    f"unknown key; known: {', '.join((*_SHARED, *_KINDS))}", path=f"providers.{NAME}.{key}"
                )
        own = settings.get(kind) or {}
        for key, value in own.items():
            path = f"providers.{NAME}.{kind}.{key}"
            if key not in known:
                raise ConfigError(f"unknown key; known: {', '.join(known)}", path=path)
            if not isinstance(value, type(known[key])):
                raise ConfigError(f"expected {type(known[key]).__name__}", path=path)
        self.own: dict[str, Any] = {**known, **own}
        self.base_url = str(settings.get("base_url") or BASE_URL).rstrip("/")
        if not self.base_url.startswith(("http://", "https://")):
            raise ConfigError("expected http:// or https://", path=f"providers.{NAME}.base_url")
        self.seconds = float(settings.get("seconds", 10.0))
        self.connect_seconds = float(settings.get("connect_seconds", 3.0))
        self.proxy = str(settings.get("proxy") or "") or None
        key = str(settings.get("api_key") or "")
        self.headers = {"Authorization": f"Token {key}"} if key else {}


def sockets(settings: Settings, query: str) -> Sockets:
    """Connections for recognition."""
    return Sockets(
        NAME,
        f"ws{settings.base_url.removeprefix('http')}/listen",
        keep=KEEP,
        headers=settings.headers,
        max_message=MAX_MESSAGE,
        query=query,
        connect_seconds=settings.connect_seconds,
        proxy=settings.proxy,
        ping_seconds=PING_SECONDS,
    )


def read(message: str | bytes) -> dict[str, Any]:
    """A JSON message. Raises ProviderUnavailable where it is none, or tells an error."""
    try:
        found = json.loads(message)
    except ValueError:
        raise ProviderUnavailable(NAME, "sent a message that is not JSON") from None
    if not isinstance(found, dict):
        raise ProviderUnavailable(NAME, "sent a message that is not an object")
    if found.get("type") == "Error":
        text = found.get("description") or found.get("message") or "no reason given"
        raise ProviderUnavailable(NAME, f"sent an error: {text}"[:300])
    return found


def broken(error: ConnectionClosed) -> ProviderUnavailable:
    """A connection that ended before its time; the close frame's reason is the service's own (NET-0001, ...)."""
    frame = error.rcvd
    why = f": {frame.code} {frame.reason}".rstrip() if frame is not None else ""
    return ProviderUnavailable(NAME, f"closed the connection{why}"[:300])
