"""The way out of a connection that sends one frame in 20 ms: what is queued, who waits for it, pauses.

A transport inherits :class:`Playout` and says only how one frame is sent; the
:class:`~asterisk_ai.transport.clock.PlayoutClock` says when.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable

from asterisk_ai.audio.ambience import Ambience
from asterisk_ai.audio.formats import PTIME_MS, SAMPLE_BYTES, frame_bytes

logger = logging.getLogger(__name__)

HIGH_WATER_SECONDS = 2.0
"""Audio that a synthesiser may run ahead of the line before it has to wait."""


class Playout(ABC):
    """All of a :class:`~asterisk_ai.transport.media.MediaConnection` but the sending of a frame and the hang-up.

    PCM goes in by :meth:`send`, in pieces of any length; out go frames of
    exactly 20 ms, the last one of a piece (:meth:`end_piece`) padded with
    silence. :meth:`tick`, which the clock calls, sends one of them, or
    silence. The producer waits while more than :data:`HIGH_WATER_SECONDS` are
    queued. Where it is late in the middle of a piece, silence fills the gap
    (an *underrun*), and what comes late is played as it is, never faster.
    """

    def __init__(self, rate: int) -> None:
        # What each frame needs comes first: attributes lie in this order, and a thousand calls' come from memory.
        self._ahead = False  # the next tick's frame has been sent already
        self._behind = False  # the peer has not taken all that was sent
        self._queued = 0  # bytes
        self._least = 1  # bytes that make a frame: a whole one's in the middle of a piece, any at its end
        self._paused = False
        self._silent = True  # the last frame was none of speech
        self._pieces: deque[bytes] = deque()
        self._head = 0  # bytes of the first piece that have been taken
        self._taken = 0  # bytes in all
        self._wakers: list[asyncio.Future[None]] = []
        self._wake_level = 0
        self._first_frame: Callable[[], None] | None = None
        self.tap: Callable[[bytes], None] | None = None
        self._ended = False
        self.underruns = 0
        self._ambience: Ambience | None = None
        self.streaming, self.whole = True, False
        self._on_end: Callable[[bytes, bool], None] | None = None
        self._begin_playout(rate)

    def _begin_playout(self, rate: int) -> None:
        """The rate is known, or has changed before anything was queued."""
        self.rate = rate
        self._frame = frame_bytes(rate)
        self._high_water = int(HIGH_WATER_SECONDS * rate) * SAMPLE_BYTES

    # ---- what a transport says ------------------------------------------------

    @abstractmethod
    def _transmit(self, pcm: bytes) -> None:
        """Send one frame of speech. Must not block and must not raise."""

    @abstractmethod
    def _transmit_silence(self) -> None:
        """Send one frame of silence, or nothing where the transport needs none. As :meth:`_transmit`."""

    def _transmit_background(self, pcm: bytes) -> None:
        """Send one frame of what is heard between speech. As :meth:`_transmit`."""
        self._transmit(pcm)

    def _stalled(self) -> bool:
        """Asked while :attr:`_behind`: whether this frame has to be left out, too."""
        return False

    # ---- the clock's side -------------------------------------------------------

    def tick(self) -> None:
        """Send one frame; silence where nothing waits."""
        if self._ahead:
            self._ahead = False
        elif self._behind and self._stalled():
            return
        elif self._queued >= self._least and not self._paused:
            self._play()
        else:
            if not self._silent:
                self._silent = True
                if self._least > 1 and not self._paused:
                    self.underruns += 1
            if self._ambience is None:
                self._transmit_silence()
            else:
                self._transmit_background(self._ambience.next(self._frame))

    def _play(self) -> None:
        self._silent = False
        end = self._head + self._frame
        piece = self._pieces[0]
        if end < len(piece):  # the common case: one slice
            pcm = piece[self._head : end]
            self._head = end
            self._queued -= self._frame
            self._taken += self._frame
        else:
            pcm = self._take_across()
        if self._ambience is not None:
            pcm = self._ambience.behind(pcm)
        self._transmit(pcm)
        if self.tap is not None:
            self.tap(pcm)
        if self._first_frame is not None:
            call, self._first_frame = self._first_frame, None
            call()
        if self._wakers and self._queued <= self._wake_level:
            self._wake()

    def _take_across(self) -> bytes:
        """A frame that ends with its piece, or goes on in the next ones."""
        parts: list[bytes] = []
        want = self._frame
        while want and self._pieces:
            piece = self._pieces[0]
            part = piece[self._head : self._head + want]
            parts.append(part)
            want -= len(part)
            self._head += len(part)
            if self._head == len(piece):
                self._pieces.popleft()
                self._head = 0
        taken = self._frame - want
        self._queued -= taken
        self._taken += taken
        return b"".join(parts) + bytes(want)

    # ---- the call's side ----------------------------------------------------------

    async def send(self, pcm: bytes) -> None:
        """Queue ``pcm`` (at :attr:`rate`) for the line; waits while much is queued.

        Cancelling leaves what was queued in place; returns at once when the connection is gone.
        """
        if not pcm or self._ended:
            return
        begins = self._silent and not self._queued and len(pcm) >= self._frame
        self._pieces.append(pcm)
        self._queued += len(pcm)
        self._least = self._frame
        if begins and not self._ahead and not self._paused and not (self._behind and self._stalled()):
            # The first frame of speech goes ahead of its turn, which is then left out. It is up to 20 ms sooner on
            # the wire, and the call keeps its grid: one frame in each 20 ms, none of them late. A peer that plays
            # on a grid of its own has one frame in hand for so long.
            self._ahead = True
            self._play()
        while self._queued > self._high_water and not self._ended:
            await self._woken(self._high_water)

    async def end_piece(self) -> None:
        """Nothing is to follow soon: what is left of a frame may be played, and silence from here on is no underrun."""
        self._least = 1

    def hear_behind(self, ambience: Ambience) -> None:
        """From now on this is behind all that is sent."""
        self._ambience = ambience

    def fall_back(self, reason: str) -> bool:
        """A line alone can only stream."""
        return False

    async def kept(self, key: str) -> bytes | None:
        """Nothing is kept: what is made as it is heard costs the caller no time."""
        return None

    async def keep(self, key: str, pcm: bytes) -> None:  # noqa: B027 - as above
        """Nothing."""

    async def drained(self) -> None:
        """Wait until everything queued has been sent, or the connection is gone."""
        self._least = 1
        while (self._queued or self._paused) and not self._ended:
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

    def clear(self) -> None:
        """Drop all that is queued, now: the next frame is silence. A pause is over."""
        self._paused = False
        self._first_frame = None
        self._pieces.clear()
        self._queued = self._head = 0
        self._least = 1
        self._wake()

    def on_end(self, call: Callable[[bytes, bool], None]) -> None:
        """Call once, when no more can be sent: with what was queued, and whether more of that piece was to come."""
        self._on_end = call

    @property
    def played(self) -> int:
        """Samples of queued audio that were sent since the beginning."""
        return self._taken // SAMPLE_BYTES

    # ---- waiting ---------------------------------------------------------------------

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

    def _tell_skipped(self, frames: int, call_id: str) -> None:
        """Where the clock has left out frames of this call: what the caller heard, once, with what to do."""
        if frames:
            logger.warning(
                "the agent fell silent for %.2f s (%d frames): this process had no CPU for more than 0.1 s at a time. "
                "Lower server.max_calls, raise server.workers, or give the machine less else to do",
                frames * PTIME_MS / 1000, frames, extra={"call_id": call_id},
            )  # fmt: skip

    def _end_playout(self) -> None:
        """The connection is gone: nobody waits any more, and seconds of speech are not kept for as long as it is."""
        self._ended = True
        if self._on_end is not None:
            call, self._on_end = self._on_end, None
            call(b"".join(self._pieces)[self._head :], self._least > 1)
        self.clear()
