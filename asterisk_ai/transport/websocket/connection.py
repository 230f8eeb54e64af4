"""One call over chan_websocket: messages in to its handler, frames out by the clock."""

from __future__ import annotations

import asyncio
import audioop
import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, State
from websockets.server import ServerProtocol

from asterisk_ai.audio.formats import PTIME_MS, SAMPLE_BYTES
from asterisk_ai.errors import RemoteProtocolError
from asterisk_ai.protocol import websocket
from asterisk_ai.transport.media import MediaHandler
from asterisk_ai.transport.stream import STALL_SECONDS, StreamConnection
from asterisk_ai.transport.websocket.position import Position

if TYPE_CHECKING:
    from asterisk_ai.transport.websocket.server import WebSocketServer

try:
    from websockets.speedups import apply_mask  # in C, where there is a wheel
except ImportError:
    from websockets.utils import apply_mask

logger = logging.getLogger(__name__)

HEADER_BYTES = 8
"""Of a frame of audio as Asterisk sends it: two of opcode and length, two of length, four of mask."""
LEAVE_SECONDS = 0.5
"""How long Asterisk may take to play the last frames before we hang up."""
HEARD_POLL_SECONDS = PTIME_MS / 1000

Coding = Callable[[bytes], bytes]
_WHOLE: Coding = lambda data: data if len(data) % SAMPLE_BYTES == 0 else data[:-1]  # noqa: E731
_CODINGS: Mapping[str, tuple[Coding, Coding]] = {
    "ulaw": (lambda pcm: audioop.lin2ulaw(pcm, SAMPLE_BYTES), lambda data: audioop.ulaw2lin(data, SAMPLE_BYTES)),
    "alaw": (lambda pcm: audioop.lin2alaw(pcm, SAMPLE_BYTES), lambda data: audioop.alaw2lin(data, SAMPLE_BYTES)),
}
_LINEAR: tuple[Coding, Coding] = (_WHOLE, _WHOLE)


def _on_wire(size: int, *, masked: bool) -> int:
    """Bytes of a message of so many bytes. Source: RFC 6455, section 5.2."""
    return size + (2 if size < 126 else 4 if size < 0x10000 else 10) + (4 if masked else 0)


class WebSocketConnection(StreamConnection):
    """One connection, from its ``MEDIA_START`` on.

    Asterisk plays from a queue of its own. We send a frame in 20 ms as on any
    other transport, so that little waits there, and marks tell how much does:
    what was heard is known to a frame, and silence is left out where a late
    clock has filled the queue.
    """

    def __init__(
        self, server: WebSocketServer, transport: asyncio.Transport, socket: Protocol,
        start: websocket.MediaStart, call_id: str, *, json_form: bool,
    ) -> None:  # fmt: skip
        """``socket`` has read ``start``, in JSON or in words; :meth:`begin` begins."""
        super().__init__(websocket.RATES[start.format], transport, server.clock, server.counters, call_id)
        self._socket = socket
        self._position = Position()
        self._encode, self._decode = _CODINGS.get(start.format, _LINEAR)
        self._silence = self._encode(bytes(self._frame))
        self._masks = isinstance(socket, ServerProtocol)  # whether Asterisk is the client, which masks
        size = len(self._silence)
        self._opens_out = b"\x82" + (bytes((size,)) if size < 126 else b"\x7e" + size.to_bytes(2, "big"))
        self._opens = bytes((0x82, self._opens_out[1] | (0x80 if self._masks else 0))) + self._opens_out[2:]
        self._whole = _on_wire(size, masked=self._masks)  # bytes of a frame of audio as it comes
        self._pending = 0  # bytes of a message that has not come as a whole
        self._server = server
        self._json = json_form
        self._held = False  # Asterisk was told to pause
        self._full = False  # Asterisk told us to wait
        self._leaving = False

    def begin(self, handler: MediaHandler, frames: list[Frame]) -> None:
        """``handler`` has the call; ``frames`` have come with the start."""
        self._handler = handler
        self._keep_alive(self._server.idle_seconds)
        self._playing = True
        self._command(websocket.ANSWER)
        self._clock.add(self.tick)
        handler.on_begin(self.rate)
        self._take_all(frames)

    # ---- in ----------------------------------------------------------------

    @property
    def _frame_on_wire(self) -> int:
        return HEADER_BYTES + len(self._silence)

    def data_received(self, data: bytes) -> None:
        if not self._pending and len(data) == self._whole and data.startswith(self._opens):
            self._whole_frame(data)
            return
        if len(data) > HEADER_BYTES + len(self._silence) and self._is_ahead(len(data)):
            return
        self._socket.receive_data(data)
        self._pending += len(data)
        frames = cast(list[Frame], self._socket.events_received())  # the handshake is over
        for frame in frames:
            self._pending -= _on_wire(len(frame.data), masked=self._masks)
        self._take_all(frames)
        if self._socket.parser_exc is not None:
            self._broken(RemoteProtocolError(f"chan_websocket: {self._socket.parser_exc}"))
        elif self._socket.writes:
            self._answer()

    def _whole_frame(self, data: bytes) -> None:
        """One message of one frame, as nearly all that comes: read here, at a sixth of what the library takes."""
        if self._handler is not None and not self._leaving:
            media = apply_mask(data[HEADER_BYTES:], data[4:HEADER_BYTES]) if self._masks else data[len(self._opens) :]
            self._handler.on_audio(self._decode(media))

    def _answer(self) -> None:
        """Send what the protocol answers by itself: to a ping, or to the peer's goodbye."""
        if self._transport is not None:
            self._transport.write(b"".join(self._socket.data_to_send()))
            if self._socket.state is not State.OPEN:
                self._close("hangup", abort=False)
                self._abort_later()

    def _take_all(self, frames: list[Frame]) -> None:
        for frame in frames:
            if self._handler is None or (self._leaving and frame.opcode is Opcode.BINARY):
                continue
            if not frame.fin or frame.opcode is Opcode.CONT:
                self._broken(RemoteProtocolError("chan_websocket: a message in pieces"))
            elif frame.opcode is Opcode.BINARY:
                if pcm := self._decode(bytes(frame.data)):
                    self._handler.on_audio(pcm)
            elif frame.opcode is Opcode.TEXT:
                self._take(self._handler, bytes(frame.data).decode("utf-8", "replace"))

    def _take(self, handler: MediaHandler, text: str) -> None:
        try:
            event = websocket.parse(text)
        except RemoteProtocolError as error:
            self._broken(error)
            return
        match event:
            case websocket.MarkProcessed(mark):
                self._position.processed(mark, time.monotonic())
            case websocket.Digit(digit):
                handler.on_digit(digit)
            case websocket.QueueFull():
                self._full = self._behind = True
                self._stalled_since = time.monotonic()
            case websocket.QueueReady():
                self._full = False
            case websocket.QueueDrained():
                if self._leaving:
                    self._leave()
            case websocket.CommandRefused(message):
                logger.warning("Asterisk refuses a command: %s", message, extra={"call_id": self.call_id})
            case websocket.MediaStart() | websocket.Status() | websocket.Unknown():
                self._server.counters.unknown_messages += 1

    # ---- out -----------------------------------------------------------------

    def _transmit(self, pcm: bytes) -> None:
        self._send(self._encode(pcm), len(pcm))

    def _transmit_silence(self) -> None:
        if self._held:
            return  # it would wait behind what is to be played later
        if not self._position.known:
            # A release that answers no marks makes its silence itself, and ours would only fill its queue.
            self._mark()
            self._flush()
        elif self._position.skip:
            self._position.skip -= 1
        else:
            self._send(self._silence, 0)

    def _transmit_background(self, pcm: bytes) -> None:
        if not self._held:
            self._send(self._encode(pcm), 0)

    def _send(self, media: bytes, speech: int) -> None:
        self._mark()
        self._position.sent(speech, time.monotonic())
        if self._masks and not self._socket.writes:  # what Asterisk sends masked it gets unmasked
            self._write(self._opens_out + media)
        else:
            self._socket.send_binary(media)
            self._flush()

    def _mark(self) -> None:
        if name := self._position.mark():
            self._socket.send_text(websocket.mark(name, json_form=self._json).encode())

    def _flush(self) -> None:
        if self._socket.writes:
            self._write(b"".join(self._socket.data_to_send()))

    def _command(self, name: str) -> None:
        if self._transport is not None and self._socket.state is State.OPEN:
            self._socket.send_text(websocket.command(name, json_form=self._json).encode())
            self._transport.write(b"".join(self._socket.data_to_send()))  # behind what the socket did not take

    def _stalled(self) -> bool:
        if not self._full:
            return super()._stalled()
        if time.monotonic() - self._stalled_since >= STALL_SECONDS:
            self.abort("Asterisk takes no audio")
        return True

    # ---- the call's side ---------------------------------------------------------

    async def drained(self) -> None:
        await super().drained()
        while not self._ended and self._position.unheard(time.monotonic()):  # noqa: ASYNC110 - time is waited for
            await asyncio.sleep(HEARD_POLL_SECONDS)

    def pause(self) -> None:
        super().pause()
        if self._playing and not self._held and self._position.may_wait(time.monotonic()):
            self._held = True
            self._position.hold(time.monotonic())
            self._command(websocket.PAUSE_MEDIA)

    def resume(self) -> None:
        self._go_on()
        super().resume()

    def _go_on(self) -> None:
        if self._held and self._playing:
            self._command(websocket.CONTINUE_MEDIA)
            self._position.go_on(time.monotonic())
        self._held = False

    def clear(self) -> None:
        if self._playing:
            now = time.monotonic()
            waits = self._position.may_wait(now)
            if waits:
                self._taken -= self._position.unheard(now)
                self._command(websocket.FLUSH_MEDIA)
            self._go_on()
            if waits:
                self._position.flushed(now)
        super().clear()

    @property
    def played(self) -> int:
        return max(0, self._taken - self._position.unheard(time.monotonic())) // SAMPLE_BYTES

    # ---- the end ---------------------------------------------------------------

    def hang_up(self) -> None:
        """Have Asterisk play what it has, hang its channel up, and close."""
        if self._transport is None or self._transport.is_closing() or self._leaving:
            return
        self._leaving, self._reason = True, self._reason or "ended by us"
        self._stop_playing()
        self._command(websocket.REPORT_QUEUE_DRAINED)
        self._timer = asyncio.get_running_loop().call_later(LEAVE_SECONDS, self._leave)

    def _leave(self) -> None:
        self._stop_timer()
        self._command(websocket.HANGUP)
        self._abort_later()  # Asterisk closes

    def _stop_playing(self) -> None:
        if self._playing:  # what is not played by now counts as not heard
            now = time.monotonic()
            self._taken -= self._position.unheard(now)
            self._position.flushed(now)
        super()._stop_playing()

    def _forget(self) -> None:
        self._server.forget(self)
