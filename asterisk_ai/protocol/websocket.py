"""The messages of Asterisk's chan_websocket, without any input or output of its own.

Binary messages are media in the channel's format, both ways. Text messages are
control: commands to Asterisk, events from it, as plain words
(``MEDIA_XOFF``, ``DTMF_END digit:5 channel_id:17.3``) or as JSON objects,
as the channel was asked for (option ``f(json)``). Source: Asterisk's
chan_websocket.c, 20.16, 21.11, 22.6, 23.0 and newer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from asterisk_ai.errors import LocalProtocolError, RemoteProtocolError

SUBPROTOCOL = "media"
COMMAND_BYTES = 127
"""Asterisk ignores text messages that are longer."""
XOFF_FRAMES, XON_FRAMES = 900, 800
"""Frames in Asterisk's queue at which it tells us to wait, and to go on; at 1,000 it throws them away."""

FLUSH_MEDIA = "FLUSH_MEDIA"
"""Forget what is queued, marks as well: the caller hears nothing more of it."""
PAUSE_MEDIA = "PAUSE_MEDIA"
"""Play nothing from now on, and keep what is queued."""
CONTINUE_MEDIA = "CONTINUE_MEDIA"
HANGUP = "HANGUP"
ANSWER = "ANSWER"
GET_STATUS = "GET_STATUS"
REPORT_QUEUE_DRAINED = "REPORT_QUEUE_DRAINED"
MARK_MEDIA = "MARK_MEDIA"
"""From 20.18, 21.13, 22.8 and 23.2 on; older releases log a warning and never answer."""

RATES: Mapping[str, int] = MappingProxyType(
    {f"slin{kilohertz}": rate for rate in (12_000, 16_000, 24_000, 44_100, 48_000) for kilohertz in (rate // 1000,)}
    | {"slin": 8000, "ulaw": 8000, "alaw": 8000}
)
"""Asterisk's names of the formats that we take, to Hz. Linear audio comes as 16 bits, the low byte first."""


@dataclass(frozen=True, slots=True)
class MediaStart:
    """The first message. ``frame_bytes`` is one frame of ``format``; 0 where Asterisk cannot cut the format up."""

    connection_id: str
    channel: str
    format: str
    frame_bytes: int
    ptime_ms: int


@dataclass(frozen=True, slots=True)
class Digit:
    """A key that was released: 0-9, A-D, * or #."""

    digit: str


@dataclass(frozen=True, slots=True)
class QueueFull:
    """``MEDIA_XOFF``: wait until :class:`QueueReady`."""


@dataclass(frozen=True, slots=True)
class QueueReady:
    """``MEDIA_XON``."""


@dataclass(frozen=True, slots=True)
class QueueDrained:
    """All that was sent has been played; comes once for each ``REPORT_QUEUE_DRAINED``."""


@dataclass(frozen=True, slots=True)
class MarkProcessed:
    """All media before the mark has been played."""

    mark: str


@dataclass(frozen=True, slots=True)
class Status:
    """The answer to ``GET_STATUS``: frames that wait to be played."""

    queue_length: int


@dataclass(frozen=True, slots=True)
class CommandRefused:
    """``ERROR``: Asterisk did not do what we asked for."""

    message: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """An event of some later release; to be counted and otherwise ignored."""

    name: str
    values: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


Event = MediaStart | Digit | QueueFull | QueueReady | QueueDrained | MarkProcessed | Status | CommandRefused | Unknown


def parse(text: str) -> Event:
    """Read one text message from Asterisk.

    :raises RemoteProtocolError: not an event in either form, or one without what belongs to it.
    """
    name, values = _from_json(text) if is_json(text) else _from_words(text)
    try:
        return _event(name, values)
    except (KeyError, ValueError) as error:
        raise RemoteProtocolError(f"chan_websocket: {name} without a proper {error}") from None


def is_json(text: str) -> bool:
    """Whether Asterisk writes JSON: then it reads nothing else, either."""
    return text.lstrip().startswith("{")


def command(name: str, *, json_form: bool) -> str:
    """A command as Asterisk reads it, in words or in JSON."""
    return json.dumps({"command": name}) if json_form else name


def mark(name: str, *, json_form: bool) -> str:
    """The command that has :class:`MarkProcessed` sent when what is sent next begins to be played.

    :raises LocalProtocolError: a name that is no single word, or too long for Asterisk.
    """
    if not name or not name.isascii() or not name.isprintable() or " " in name:
        raise LocalProtocolError(f"a mark's name is one word, not {name!r}")
    text = json.dumps({"command": MARK_MEDIA, "correlation_id": name}) if json_form else f"{MARK_MEDIA} {name}"
    if len(text) > COMMAND_BYTES:
        raise LocalProtocolError(f"a mark's name is one short word, not {name!r}")
    return text


def _from_words(text: str) -> tuple[str, dict[str, str]]:
    name, *words = text.split(" ")
    values = dict(word.split(":", 1) for word in words if ":" in word)
    return name.strip(), {**values, "correlation_id": " ".join(words), "error_text": text.partition("error_text:")[2]}


def _from_json(text: str) -> tuple[str, dict[str, str]]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise RemoteProtocolError("chan_websocket: a control message that is no JSON") from None
    if not isinstance(data, dict):
        raise RemoteProtocolError("chan_websocket: a control message that is no object")
    values = {key: str(value) for key, value in data.items() if isinstance(value, (str, int, float))}
    return values.get("event", ""), values


def _event(name: str, values: Mapping[str, str]) -> Event:
    match name:
        case "MEDIA_START":
            frame_bytes, ptime = int(values["optimal_frame_size"]), int(values["ptime"])
            if frame_bytes < 0 or ptime <= 0:
                raise ValueError("size")
            return MediaStart(values["connection_id"], values.get("channel", ""), values["format"], frame_bytes, ptime)
        case "DTMF_END":
            digit = values["digit"]
            if len(digit) != 1 or digit not in "0123456789ABCDabcd*#":
                raise ValueError("digit")
            return Digit(digit.upper())
        case "MEDIA_XOFF":
            return QueueFull()
        case "MEDIA_XON":
            return QueueReady()
        case "QUEUE_DRAINED":
            return QueueDrained()
        case "MEDIA_MARK_PROCESSED":
            return MarkProcessed(values.get("correlation_id", ""))
        case "STATUS":
            return Status(int(values["queue_length"]))
        case "ERROR":
            return CommandRefused(values.get("error_text", ""))
        case "":
            raise RemoteProtocolError("chan_websocket: a control message without a name")
        case _:
            return Unknown(name[:40], MappingProxyType(dict(values)))
