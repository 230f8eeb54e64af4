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
from typing import Protocol, cast

from asterisk_ai.audio.formats import SAMPLE_BYTES, frame_bytes
from asterisk_ai.audio.playout import PlayoutBuffer
from asterisk_ai.errors import CallRefused, RemoteProtocolError
from asterisk_ai.protocol import audiosocket
from asterisk_ai.transport.clock import PlayoutClock
from asterisk_ai.transport.listener import bound_port, listen

logger = logging.getLogger(__name__)

LEARN_RATE_SECONDS = 0.2
"""How long a call of unknown rate may wait for the caller's first audio: some releases starve a server that waits."""
HIGH_WATER_SECONDS = 2.0
"""Audio that a synthesiser may run ahead of the line before it has to wait."""
RARELY_FRAMES = 5
"""Where nobody waits for them: a read for each is a seventh of what a call costs that only plays."""
STALL_SECONDS = 5.0
"""A peer that takes no audio for this long is gone."""
_SECOND_TICKS = 50
_IDLE_CHECKS = 4
"""In ``idle_seconds``."""


class MediaHandler(Protocol):
    """What a connection needs of the call it belongs to. All methods are called on the loop and must not block."""

    rate: int
    """The call's sample rate in Hz; 0: take the one of the caller's first audio."""

    def on_begin(self, rate: int) -> None:
        """Audio flows from now on, at ``rate`` Hz both ways."""

    def on_audio(self, pcm: bytes) -> None:
        """The caller's audio, normally 20 ms of it."""

    def on_digit(self, digit: str) -> None: ...

    def on_closed(self, reason: str) -> None:
        """The connection is gone, for good. Called once, whatever ended it."""


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


class AudioSocketConnection(asyncio.Protocol):
    """One connection: bytes in to the handler, frames out by the clock.

    Reading never stops, whatever the handler does: Asterisk drops the call on
    one short write.

    What happens 50 times a second, :meth:`data_received` and :meth:`tick`,
    spells out what it could call: without that, a thousand calls that play
    cost a tenth more.
    """

    def __init__(self, server: AudioSocketServer) -> None:
        # What each frame needs comes first: attributes lie in this order, and a thousand calls' come from memory.
        self._quiet_checks = 0  # since the last bytes came
        self._hear: Callable[[bytes], None] | None = None  # the handler's on_audio where the next may be a whole frame
        self._sent_now = False
        # What send_now leaves to one write where a read has several frames: with a write for each, a thousand
        # echoes never got rid of the backlog of a standstill of 100 ms.
        self._held: list[bytes] | None = None
        self._behind = False  # the transport holds what the socket did not take
        self._buffer = PlayoutBuffer(frame_bytes(8000))
        self._silent = True  # the last frame was none of speech
        self._idle_message = b""
        self._fd = -1
        self._paused = False
        self._header = b""
        self._server = server
        self._reader = audiosocket.Reader()
        self._handler: MediaHandler | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._playing = False
        self._first_frame: Callable[[], None] | None = None
        self._high_water = self._stalled_ticks = 0
        self._wake_level = 0
        self._wakers: list[asyncio.Future[None]] = []
        self._reason = ""
        self.rate = 8000
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
        self.rate = rate
        size = frame_bytes(rate)
        self._buffer = PlayoutBuffer(size)
        self._header = audiosocket.audio_header(rate, size)
        self._idle_message = _message(self._header, self._buffer.silence)
        self._high_water = int(HIGH_WATER_SECONDS * rate) * SAMPLE_BYTES
        self._playing = True
        self._server.clock.add(self)
        self._check_idle()
        self._handler.on_begin(rate)

    # ---- out -----------------------------------------------------------------

    def tick(self) -> None:
        """Send one frame; silence where nothing waits. Called by the clock."""
        if self._sent_now:
            self._sent_now = False
            return
        if self._behind and self._stalled():
            return
        pcm = self._buffer.take() if self._buffer.queued and not self._paused else None
        if pcm is not None:
            self._speak(pcm)
            if self._wakers and self._buffer.queued <= self._wake_level:
                self._wake()
            return
        self._silent = True
        message = self._idle_message
        try:
            sent = os.write(self._fd, message)
        except OSError as error:
            self._unsent(message, error)
        else:
            if sent != len(message):
                self._unsent(message[sent:])

    def _speak(self, pcm: bytes) -> None:
        self._silent = False
        self._write(self._header + pcm)
        if self._first_frame is not None:
            call, self._first_frame = self._first_frame, None
            call()

    def _begin_speech(self) -> None:
        """Send the first frame of speech ahead of its turn, which is then left out.

        It is up to 20 ms sooner on the wire, and the call keeps its grid: one
        frame in each 20 ms, none of them late. A peer that plays on a grid of
        its own has one frame in hand for so long.
        """
        if self._sent_now or self._paused or self._fd < 0 or (self._behind and self._stalled()):
            return
        pcm = self._buffer.take()
        if pcm is not None:
            self._sent_now = True
            self._speak(pcm)

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
        self._sent_now = True
        header = self._header if len(pcm) == self._buffer.frame else audiosocket.audio_header(self.rate, len(pcm))
        if self._held is None:
            self._write(header + pcm)
        else:
            self._held.append(header + pcm)

    def play_when_idle(self, frame: bytes) -> None:
        """Send ``frame`` (20 ms at :attr:`rate`) instead of silence while nothing is queued."""
        self._idle_message = _message(self._header, frame)

    def hear_rarely(self) -> None:
        """Nobody waits for the caller's audio: take :data:`RARELY_FRAMES` frames of it at a time; the end at once."""
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, RARELY_FRAMES * len(self._idle_message))

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

    async def send(self, pcm: bytes) -> None:
        """Queue ``pcm`` (at :attr:`rate`) for the line; waits while much is queued.

        Cancelling leaves what was queued in place; returns at once when the connection is gone.
        """
        begins = self._silent and not self._buffer.queued and len(pcm) >= self._buffer.frame
        self._buffer.push(pcm)
        if begins:
            self._begin_speech()
        while self._buffer.queued > self._high_water and self._fd >= 0:
            await self._woken(self._high_water)

    async def drained(self) -> None:
        """Wait until everything queued has been sent, or the connection is gone."""
        while (self._buffer.queued or self._paused) and self._fd >= 0:
            await self._woken(0)

    def pause(self) -> None:
        """Send silence from the next frame on, and keep what is queued."""
        self._paused = True

    def resume(self) -> None:
        """Go on with what is queued."""
        self._paused = False
        self._wake()

    def on_first_frame(self, call: Callable[[], None]) -> None:
        """Call once, when the next queued audio has been sent; :meth:`clear` forgets it."""
        self._first_frame = call

    async def _woken(self, level: int) -> None:
        """Wait until no more than ``level`` bytes are queued: a task switch a frame would cost more than the frame."""
        self._wake_level = max(self._wake_level, level)
        waker = asyncio.get_running_loop().create_future()
        self._wakers.append(waker)
        await waker

    def _wake(self) -> None:
        wakers, self._wakers, self._wake_level = self._wakers, [], 0
        for waker in wakers:
            if not waker.done():
                waker.set_result(None)

    def clear(self) -> None:
        """Drop all that is queued, now: the next frame is silence. A pause is over."""
        self._paused = False
        self._first_frame = None
        self._buffer.clear()
        self._wake()

    @property
    def played(self) -> int:
        """Samples of queued audio that were sent since the beginning."""
        return self._buffer.played // SAMPLE_BYTES

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
        self._server.clock.remove(self)
        self._wake()

    def _finish(self, reason: str) -> None:
        self._stop_playing()
        self._buffer.clear()  # seconds of speech, which an ended call would keep for as long as it is referred to
        self._first_frame = None
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
