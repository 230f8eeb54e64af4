"""What calls over TCP share: frames written past the transport, a peer that takes nothing or too much, and the end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from abc import abstractmethod
from typing import Protocol

from asterisk_ai.audio.formats import PTIME_MS
from asterisk_ai.errors import Refusal, RemoteProtocolError
from asterisk_ai.transport.clock import PlayoutClock
from asterisk_ai.transport.media import MediaHandler
from asterisk_ai.transport.playout import Playout

logger = logging.getLogger(__name__)

AHEAD_SECONDS = 10.0
"""A peer that has sent so much more audio than time has passed is no telephone: one that sends as fast as it can would
take the processor from all other calls."""
STALL_SECONDS = 5.0
"""A peer that takes no audio for this long is gone."""
_KEEPALIVE_PROBES = 3


class StreamCounters(Protocol):
    """What a listener counts for its connections."""

    frames_dropped: int

    def refuse(self, reason: Refusal) -> None: ...


class StreamConnection(Playout, asyncio.Protocol):
    """One call over one TCP connection.

    Reading never stops, whatever the handler does: Asterisk drops the call on
    one short write. Nothing ends because no audio comes: a muted or held
    telephone sends none. A hang-up is the end of the TCP connection.
    """

    def __init__(
        self, rate: int, transport: asyncio.Transport, clock: PlayoutClock, counters: StreamCounters, call_id: str
    ) -> None:
        super().__init__(rate)
        self._fd: int = transport.get_extra_info("socket").fileno()
        self._transport: asyncio.Transport | None = transport
        self._clock, self._counters = clock, counters
        self._handler: MediaHandler | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._playing = False
        self._stalled_since = 0.0
        self._dropped = 0
        self._reason = ""
        # Bytes that came several frames at a time: nobody is ahead of the time with one frame a read.
        self._bursts, self._allowed = 0, 0
        self._started_at = time.monotonic()
        self.call_id = call_id

    @property
    @abstractmethod
    def _frame_on_wire(self) -> int:
        """Bytes of one frame as the peer sends it."""

    @abstractmethod
    def _forget(self) -> None:
        """The connection is gone: the listener has it no longer."""

    def _keep_alive(self, seconds: float) -> None:
        """Have TCP find out that the peer's host is gone; the peer itself may have nothing to send for hours."""
        seconds = max(2.0, seconds)
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

    # ---- in -------------------------------------------------------------------

    def eof_received(self) -> bool:
        return False  # close: neither of these protocols has a half-open state

    def connection_lost(self, error: Exception | None) -> None:
        self._finish(self._reason or (f"lost: {error}" if error else "hangup"))

    def _is_ahead(self, size: int) -> bool:
        """Whether the peer has sent more than it can have heard; the connection is closed then."""
        self._bursts += size
        if self._bursts <= self._allowed:
            return False
        second = self._frame_on_wire * 1000 // PTIME_MS
        lasted = (time.monotonic() - self._started_at) * 1.1  # clocks differ, but not by a tenth
        self._allowed = int((lasted + AHEAD_SECONDS) * second)
        if self._bursts <= self._allowed:
            return False
        self._broken(RemoteProtocolError(f"more than {AHEAD_SECONDS:g} s of audio ahead of the time"))
        return True

    # ---- out ------------------------------------------------------------------

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
        self._counters.frames_dropped += 1
        if time.monotonic() - self._stalled_since >= STALL_SECONDS:
            self.abort("Asterisk takes no audio")
        return True

    # ---- the end ---------------------------------------------------------------

    def abort(self, reason: str) -> None:
        """Close at once; ``reason`` reaches the handler."""
        self._close(reason, abort=True)

    def _broken(self, error: RemoteProtocolError) -> None:
        """What comes next cannot be read."""
        if self._transport is not None and not self._transport.is_closing():
            self._counters.refuse(Refusal.PROTOCOL)
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

    def _abort_later(self) -> None:
        """A peer that takes nothing would keep an unsent message, and with it the call, for ever."""
        if self._transport is not None:
            self._timer = asyncio.get_running_loop().call_later(STALL_SECONDS, self._transport.abort)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_playing(self) -> None:
        self._stop_timer()
        # The descriptor's number may be another call's in a moment: nothing may be written to it any more.
        self._fd = -1
        if self._playing:
            self._playing = False
            self._tell_skipped(self._clock.remove(self.tick), self.call_id)
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
        self._forget()
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.on_closed(reason)
