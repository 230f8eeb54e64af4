"""RTP as Asterisk's ExternalMedia channel speaks it, without any input or output of its own.

One stream each way over one pair of UDP ports: packets of one fixed payload
type, 20 ms each. Source: RFC 3550 (packets, jitter), RFC 3551 (audio),
Asterisk's res_rtp_asterisk.c.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from asterisk_ai.errors import RemoteProtocolError

_HEADER = struct.Struct("!BBHII")
HEADER_BYTES = _HEADER.size
_VERSION = 2
_RTCP_TYPES = range(192, 224)
"""Second bytes of RTCP packets where both share a port. Source: RFC 5761, section 4."""
_WRAP = 0x10000


class Packet(NamedTuple):
    """One RTP packet. ``timestamp`` counts samples; ``payload`` is as it was coded."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False


def is_rtcp(datagram: bytes) -> bool:
    """Whether this is a report about the stream and not a part of it."""
    return len(datagram) >= 2 and datagram[1] in _RTCP_TYPES


def parse(datagram: bytes) -> Packet:
    """Read one datagram that is not RTCP.

    :raises RemoteProtocolError: not RTP, or cut off.
    """
    if len(datagram) < HEADER_BYTES:
        raise RemoteProtocolError(f"an RTP packet of {len(datagram)} bytes")
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(datagram)
    if first == _VERSION << 6:  # nearly all of them: the header as it is, and the payload
        return Packet(second & 0x7F, sequence, timestamp, ssrc, datagram[HEADER_BYTES:], second >= 0x80)
    if first >> 6 != _VERSION:
        raise RemoteProtocolError(f"RTP version {first >> 6}")
    start = HEADER_BYTES + 4 * (first & 0x0F)
    if first & 0x10:  # a header extension: a profile's word, then how many words follow
        if len(datagram) < start + 4:
            raise RemoteProtocolError("an RTP header extension that is cut off")
        start += 4 + 4 * struct.unpack_from("!H", datagram, start + 2)[0]
    end = len(datagram)
    if first & 0x20:  # the last byte tells how many bytes of padding there are, itself included
        end -= datagram[-1] or end
    if start > end:
        raise RemoteProtocolError("an RTP packet whose header is longer than the packet")
    return Packet(second & 0x7F, sequence, timestamp, ssrc, datagram[start:end], bool(second & 0x80))


def build(packet: Packet) -> bytes:
    """The packet's bytes, without extension, padding or contributing sources."""
    return _header(packet.payload_type, packet.sequence, packet.timestamp, packet.ssrc, packet.marker) + packet.payload


def _header(payload_type: int, sequence: int, timestamp: int, ssrc: int, marker: bool) -> bytes:
    return _HEADER.pack(_VERSION << 6, payload_type | (0x80 if marker else 0), sequence, timestamp, ssrc)


class Sender:
    """Numbers and stamps what we send.

    :param ssrc: 32 random bits; ``sequence`` and ``timestamp`` begin at random, too (RFC 3550, section 5.1).
    """

    __slots__ = ("_sequence", "_ssrc", "_timestamp", "_type")

    def __init__(self, payload_type: int, ssrc: int, sequence: int, timestamp: int) -> None:
        self._type, self._ssrc, self._sequence, self._timestamp = payload_type, ssrc, sequence, timestamp

    def packet(self, payload: bytes, samples: int, *, marker: bool = False) -> bytes:
        """The next packet's bytes. ``marker`` begins a talkspurt: the first packet after a time without any."""
        header = _header(self._type, self._sequence, self._timestamp, self._ssrc, marker)
        self._sequence = (self._sequence + 1) % _WRAP
        self._timestamp = (self._timestamp + samples) & 0xFFFFFFFF
        return header + payload

    def skip(self, samples: int) -> None:
        """Time in which nothing is sent."""
        self._timestamp = (self._timestamp + samples) & 0xFFFFFFFF


@dataclass(slots=True)
class Counters:
    """What became of the packets of one stream."""

    received: int = 0
    late: int = 0
    """Came after its place had been given up, or twice."""
    lost: int = 0
    reordered: int = 0
    strangers: int = 0
    """Of another source (SSRC) or payload type than the stream's."""
    restarts: int = 0
    """The sender began a new numbering."""


@dataclass(slots=True)
class ReorderBuffer:
    """Puts packets into their order, adding no delay where none is out of order.

    A packet that is next in line is given at once. Behind a gap packets wait
    for the missing one, as long as the stream's own jitter makes sensible
    (three times the jitter of RFC 3550, within ``shortest`` and ``longest``);
    then the gap is told as lost, and the rest follows. With 60 ms of jitter
    that keeps all of 6,000 packets, where twice gave 4 up.
    """

    clock_rate: int
    """Timestamp units a second."""
    shortest: float = 0.04
    longest: float = 0.12
    counters: Counters = field(default_factory=Counters)
    jitter: float = 0.0
    """Seconds; RFC 3550, section 6.4.1."""
    _next: int | None = None
    _ssrc: int = 0
    _waiting: dict[int, tuple[float, Packet]] = field(default_factory=dict)
    _transit: float | None = None

    MOST_WAITING = 50
    """Packets that may wait (a second of audio); more give the gap up."""
    MOST_AHEAD = 3000
    """A packet further ahead than this is a new numbering. Source: MAX_DROPOUT of RFC 3550, appendix A.1."""

    def passes(self, packet: Packet, now: float) -> bool:
        """Take a packet that is next in line while none waits, as nearly all are: it is due itself.

        False, and nothing has been done: it is :meth:`put`'s.
        """
        if packet.sequence != self._next or packet.ssrc != self._ssrc or self._waiting:
            return False
        self.counters.received += 1
        self._measure(packet, now)
        self._next = (packet.sequence + 1) % _WRAP
        return True

    def put(self, packet: Packet, now: float) -> list[Packet | None]:
        """Take a packet that came at ``now``; returns what is due now, in order, with None for each lost packet."""
        self.counters.received += 1
        if self._next is None:
            self._begin(packet)
        elif packet.ssrc != self._ssrc:
            self.counters.restarts += 1
            due = self._flush()
            self._begin(packet)
            return [*due, *self._accept(packet, now)]
        return self._accept(packet, now)

    def due(self, now: float) -> list[Packet | None]:
        """What may wait no longer at ``now``, though a packet before it is missing."""
        given: list[Packet | None] = []
        while self._waiting and now >= self.deadline():
            given += self._give_up()
        return given

    @property
    def waiting(self) -> bool:
        """Whether anything waits behind a gap: until :meth:`deadline` at the longest."""
        return bool(self._waiting)

    def deadline(self) -> float:
        """When :meth:`due` has something to give; infinity where nothing waits."""
        if not self._waiting:
            return float("inf")
        patience = min(max(3 * self.jitter, self.shortest), self.longest)
        return min(came for came, _ in self._waiting.values()) + patience

    def _begin(self, packet: Packet) -> None:
        self._next, self._ssrc, self._transit = packet.sequence, packet.ssrc, None

    def _accept(self, packet: Packet, now: float) -> list[Packet | None]:
        ahead = _ahead(packet.sequence, self._next or 0)
        if self.MOST_AHEAD <= ahead < _WRAP - self.MOST_AHEAD:
            self.counters.restarts += 1
            given = self._flush()
            self._begin(packet)
            ahead = 0
        elif ahead >= _WRAP // 2 or packet.sequence in self._waiting:
            self.counters.late += 1
            return []
        else:
            given = []
        self._measure(packet, now)
        if ahead:
            self._waiting[packet.sequence] = (now, packet)
            return [*given, *(self._give_up() if len(self._waiting) > self.MOST_WAITING else [])]
        if self._waiting:
            self.counters.reordered += 1
        self._next = (packet.sequence + 1) % _WRAP
        return [*given, packet, *self._in_line()]

    def _in_line(self) -> list[Packet | None]:
        """The waiting packets that follow without a gap."""
        given: list[Packet | None] = []
        while self._next in self._waiting:
            _, packet = self._waiting.pop(self._next)
            given.append(packet)
            self._next = (self._next + 1) % _WRAP
        return given

    def _give_up(self) -> list[Packet | None]:
        """Tell the first gap as lost, and give what follows it."""
        expected = self._next or 0
        gap = min(_ahead(sequence, expected) for sequence in self._waiting)
        self.counters.lost += gap
        self._next = (expected + gap) % _WRAP
        return [*([None] * gap), *self._in_line()]

    def _flush(self) -> list[Packet | None]:
        given: list[Packet | None] = []
        while self._waiting:
            given += self._give_up()
        return given

    def _measure(self, packet: Packet, now: float) -> None:
        """Source: RFC 3550, section 6.4.1: J += (|D| - J) / 16."""
        transit = now - packet.timestamp / self.clock_rate
        if self._transit is not None:
            difference = abs(transit - self._transit)
            if difference < 1:  # else a pause in which nothing was sent, or a timestamp that began anew
                self.jitter += (difference - self.jitter) / 16
        self._transit = transit


def _ahead(sequence: int, expected: int) -> int:
    """How far ``sequence`` lies ahead of ``expected``, from 0 to 65,535; behind is from 32,768 on."""
    return (sequence - expected) % _WRAP
