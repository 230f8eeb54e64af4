"""The AudioSocket server: one TCP connection a call, Asterisk is the client."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from asterisk_ai.errors import CallRefused, RemoteProtocolError
from asterisk_ai.protocol import audiosocket
from asterisk_ai.transport.clock import PlayoutClock
from asterisk_ai.transport.listener import bound_port, listen
from asterisk_ai.transport.media import MediaHandler
from asterisk_ai.transport.playout import Playout

logger = logging.getLogger(__name__)

LEARN_RATE_SECONDS = 0.2
"""How long a call of unknown rate may wait for the caller's first audio: some releases starve a server that waits."""
RARELY_FRAMES = 5
"""Where nobody waits for them: a read for each is a seventh of what a call costs that only plays."""
STALL_SECONDS = 5.0
"""A peer that takes no audio for this long is gone."""
_SECOND_TICKS = 50
_IDLE_CHECKS = 4
"""In ``idle_seconds``."""


@dataclass(slots=True)
class AudioSocketCounters:
    """Since the start of the server."""

    connections: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    """By reason: FULL, TIMEOUT, PROTOCOL, UNKNOWN, BUSY, ..."""
    frames_dropped: int = 0
    """Frames not sent because the peer did not take the ones before."""
    unknown_messages: int = 0

    def refuse(self, reason: str) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1


@functools.cache
def _message(header: bytes, pcm: bytes) -> bytes:
    """What is sent while nothing is said, once for all calls: a copy for each of a thousand crowds the CPU's cache."""
    return header + pcm


class AudioSocketConnection(Playout, asyncio.Protocol):
    """One connection: bytes in to the handler, frames out by the clock.

    Reading never stops, whatever the handler does: Asterisk drops the call on
    one short write.

    What happens 50 times a second, :meth:`data_received` and :meth:`tick`,
    spells out what it could call: without that, a thousand calls that play
    cost a tenth more.
    """

    def __init__(self, server: AudioSocketServer) -> None:
        super().__init__(8000)
        self._quiet_checks = 0  # since the last bytes came
        self._hear: Callable[[bytes], None] | None = None  # the handler's on_audio where the next may be a whole frame
        # What send_now leaves to one write where a read has several frames: with a write for each, a thousand
        # echoes never got rid of the backlog of a standstill of 100 ms.
        self._held: list[bytes] | None = None
        self._silence = b""  # the message
        self._fd = -1
        self._header = b""
        self._server = server
        self._reader = audiosocket.Reader()
        self._handler: MediaHandler | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._playing = False
        self._stalled_ticks = 0
        self._reason = ""
        self.call_id = ""

    # ---- asyncio.Protocol ------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if not self._server.admit(self):
            self._refuse("FULL")
            return
        self._fd = self._transport.get_extra_info("socket").fileno()
        self._timer = asyncio.get_running_loop().call_later(self._server.handshake_seconds, self._refuse, "TIMEOUT")

    def data_received(self, data: bytes) -> None:
        self._quiet_checks = 0
        if (
            self._hear is not None
            and len(data) == audiosocket.FRAME_MESSAGE
            and data.startswith(audiosocket.FRAME_HEADER)
        ):
            self._hear(data[audiosocket.HEADER_BYTES :])
            return
        self._held = []
        if self._hear is not None and (frames := self._reader.frames(data)):
            self._hear_all(frames)
        else:
            self._receive(data)
        held, self._held = self._held, None
        if held and self._fd >= 0:
            self._write(b"".join(held))

    def _hear_all(self, frames: list[bytes]) -> None:
        for pcm in frames:
            if self._hear is not None:  # it may end the call
                self._hear(pcm)

    def _receive(self, data: bytes) -> None:
        self._hear = None
        try:
            events = self._reader.receive(data)
        except RemoteProtocolError as error:
            self._refuse("PROTOCOL", str(error))
            return
        for event in events:
            # The order of the cases is that of how often they come.
            if isinstance(event, audiosocket.Audio):
                self._audio(event)
            elif isinstance(event, audiosocket.CallId):
                self._greeted(event.uuid)
            elif self._handler is None:
                return
            elif isinstance(event, audiosocket.Digit):
                self._handler.on_digit(event.digit)
            elif isinstance(event, audiosocket.Hangup | audiosocket.PeerError):
                self.abort("hangup" if isinstance(event, audiosocket.Hangup) else "Asterisk reported an error")
            else:
                self._server.counters.unknown_messages += 1
        if self._reader.error is not None:
            self._refuse("PROTOCOL", str(self._reader.error))
        elif self._reader.between and self._playing and self.rate == 8000 and self._handler is not None:
            self._hear = self._handler.on_audio

    def eof_received(self) -> bool:
        return False  # close: an AudioSocket has no half-open state

    def connection_lost(self, error: Exception | None) -> None:
        self._finish(self._reason or (f"lost: {error}" if error else "hangup"))

    # ---- in ----------------------------------------------------------------

    def _greeted(self, call_id: uuid.UUID) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.call_id = str(call_id)
        try:
            self._handler = self._server.accept(self.call_id, self)
        except CallRefused as refused:
            self._refuse(refused.reason, str(refused))
            return
        if self._handler.rate:
            self._begin(self._handler.rate)
        else:
            self._timer = asyncio.get_running_loop().call_later(LEARN_RATE_SECONDS, self._begin, 8000)

    def _audio(self, event: audiosocket.Audio) -> None:
        handler = self._handler
        if handler is None:
            return
        if not self._playing:
            self._begin(event.rate)
        if event.rate != self.rate:
            # We may only send the kind that was negotiated, so there is no way on from here.
            self.abort(
                f"Asterisk sends {event.rate} Hz but the call was registered with {self.rate} Hz: "
                f"add rate={event.rate} to call/start"
            )
            return
        handler.on_audio(event.pcm)

    def _begin(self, rate: int) -> None:
        if self._handler is None or self._playing or self._fd < 0:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._begin_playout(rate)
        self._header = audiosocket.audio_header(rate, self._frame)
        self._silence = _message(self._header, bytes(self._frame))
        self._playing = True
        self._server.clock.add(self.tick)
        self._check_idle()
        self._handler.on_begin(rate)

    # ---- out -----------------------------------------------------------------

    def _transmit(self, pcm: bytes) -> None:
        self._write(self._header + pcm)

    def _transmit_silence(self) -> None:
        self._write(self._silence)

    def _write(self, message: bytes) -> None:
        try:
            # Past the transport, in one write: half the cost of transport.write, and no buffer of its own.
            sent = os.write(self._fd, message)
        except OSError as error:
            self._unsent(message, error)
        else:
            if sent != len(message):
                self._unsent(message[sent:])

    def _unsent(self, rest: bytes, error: OSError | None = None) -> None:
        """Leave to the transport what the socket did not take; of an error that lasts, the reader is told next."""
        if self._transport is not None and (error is None or isinstance(error, BlockingIOError)):
            self._behind = True
            self._transport.write(rest)

    def send_now(self, pcm: bytes) -> None:
        """Send ``pcm`` past the buffer and the clock, which skips its next frame. Dropped where the peer is behind."""
        if self._fd < 0 or (self._behind and self._stalled()):
            return
        self._ahead = True
        header = self._header if len(pcm) == self._frame else audiosocket.audio_header(self.rate, len(pcm))
        if self._held is None:
            self._write(header + pcm)
        else:
            self._held.append(header + pcm)

    def play_when_idle(self, frame: bytes) -> None:
        """Send ``frame`` (20 ms at :attr:`rate`) instead of silence while nothing is queued."""
        self._silence = _message(self._header, frame)

    def hear_rarely(self) -> None:
        """Nobody waits for the caller's audio: take :data:`RARELY_FRAMES` frames of it at a time; the end at once."""
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, RARELY_FRAMES * len(self._silence))

    def _check_idle(self) -> None:
        self._quiet_checks += 1
        if self._quiet_checks > _IDLE_CHECKS + 1:
            self.abort("nothing was received for too long")
            return
        seconds = self._server.idle_seconds / _IDLE_CHECKS
        self._timer = asyncio.get_running_loop().call_later(seconds, self._check_idle)

    def _stalled(self) -> bool:
        """Whether the peer has still not taken what was sent before; then this frame is dropped."""
        if self._transport is not None and not self._transport.get_write_buffer_size():
            self._behind, self._stalled_ticks = False, 0
            return False
        self._server.counters.frames_dropped += 1
        self._stalled_ticks += 1
        if self._stalled_ticks >= STALL_SECONDS * _SECOND_TICKS:
            self.abort("Asterisk takes no audio")
        return True

    # ---- the end ---------------------------------------------------------------

    def hang_up(self) -> None:
        """Tell Asterisk that we are done with the call, and close."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(audiosocket.HANGUP_MESSAGE)
            self._close("ended by us", abort=False)
            # A peer that takes nothing would keep the unsent message, and with it the call, for ever.
            self._timer = asyncio.get_running_loop().call_later(STALL_SECONDS, self._transport.abort)

    def abort(self, reason: str) -> None:
        """Close at once; ``reason`` reaches the handler."""
        self._close(reason, abort=True)

    def _refuse(self, reason: str, detail: str = "") -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._server.counters.refuse(reason)
        logger.warning("AudioSocket connection from %s refused: %s", self._peer(), detail or reason)
        self.abort(detail or reason)

    def _peer(self) -> str:
        peer = self._transport.get_extra_info("peername") if self._transport is not None else None
        return f"{peer[0]}:{peer[1]}" if peer else "?"

    def _close(self, reason: str, *, abort: bool) -> None:
        self._reason = self._reason or reason
        self._stop_playing()
        if self._transport is not None:
            # close(), not abort(): a reset would throw away the hang-up message that is still under way.
            if abort:
                self._transport.abort()
            else:
                self._transport.close()

    def _stop_playing(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # The descriptor's number may be another call's in a moment: nothing may be written to it any more.
        self._fd = -1
        self._playing = False
        self._hear = None
        self._server.clock.remove(self.tick)
        self._end_playout()

    def _finish(self, reason: str) -> None:
        self._stop_playing()
        self._transport = None
        self._server.forget(self)
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.on_closed(reason)


Accept = Callable[[str, AudioSocketConnection], MediaHandler]
"""Takes a UUID and its connection; raises CallRefused to refuse it."""


class AudioSocketServer:
    """Listens for Asterisk's connections and hands each to the call that its UUID names."""

    def __init__(
        self,
        accept: Accept,
        clock: PlayoutClock,
        *,
        handshake_seconds: float = 5.0,
        idle_seconds: float = 120.0,
        max_connections: int = 200,
    ) -> None:
        self.accept = accept
        self.clock = clock
        self.handshake_seconds = handshake_seconds
        self.idle_seconds = idle_seconds
        self.max_connections = max_connections
        self.counters = AudioSocketCounters()
        self._connections: set[AudioSocketConnection] = set()
        self._listeners: list[asyncio.Server] = []
        self._stopped = False

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the bound port. Raises OSError."""
        serve = functools.partial(asyncio.get_running_loop().create_server, lambda: AudioSocketConnection(self))
        self._listeners = await listen(serve, host, port)
        return bound_port(self._listeners)

    def stop_listening(self) -> None:
        """Take no new connections; those there are go on."""
        for listener in self._listeners:
            listener.close()

    async def stop(self) -> None:
        """Close everything."""
        self.stop_listening()
        self._stopped = True
        for connection in tuple(self._connections):
            connection.abort("the server stops")
        for listener in self._listeners:
            await listener.wait_closed()
        self._listeners.clear()
        self.clock.close()

    def admit(self, connection: AudioSocketConnection) -> bool:
        """Count a new connection; False where there are too many, or it was accepted as the server stopped."""
        self.counters.connections += 1
        if self._stopped or len(self._connections) >= self.max_connections:
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: AudioSocketConnection) -> None:
        self._connections.discard(connection)

    def __len__(self) -> int:
        return len(self._connections)
