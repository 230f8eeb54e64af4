"""One call over AudioSocket: bytes in to its handler, frames out by the clock."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

from asterisk_ai.audio.formats import frame_bytes
from asterisk_ai.errors import RemoteProtocolError
from asterisk_ai.protocol import audiosocket
from asterisk_ai.transport.media import MediaHandler
from asterisk_ai.transport.stream import StreamConnection

if TYPE_CHECKING:
    from asterisk_ai.transport.audiosocket.server import AudioSocketServer

DEFAULT_RATE = 8000
"""Hz of a call whose rate nobody has told: what ``AudioSocket()`` always uses."""
LEARN_RATE_SECONDS = 0.2
"""How long a call of unknown rate may wait for the caller's first audio: some releases starve a server that waits."""


@functools.cache
def _silence(rate: int) -> bytes:
    """The message of a frame of silence, once for all calls: a copy for each of a thousand crowds the CPU's cache."""
    return audiosocket.audio_message(rate, bytes(frame_bytes(rate)))


class AudioSocketConnection(StreamConnection):
    """One connection, from its UUID on.

    What happens 50 times a second, :meth:`data_received` and :meth:`_transmit`,
    spells out what it could call: without that, a thousand calls that play
    cost a tenth more.
    """

    def __init__(
        self, server: AudioSocketServer, transport: asyncio.Transport, reader: audiosocket.Reader, call_id: str
    ) -> None:
        """``reader`` has read ``call_id``; :meth:`start` begins."""
        super().__init__(DEFAULT_RATE, transport, server.clock, server.counters, call_id)
        self._hear: Callable[[bytes], None] | None = None  # the handler's on_audio where the next may be a whole frame
        self._header = audiosocket.audio_header(DEFAULT_RATE, self._frame)
        self._idle = _silence(DEFAULT_RATE)  # what is sent while nothing is queued
        self._server = server
        self._reader = reader

    def start(self, handler: MediaHandler, events: list[audiosocket.Event]) -> None:
        """``handler`` has the call; ``events`` have come with the UUID."""
        self._handler = handler
        self._keep_alive(self._server.idle_seconds)
        if handler.rate:
            self._begin(handler.rate)
        else:
            self._timer = asyncio.get_running_loop().call_later(LEARN_RATE_SECONDS, self._begin, DEFAULT_RATE)
        self._take(events)

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
        self._clock.add(self.tick)

    # ---- out -----------------------------------------------------------------

    def _transmit(self, pcm: bytes) -> None:
        self._write(self._header + pcm)

    def _transmit_silence(self) -> None:
        self._write(self._idle)

    @property
    def _frame_on_wire(self) -> int:
        return audiosocket.HEADER_BYTES + self._frame

    # ---- the end ---------------------------------------------------------------

    def hang_up(self) -> None:
        """Tell Asterisk that we are done with the call, and close."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(audiosocket.HANGUP_MESSAGE)
            self._close("ended by us", abort=False)
            self._abort_later()

    def _stop_playing(self) -> None:
        self._hear = None
        super()._stop_playing()

    def _forget(self) -> None:
        self._server.forget(self)
