"""One call over AudioSocket: bytes in to its handler, frames out by the clock."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from asterisk_ai.audio.formats import PTIME_MS, frame_bytes
from asterisk_ai.errors import Refusal, RemoteProtocolError
from asterisk_ai.protocol import audiosocket
from asterisk_ai.transport.media import MediaHandler
from asterisk_ai.transport.playout import Playout

if TYPE_CHECKING:
    from asterisk_ai.transport.audiosocket.server import AudioSocketServer

logger = logging.getLogger(__name__)

DEFAULT_RATE = 8000
"""Hz of a call whose rate nobody has told: what ``AudioSocket()`` always uses."""
LEARN_RATE_SECONDS = 0.2
"""How long a call of unknown rate may wait for the caller's first audio: some releases starve a server that waits."""
AHEAD_SECONDS = 10.0
"""A peer that has sent so much more audio than time has passed is no telephone: one that sends as fast as it can would
take the processor from all other calls."""
STALL_SECONDS = 5.0
"""A peer that takes no audio for this long is gone."""
_KEEPALIVE_PROBES = 3


@functools.cache
def _silence(rate: int) -> bytes:
    """The message of a frame of silence, once for all calls: a copy for each of a thousand crowds the CPU's cache."""
    return audiosocket.audio_message(rate, bytes(frame_bytes(rate)))


class AudioSocketConnection(Playout, asyncio.Protocol):
    """One connection, from its UUID on.

    Reading never stops, whatever the handler does: Asterisk drops the call on
    one short write. Nothing ends because no audio comes: a muted or held
    telephone sends none. A hang-up is the end of the TCP connection.

    What happens 50 times a second, :meth:`data_received` and :meth:`_transmit`,
    spells out what it could call: without that, a thousand calls that play
    cost a tenth more.
    """

    def __init__(
        self, server: AudioSocketServer, transport: asyncio.Transport, reader: audiosocket.Reader, call_id: str
    ) -> None:
        """``reader`` has read ``call_id``; :meth:`start` begins."""
        super().__init__(DEFAULT_RATE)
        self._hear: Callable[[bytes], None] | None = None  # the handler's on_audio where the next may be a whole frame
        self._fd: int = transport.get_extra_info("socket").fileno()
        self._header = audiosocket.audio_header(DEFAULT_RATE, self._frame)
        self._idle = _silence(DEFAULT_RATE)  # what is sent while nothing is queued
        self._server = server
        self._reader = reader
        self._handler: MediaHandler | None = None
        self._transport: asyncio.Transport | None = transport
        self._timer: asyncio.TimerHandle | None = None
        self._playing = False
        self._stalled_since = 0.0
        self._dropped = 0
        self._reason = ""
        # Bytes that came several frames at a time: nobody is ahead of the time with one frame a read.
        self._bursts, self._allowed = 0, audiosocket.HEADER_BYTES
        self._started_at = time.monotonic()
        self.call_id = call_id

    def start(self, handler: MediaHandler, events: list[audiosocket.Event]) -> None:
        """``handler`` has the call; ``events`` have come with the UUID."""
        self._handler = handler
        self._keep_alive()
        if handler.rate:
            self._begin(handler.rate)
        else:
            self._timer = asyncio.get_running_loop().call_later(LEARN_RATE_SECONDS, self._begin, DEFAULT_RATE)
        self._take(events)

    def _keep_alive(self) -> None:
        """Have TCP find out that the peer's host is gone; the peer itself may have nothing to send for hours."""
        seconds = max(2.0, self._server.idle_seconds)
        self._set_option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            (socket.TCP_KEEPIDLE, max(1, int(seconds / 2))),
            (socket.TCP_KEEPINTVL, max(1, int(seconds / 2 / _KEEPALIVE_PROBES))),
            (socket.TCP_KEEPCNT, _KEEPALIVE_PROBES),
            (socket.TCP_USER_TIMEOUT, int(seconds * 1000)),
        ):
            self._set_option(socket.IPPROTO_TCP, option, value)

    def _set_option(self, level: int, option: int, value: int) -> None:
        if self._transport is not None:
            self._transport.get_extra_info("socket").setsockopt(level, option, value)

    # ---- asyncio.Protocol ------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if (
            self._hear is not None
            and len(data) == audiosocket.FRAME_MESSAGE
            and data.startswith(audiosocket.FRAME_HEADER)
        ):
            self._hear(data[audiosocket.HEADER_BYTES :])
        elif self._is_ahead(len(data)):
            return
        elif self._hear is not None and (frames := self._reader.frames(data)):
            for pcm in frames:
                if self._hear is not None:  # it may end the call
                    self._hear(pcm)
        else:
            self._take_in(data)

    def _is_ahead(self, size: int) -> bool:
        """Whether the peer has sent more than it can have heard; the connection is closed then."""
        self._bursts += size
        if self._bursts <= self._allowed:
            return False
        second = (audiosocket.HEADER_BYTES + self._frame) * 1000 // PTIME_MS
        lasted = (time.monotonic() - self._started_at) * 1.1  # clocks differ, but not by a tenth
        self._allowed = int((lasted + AHEAD_SECONDS) * second)
        if self._bursts <= self._allowed:
            return False
        self._broken(RemoteProtocolError(f"more than {AHEAD_SECONDS:g} s of audio ahead of the time"))
        return True

    def _take_in(self, data: bytes) -> None:
        self._hear = None
        try:
            events = self._reader.receive(data)
        except RemoteProtocolError as error:
            self._broken(error)
            return
        self._take(events)

    def _take(self, events: list[audiosocket.Event]) -> None:
        for event in events:
            if self._handler is None or self._fd < 0:
                return
            match event:
                case audiosocket.Audio():
                    self._audio(event)
                case audiosocket.Digit(digit):
                    self._handler.on_digit(digit)
                case audiosocket.BadAudio():
                    self._server.counters.empty_audio += 1
                case audiosocket.Hangup():
                    self.abort("hangup")
                case audiosocket.PeerError():
                    self.abort("Asterisk reported an error")
                case audiosocket.Unknown() | audiosocket.CallId():
                    self._server.counters.unknown_messages += 1
        if self._reader.error is not None:
            self._broken(self._reader.error)
        elif self._reader.between and self._playing and self.rate == DEFAULT_RATE and self._handler is not None:
            self._hear = self._handler.on_audio

    def eof_received(self) -> bool:
        return False  # close: an AudioSocket has no half-open state

    def connection_lost(self, error: Exception | None) -> None:
        self._finish(self._reason or (f"lost: {error}" if error else "hangup"))

    # ---- in ----------------------------------------------------------------

    def _audio(self, event: audiosocket.Audio) -> None:
        if not self._playing:
            self._begin(event.rate)
        if event.rate != self.rate:
            # We may only send the kind that was negotiated, so there is no way on from here.
            self.abort(
                f"Asterisk sends {event.rate} Hz but the call was registered with {self.rate} Hz: "
                f"add rate={event.rate} to call/start"
            )
        elif self._handler is not None:
            self._handler.on_audio(event.pcm)

    def _begin(self, rate: int) -> None:
        if self._handler is None or self._playing or self._fd < 0:
            return
        self._stop_timer()
        self._begin_playout(rate)
        self._header = audiosocket.audio_header(rate, self._frame)
        self._idle = _silence(rate)
        self._playing = True
        self._begin_sending()
        self._handler.on_begin(rate)

    def _begin_sending(self) -> None:
        self._server.clock.add(self.tick)

    # ---- out -----------------------------------------------------------------

    def _transmit(self, pcm: bytes) -> None:
        self._write(self._header + pcm)

    def _transmit_silence(self) -> None:
        self._write(self._idle)

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
            if not self._behind:
                self._behind, self._stalled_since = True, time.monotonic()
            self._transport.write(rest)

    def _stalled(self) -> bool:
        """Whether the peer has still not taken what was sent before; then this frame is dropped."""
        if self._transport is not None and not self._transport.get_write_buffer_size():
            self._behind = False
            return False
        self._dropped += 1
        self._server.counters.frames_dropped += 1
        if time.monotonic() - self._stalled_since >= STALL_SECONDS:
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

    def _broken(self, error: RemoteProtocolError) -> None:
        """What comes next cannot be read."""
        if self._transport is not None and not self._transport.is_closing():
            self._server.counters.refuse(Refusal.PROTOCOL)
            logger.warning("the call's connection is closed: %s", error, extra={"call_id": self.call_id})
            self.abort(str(error))

    def _close(self, reason: str, *, abort: bool) -> None:
        self._reason = self._reason or reason
        self._stop_playing()
        if self._transport is not None:
            # close(), not abort(): a reset would throw away the hang-up message that is still under way.
            if abort:
                self._transport.abort()
            else:
                self._transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_playing(self) -> None:
        self._stop_timer()
        # The descriptor's number may be another call's in a moment: nothing may be written to it any more.
        self._fd = -1
        self._hear = None
        if self._playing:
            self._playing = False
            self._tell_skipped(self._server.clock.remove(self.tick), self.call_id)
            self._tell_dropped()
        self._end_playout()

    def _tell_dropped(self) -> None:
        if self._dropped:
            logger.warning(
                "%d frames (%.2f s) of the agent's audio were dropped, as Asterisk did not take those before them: "
                "its host or the network between was too busy",
                self._dropped, self._dropped * PTIME_MS / 1000, extra={"call_id": self.call_id},
            )  # fmt: skip

    def _finish(self, reason: str) -> None:
        self._stop_playing()
        self._transport = None
        self._server.forget(self)
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.on_closed(reason)
