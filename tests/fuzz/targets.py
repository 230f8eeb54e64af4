"""What strangers and peers may send us, read by what reads it in a call: any bytes give events, or the error for them.

Each target takes bytes and returns how many messages it has read. It raises what the reader must not raise.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable
from typing import Any

import h11

from asterisk_ai import config
from asterisk_ai.errors import AsteriskAIError, ConfigError, RemoteProtocolError, StoreError
from asterisk_ai.protocol import ari, audiosocket, rtp, websocket
from asterisk_ai.protocol.agi.commands import set_variable_line, split_command
from asterisk_ai.protocol.agi.reader import AgiReader, AgiReply, AgiRequest
from asterisk_ai.session.model import CallSession
from asterisk_ai.telemetry.http import _receive
from asterisk_ai.transport.websocket.opening import _call_of


def _cuts(data: bytes) -> list[bytes]:
    """The same bytes in pieces, whose lengths they tell themselves."""
    pieces, at = [], 0
    while at < len(data):
        length = 1 + data[at] % 61
        pieces.append(data[at : at + length])
        at += length
    return pieces


def audiosocket_target(data: bytes) -> int:
    """Any split of the bytes gives the same events, and the same error."""

    def read(pieces: list[bytes]) -> tuple[list[Any], str]:
        reader, events = audiosocket.Reader(), list[Any]()
        with contextlib.suppress(RemoteProtocolError):
            for piece in pieces:
                events += reader.receive(piece)
        return events, str(reader.error or "")

    stream = audiosocket.uuid_message(uuid.UUID(int=1)) + data if data[:1] != b"\x01" else data
    whole, error = read([stream])
    parts, same_error = read(_cuts(stream))
    assert (error, whole) == (same_error, parts)
    return len(parts) + 1


def agi_target(data: bytes) -> int:
    """Requests, replies, hang-ups; any split gives the same."""

    def read(pieces: list[bytes]) -> tuple[list[Any], str]:
        reader, events = AgiReader(), list[Any]()
        try:
            for piece in pieces:
                reader.receive_data(piece)
                while (event := reader.next_event()) is not None:
                    events.append(event)
            reader.receive_eof()
            for _ in range(4):
                if (event := reader.next_event()) is None:
                    break
                events.append(event)
        except RemoteProtocolError as error:
            return events, type(error).__name__
        return events, ""

    whole, parts = read([data]), read(_cuts(data))
    assert whole == parts, (whole, parts)
    for event in whole[0]:
        if isinstance(event, AgiRequest):
            assert isinstance(event.query, dict)
            for value in event.environment.values():
                with contextlib.suppress(AsteriskAIError):
                    line = set_variable_line("V", value)
                    assert split_command(line.decode()[:-1])[3] == value
        elif isinstance(event, AgiReply):
            assert event.code >= 0
    return len(whole[0]) + 1


def rtp_target(data: bytes) -> int:
    """Datagrams, each behind a byte with its length, through the buffer that puts them into order."""
    buffer, at, read, now = rtp.ReorderBuffer(8000), 0, 0, 0.0
    while at < len(data):
        length = data[at]
        datagram = data[at + 1 : at + 1 + length]
        at, read, now = at + 1 + length, read + 1, now + 0.02
        if rtp.is_rtcp(datagram):
            continue
        try:
            packet = rtp.parse(datagram)
        except RemoteProtocolError:
            continue
        if not buffer.passes(packet, now):
            assert len(buffer.put(packet, now)) < 10_000
        buffer.due(now)
    return read


def websocket_target(data: bytes) -> int:
    """Text frames of chan_websocket, one a line."""
    lines = data.decode("utf-8", "replace").split("\n")
    for line in lines:
        with contextlib.suppress(RemoteProtocolError):
            websocket.parse(line)
        websocket.is_json(line)
        _call_of(line)
    return len(lines)


def ari_target(data: bytes) -> int:
    """Events of Asterisk's REST interface, one a line."""
    lines = data.decode("utf-8", "replace").split("\n")
    for line in lines:
        with contextlib.suppress(RemoteProtocolError):
            ari.parse(line)
    return len(lines)


class _Peer:
    """A connection that sends these bytes, and then ends."""

    def __init__(self, data: bytes) -> None:
        self._pieces = _cuts(data)[:500]

    def settimeout(self, seconds: float) -> None: ...

    def recv(self, size: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def http_target(data: bytes) -> int:
    """A request for a probe."""
    peer = h11.Connection(h11.SERVER, max_incomplete_event_size=8192)
    with contextlib.suppress(h11.RemoteProtocolError, ConnectionAbortedError, TimeoutError):
        request = _receive(peer, _Peer(data), time.monotonic() + 60)  # type: ignore[arg-type]
        request.target.partition(b"?")[0].decode("latin-1")
    return 1


def config_target(data: bytes) -> int:
    """A configuration file: read, or refused with a line."""
    with contextlib.suppress(ConfigError):
        config.parse(data.decode("utf-8", "replace"), environ={})
    return 1


def record_target(data: bytes) -> int:
    """A call's record of some version: read, or refused."""
    with contextlib.suppress(StoreError):
        session = CallSession.from_json(data.decode("utf-8", "replace"))
        assert CallSession.from_json(session.to_json()) == session
    return 1


TARGETS: dict[str, Callable[[bytes], int]] = {
    "audiosocket": audiosocket_target,
    "agi": agi_target,
    "rtp": rtp_target,
    "websocket": websocket_target,
    "ari": ari_target,
    "http": http_target,
    "config": config_target,
    "record": record_target,
}
