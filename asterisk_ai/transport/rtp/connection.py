"""One call's audio over RTP: Asterisk's ExternalMedia channel is the peer."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from asterisk_ai.audio.formats import PTIME_MS
from asterisk_ai.errors import RemoteProtocolError
from asterisk_ai.protocol import rtp
from asterisk_ai.transport.clock import PlayoutClock
from asterisk_ai.transport.media import MediaHandler
from asterisk_ai.transport.playout import Playout
from asterisk_ai.transport.rtp.formats import Format

logger = logging.getLogger(__name__)

MOST_CONCEALED = 50
"""Lost packets that are filled with silence at a time (a second); a longer gap is a pause in which nothing was sent."""


@dataclass(slots=True)
class RtpCounters:
    """Of all calls since the start of the server."""

    calls: int = 0
    damaged: int = 0
    """Datagrams that are no RTP."""
    strangers: int = 0
    """Datagrams from another address than the call's, or of another payload type."""
    lost: int = 0
    late: int = 0
    reordered: int = 0
    frames_dropped: int = 0
    """Frames not sent because the socket did not take them."""


class RtpConnection(Playout, asyncio.DatagramProtocol):
    """Datagrams in to the handler, in their order; frames out by the clock, from the beginning on.

    The first sender's address is kept, and nobody else is heard from then on.
    A lost packet is silence of its length to the handler, so that time stays
    what it was. RTP has no end of its own: whoever controls the call says it.
    """

    def __init__(
        self,
        sock: socket.socket,
        address: str,
        sound_format: Format,
        clock: PlayoutClock,
        *,
        counters: RtpCounters,
        accept: Callable[[str, RtpConnection], MediaHandler],
    ) -> None:
        super().__init__(sound_format.rate)
        self._types, self._clock, self._accept = sound_format.payload_types, clock, accept
        self._counters = counters
        self._coder = sound_format.coder()
        self._order = rtp.ReorderBuffer(sound_format.clock_rate)
        self._sender = rtp.Sender(
            sound_format.payload_types[0], secrets.randbits(32), secrets.randbits(16), secrets.randbits(32)
        )
        self._silence = b"" if self._coder.remembers else self._coder.encode(bytes(self._frame))
        self._stamps = sound_format.clock_rate * PTIME_MS // 1000  # a frame
        self._call_id = ""
        self._source: tuple[str, int] | None = None
        self._handler: MediaHandler | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self._socket: socket.socket | None = sock
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None  # while packets wait behind a gap
        self._flows = False
        self._closed = self._loop.create_future()
        self.address = address
        """host:port that Asterisk is to send to."""

    # ---- asyncio.DatagramProtocol ------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
        if rtp.is_rtcp(data):
            return
        try:
            packet = rtp.parse(data)
        except RemoteProtocolError:
            self._counters.damaged += 1
            return
        if packet.payload_type not in self._types or (source != self._source and not self._learned(source)):
            self._counters.strangers += 1
            return
        if not self._flows and self._handler is not None:
            self._flows = True
            logger.info("RTP audio comes from %s:%d", *source[:2], extra={"call_id": self._call_id})
        now = self._loop.time()
        if self._order.passes(packet, now):  # nearly all of them do
            if self._handler is not None and (pcm := self._coder.decode(packet.payload)):
                self._handler.on_audio(pcm)
            return
        self._give(self._order.put(packet, now))
        if self._order.waiting and self._timer is None:
            self._wait()

    def _learned(self, source: tuple[str, int]) -> bool:
        """Whether it is the call's: the first one is, where none was told."""
        if self._source is None:
            self._source = source[:2]
        return self._source == source[:2]  # IPv6 tells more of an address

    def error_received(self, error: Exception) -> None:
        """An ICMP message: the channel is about to go, or not there yet. ARI tells which."""

    def connection_lost(self, error: Exception | None) -> None:
        self.close(f"lost: {error}" if error else "ended")

    # ---- in ------------------------------------------------------------------------

    def lock(self, source: tuple[str, int]) -> None:
        """Take audio from nobody else. An address that stands for all of a host's is no address to compare with."""
        if source[0] not in ("0.0.0.0", "::"):
            self._source = source

    def begin(self, call_id: str) -> None:
        """Give the audio to the call of that id.

        :raises CallRefused: it is not there, or has a connection already.
        """
        if self._ended:
            return
        self._call_id = call_id
        self._handler = self._accept(call_id, self)
        self._counters.calls += 1
        self._clock.add(self.tick)
        self._handler.on_begin(self.rate)

    def digit(self, digit: str) -> None:
        if self._handler is not None:
            self._handler.on_digit(digit)

    def _wait(self) -> None:
        """For what lacks, as long as it is worth it, though nothing may come any more."""
        self._timer = self._loop.call_at(self._order.deadline(), self._overdue)

    def _overdue(self) -> None:
        self._timer = None
        self._give(self._order.due(self._loop.time()))
        if self._order.waiting and not self._closed.done():
            self._wait()

    def _give(self, packets: list[rtp.Packet | None]) -> None:
        concealed = 0
        for packet in packets:
            if self._handler is None:
                return
            if packet is not None:
                if pcm := self._coder.decode(packet.payload):
                    self._handler.on_audio(pcm)
            elif (concealed := concealed + 1) <= MOST_CONCEALED:
                self._handler.on_audio(bytes(self._frame))

    # ---- out -----------------------------------------------------------------------

    def _transmit(self, pcm: bytes) -> None:
        self._send(self._coder.encode(pcm))

    def _transmit_silence(self) -> None:
        self._send(self._silence or self._coder.encode(bytes(self._frame)))

    def _send(self, payload: bytes) -> None:
        if self._source is None or self._socket is None:
            self._sender.skip(self._stamps)
            return
        packet = self._sender.packet(payload, self._stamps)
        try:
            self._socket.sendto(packet, self._source)
        except OSError:  # no room in the socket's buffer, or the channel is about to go: the frame's time is over
            self._counters.frames_dropped += 1

    # ---- the end -------------------------------------------------------------------

    def hang_up(self) -> None:
        """We are done with the call."""
        self.close("ended by us")

    def close(self, reason: str) -> None:
        """End, once; ``reason`` reaches the handler."""
        if self._closed.done():
            return
        self._closed.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
        self._tell_skipped(self._clock.remove(self.tick), self._call_id)
        self._end_playout()
        self._socket = None
        if self._transport is not None:
            self._transport.close()
        counted = self._order.counters
        self._counters.lost += counted.lost
        self._counters.late += counted.late
        self._counters.reordered += counted.reordered
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.on_closed(reason)

    async def closed(self) -> None:
        """Wait for the end, whoever it came from."""
        await asyncio.shield(self._closed)
