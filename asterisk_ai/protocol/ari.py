"""Asterisk's REST interface (ARI), as far as a call's audio needs it, without any input or output of its own.

Events come as JSON texts over a websocket; what is to be done are HTTP
requests, told here by method, path and parameters. Source: Asterisk's
rest-api/api-docs, releases 18 to 23.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from asterisk_ai.errors import RemoteProtocolError

PAYLOAD_TYPES: Mapping[str, tuple[tuple[int, ...], int]] = {
    "ulaw": ((0,), 8000),
    "alaw": ((8,), 8000),
    "slin": ((11, 10), 8000),
    "g722": ((9,), 16000),
}
"""Formats of ExternalMedia to RTP's payload types (ours first) and the rate in Hz. Asterisk sends ``slin`` as 10, which
RFC 3551 has for stereo, and takes 11.

Only formats whose payload type is fixed: without SDP Asterisk reads no other. It sends ``slin16`` as 118, but throws
away what it gets as 118. Source: ast_rtp_codecs_get_payload() in Asterisk's main/rtp_engine.c, 18 to 23.
"""


@dataclass(frozen=True, slots=True)
class Entered:
    """``StasisStart``: a channel is in our application, from ``Stasis(app,arguments)`` or because we made it."""

    channel: str
    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Left:
    """``StasisEnd``: the channel went on in the dialplan, or hung up."""

    channel: str


@dataclass(frozen=True, slots=True)
class Gone:
    """``ChannelDestroyed`` or ``ChannelHangupRequest``."""

    channel: str


@dataclass(frozen=True, slots=True)
class Digit:
    """``ChannelDtmfReceived``: 0-9, A-D, * or #."""

    channel: str
    digit: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """``ApplicationReplaced``: another server has taken our application's events."""


@dataclass(frozen=True, slots=True)
class Other:
    """An event that needs nothing done."""

    type: str


Event = Entered | Left | Gone | Digit | Replaced | Other


def parse(text: str) -> Event:
    """Read one event.

    :raises RemoteProtocolError: no JSON object with a type, or one without what belongs to its type.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise RemoteProtocolError("ARI: an event that is no JSON") from None
    if not isinstance(data, dict) or not isinstance(data.get("type"), str):
        raise RemoteProtocolError("ARI: an event without a type")
    match data["type"]:
        case "StasisStart":
            arguments = data.get("args")
            words = tuple(str(word) for word in arguments) if isinstance(arguments, list) else ()
            return Entered(_channel(data, "id"), _channel(data, "name"), words)
        case "StasisEnd":
            return Left(_channel(data, "id"))
        case "ChannelDestroyed" | "ChannelHangupRequest":
            return Gone(_channel(data, "id"))
        case "ChannelDtmfReceived":
            digit = data.get("digit")
            if not isinstance(digit, str) or len(digit) != 1 or digit not in "0123456789ABCDabcd*#":
                raise RemoteProtocolError("ARI: a digit that is none")
            return Digit(_channel(data, "id"), digit.upper())
        case "ApplicationReplaced":
            return Replaced()
        case other:
            return Other(other)


def _channel(data: Mapping[str, Any], key: str) -> str:
    channel = data.get("channel")
    value = channel.get(key) if isinstance(channel, dict) else None
    if not isinstance(value, str) or not value:
        raise RemoteProtocolError(f"ARI: {data['type']} without its channel's {key}")
    return value


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. ``gone`` are statuses that mean that what is to be ended has ended already."""

    method: str
    path: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    gone: frozenset[int] = frozenset()


_GONE = frozenset((404, 409))
"""No such channel or bridge; a channel that is not in the application any more."""


def answer(channel: str) -> Request:
    return Request("POST", f"/channels/{_id(channel)}/answer")


def make_bridge(bridge: str) -> Request:
    return Request("POST", f"/bridges/{_id(bridge)}", {"type": "mixing", "name": bridge})


def make_external_media(channel: str, app: str, host: str, sound_format: str) -> Request:
    """A channel that sends what it hears as RTP to ``host`` (host:port), and plays what comes back."""
    return Request(
        "POST",
        "/channels/externalMedia",
        {
            "channelId": channel,
            "app": app,
            "external_host": host,
            "format": sound_format,
            "encapsulation": "rtp",
            "transport": "udp",
            "connection_type": "client",
            "direction": "both",
        },
    )


def join(bridge: str, *channels: str) -> Request:
    return Request("POST", f"/bridges/{_id(bridge)}/addChannel", {"channel": ",".join(channels)})


def leave(channel: str) -> Request:
    """The channel goes on in the dialplan, behind ``Stasis()``."""
    return Request("POST", f"/channels/{_id(channel)}/continue", gone=_GONE)


def hang_up(channel: str) -> Request:
    return Request("DELETE", f"/channels/{_id(channel)}", gone=_GONE)


def remove_bridge(bridge: str) -> Request:
    return Request("DELETE", f"/bridges/{_id(bridge)}", gone=_GONE)


def application(app: str) -> Request:
    """What Asterisk knows of an application: the channels that are in it, among others."""
    return Request("GET", f"/applications/{_id(app)}", gone=frozenset((404,)))


CHANNELS = Request("GET", "/channels")
BRIDGES = Request("GET", "/bridges")


def rtp_source(channel: Any) -> tuple[str, int] | None:
    """Where an ExternalMedia channel sends from, by the answer to :func:`make_external_media`; None if untold."""
    variables = channel.get("channelvars") if isinstance(channel, dict) else None
    if not isinstance(variables, dict):
        return None
    host, port = variables.get("UNICASTRTP_LOCAL_ADDRESS"), str(variables.get("UNICASTRTP_LOCAL_PORT", ""))
    return (host, int(port)) if isinstance(host, str) and host and port.isdecimal() and 0 < int(port) < 65536 else None


def _id(name: str) -> str:
    return quote(name, safe="")
