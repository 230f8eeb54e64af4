"""AudioSocket as Asterisk speaks it, without any input or output of its own.

A message is a kind (1 byte), a payload length (2 bytes, big-endian) and the
payload. Asterisk is the client; what it may send and what a server may send
differ. Source: Asterisk's res_audiosocket.c, app_audiosocket.c and
chan_audiosocket.c, releases 18 to 23.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from asterisk_ai.errors import LocalProtocolError, RemoteProtocolError

KIND_HANGUP = 0x00
KIND_UUID = 0x01
KIND_DTMF = 0x03
KIND_ERROR = 0xFF
KIND_BY_RATE = {
    8000: 0x10,
    12000: 0x11,
    16000: 0x12,
    24000: 0x13,
    32000: 0x14,
    44100: 0x15,
    48000: 0x16,
    96000: 0x17,
    192000: 0x18,
}
"""Audio kinds by sample rate in Hz. Those above 8 kHz: from 20.17, 21.12, 22.7, 23.1, in the channel driver only."""
RATE_BY_KIND = {kind: rate for rate, kind in KIND_BY_RATE.items()}

HEADER_BYTES = 3
MAX_PAYLOAD = 0xFFFF
HANGUP_MESSAGE = bytes((KIND_HANGUP, 0, 0))
FRAME_HEADER = bytes((KIND_BY_RATE[8000], 320 >> 8, 320 & 0xFF))
FRAME_MESSAGE = HEADER_BYTES + 320
"""Bytes of 20 ms of 8 kHz audio with their header, :data:`FRAME_HEADER`."""
_DTMF_DIGITS = frozenset(b"0123456789ABCDabcd*#")


@dataclass(frozen=True, slots=True)
class CallId:
    """The first message of every connection."""

    uuid: uuid.UUID


@dataclass(frozen=True, slots=True)
class Audio:
    """Signed 16-bit little-endian mono PCM; ``pcm`` is never empty and holds whole samples."""

    rate: int
    pcm: bytes


@dataclass(frozen=True, slots=True)
class BadAudio:
    """Audio of no samples, or of half a one; to be counted and otherwise ignored.

    Asterisk's jitter buffer makes frames without data where it interpolates, and these are sent as they are.
    Source: res_audiosocket.c, ast_audiosocket_send_frame.
    """

    length: int


@dataclass(frozen=True, slots=True)
class Digit:
    """One dialled digit (0-9, A-D, * or #), from 20.14, 21.9, 22.4 and 23.0."""

    digit: str


@dataclass(frozen=True, slots=True)
class Hangup:
    """The specification lets the client say it; no release was seen to (a caller's hang-up is EOF)."""


@dataclass(frozen=True, slots=True)
class PeerError:
    """Kind 0xFF; ``code`` is its payload, as it came."""

    code: bytes


@dataclass(frozen=True, slots=True)
class Unknown:
    """A kind of some later release, or a signal that is no digit; to be counted and otherwise ignored."""

    kind: int
    length: int


Event = CallId | Audio | BadAudio | Digit | Hangup | PeerError | Unknown


class Reader:
    """Turns the bytes of one connection into events.

    Any split of the bytes gives the same events, also where a fault follows
    them: it is shown as :attr:`error` at once and raised by the next
    :meth:`receive`, and by every later one. Holds at most one message (65,538
    bytes) beyond what it was just given.
    """

    __slots__ = ("_buffer", "_greeted", "between", "error")

    def __init__(self) -> None:
        self._buffer = b""
        self._greeted = False
        self.between = False
        """Greeted, and the next byte begins a message."""
        self.error: RemoteProtocolError | None = None
        """What the peer did wrong; None as long as it did nothing wrong."""

    def receive(self, data: bytes) -> list[Event]:
        """Take the next bytes off the wire; returns the events they complete.

        Raises RemoteProtocolError where there are none before the peer's fault.
        """
        if self.error is not None:
            raise self.error
        events: list[Event] = []
        self.between = False
        try:
            self._read(data, events)
        except RemoteProtocolError as error:
            self._buffer, self.error = b"", error
            if not events:
                raise
        else:
            self.between = self._greeted and not self._buffer
        return events

    def frames(self, data: bytes) -> list[bytes]:
        """The PCM, where ``data`` is whole 20 ms frames of 8 kHz audio and nothing else; else empty.

        What nearly all reads of a call are, without the cost of an event. Data for which this is empty
        goes to :meth:`receive`, which gives the same for either.
        """
        if not self.whole_frames(data):
            return []
        return [data[at + HEADER_BYTES : at + FRAME_MESSAGE] for at in range(0, len(data), FRAME_MESSAGE)]

    def whole_frames(self, data: bytes) -> bool:
        """Whether :meth:`frames` takes ``data`` for what it is for."""
        if len(data) == FRAME_MESSAGE:
            return self.between and data.startswith(FRAME_HEADER)
        count, rest = divmod(len(data), FRAME_MESSAGE)
        if rest or not self.between:
            return False
        return all(data[at::FRAME_MESSAGE].count(byte) == count for at, byte in enumerate(FRAME_HEADER))

    def _read(self, data: bytes, events: list[Event]) -> None:
        if self._buffer:
            data = self._buffer + data
        start, end = 0, len(data)
        while end - start >= HEADER_BYTES:
            kind = data[start]
            stop = start + HEADER_BYTES + (data[start + 1] << 8 | data[start + 2])
            if not self._greeted and (kind != KIND_UUID or stop - start != HEADER_BYTES + 16):
                # Judged by the header alone, so that a stranger cannot make us wait for 64 KiB.
                raise _fault("the first message must be a 16-byte UUID")
            if stop > end:
                break
            events.append(self._event(kind, data[start + HEADER_BYTES : stop]))
            start = stop
        self._buffer = data[start:]

    def _event(self, kind: int, payload: bytes) -> Event:
        rate = RATE_BY_KIND.get(kind)
        if rate is not None:
            if not payload or len(payload) % 2:
                return BadAudio(len(payload))
            return Audio(rate, payload)
        if kind == KIND_UUID:
            if self._greeted:
                raise _fault("a second UUID")
            self._greeted = True
            return CallId(uuid.UUID(bytes=payload))
        if kind == KIND_DTMF:
            if len(payload) != 1:
                raise _fault("DTMF payload is not one digit")
            if payload[0] not in _DTMF_DIGITS:
                # Asterisk's DTMF frames carry other signals too, such as "f" for a fax tone: no reason to lose a call.
                return Unknown(kind, 1)
            return Digit(payload.decode("ascii").upper())
        if kind == KIND_HANGUP:
            return Hangup()
        if kind == KIND_ERROR:
            return PeerError(payload)
        return Unknown(kind, len(payload))


def _fault(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"AudioSocket: {message}")


def audio_header(rate: int, length: int) -> bytes:
    """The header of an audio message of ``length`` payload bytes.

    Current releases drop the call on an empty or odd-length payload, so
    those raise :class:`~asterisk_ai.errors.LocalProtocolError`.
    """
    kind = KIND_BY_RATE.get(rate)
    if kind is None:
        raise LocalProtocolError(f"AudioSocket has no audio kind for {rate} Hz")
    if not 0 < length <= MAX_PAYLOAD or length % 2:
        raise LocalProtocolError(f"AudioSocket audio of {length} bytes would make Asterisk drop the call")
    return bytes((kind, length >> 8, length & 0xFF))


def audio_message(rate: int, pcm: bytes) -> bytes:
    """One whole audio message; header and payload must leave in one write."""
    return audio_header(rate, len(pcm)) + pcm


def uuid_message(call_id: uuid.UUID) -> bytes:
    """The client's first message, for simulated callers."""
    return bytes((KIND_UUID, 0, 16)) + call_id.bytes


def dtmf_message(digit: str) -> bytes:
    """A dialled digit, for simulated callers."""
    code = digit.encode("ascii", "replace")
    if len(code) != 1 or code[0] not in _DTMF_DIGITS:
        raise LocalProtocolError(f"{digit!r} is not a DTMF digit")
    return bytes((KIND_DTMF, 0, 1)) + code


def check_from_server(kind: int, payload: bytes, rate: int) -> None:
    """Raise RemoteProtocolError for a server's message that makes Asterisk drop the call."""
    if kind != KIND_BY_RATE[rate]:
        raise RemoteProtocolError(f"AudioSocket: the server sent kind 0x{kind:02x} in a call at {rate} Hz")
    if not payload or len(payload) % 2:
        raise RemoteProtocolError(f"AudioSocket: the server sent {len(payload)} bytes of audio")
