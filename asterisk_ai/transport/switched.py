"""One caller's way out of two: a line that audio is streamed over, and files that the dialplan plays.

A file can only be played by the dialplan when the caller's channel is there. So the line is given up for it, the
dialplan asks ``call/next`` what to do, is told ``play``, asks again when the file has ended or a key was dialled,
and is told ``talk``: with that comes the next line. The call knows nothing of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from asterisk_ai.audio.formats import SAMPLE_BYTES
from asterisk_ai.transport.file_player import Cut, FilePlayer
from asterisk_ai.transport.media import Line, MediaHandler

logger = logging.getLogger(__name__)

MAX_UNDERRUNS = 3
"""So many gaps in a call are too many."""
LOST_SECONDS = 3.0
"""A caller whose line broke, and for whom the dialplan has not asked, has hung up."""
AWAY_SECONDS = 30.0
"""So long after it should have, the dialplan does not come back any more."""
RENDER_SECONDS = 8.0
"""So long the dialplan waits for a reply that is being made, before it is sent back to talk meanwhile."""
DECIDE_SECONDS = 0.1
"""So long it waits for what the conversation does when a reply was heard to its end."""


_EOF_SECONDS = 2.0
"""Asterisk may ask what comes next before we have seen its audio connection close."""

ToPlay = tuple[str, int]
"""A file for the dialplan: without its extension, from which millisecond on."""


@dataclass(frozen=True, slots=True)
class _Wish:
    what: ToPlay
    begun: Callable[[], None]
    seconds: float


def _deaf(_: object) -> None: ...


class SwitchedConnection:
    """A :class:`~asterisk_ai.transport.media.MediaConnection` for a call, and the handler of its lines.

    :param files: plays the files; :meth:`run` runs it.
    :param streaming: whether it begins with streaming.
    :param fallen_back: told the reason when it ceases to.
    """

    def __init__(self, files: FilePlayer, *, streaming: bool, fallen_back: Callable[[str], None]) -> None:
        self.streaming = streaming
        self.rate = files.rate
        self._files = files
        self._fallen_back = fallen_back
        self._call: MediaHandler | None = None
        self.on_audio: Callable[[bytes], None] = _deaf
        self._line: Line | None = None
        self._tap: Callable[[bytes], None] | None = None
        self._streamed = 0  # samples, over lines that are gone
        self._sent = 0  # samples that the line was given, less those that were dropped again
        self._gaps = 0  # underruns of those
        self._begun = self._leaving = self._giving_up = False
        self._wish: _Wish | None = None
        self._wished = asyncio.Event()
        self._lineless = asyncio.Event()
        self._returned: asyncio.Future[Cut | None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def serve(self, call: MediaHandler, line: Line) -> None:
        """``call`` speaks and hears by this, over ``line`` to begin with."""
        self._call = call
        self.on_audio = call.on_audio  # what comes 50 times a second goes past us
        self._files.serve(call, self)
        self.attach(line)

    async def run(self) -> None:
        """Have the files played, until the call is over."""
        await self._files.play(self._by_dialplan, self._files.something)

    # ---- MediaHandler, for the lines --------------------------------------------------

    @property
    def waits(self) -> bool:
        """For the next line: the one before is gone, and the call is not."""
        return self._call is not None and self._line is None

    @property
    def plays(self) -> bool:
        """Whether the dialplan was told to play something that is still wanted."""
        return self._returned is not None and not self._returned.done() and self._wish is None

    def attach(self, line: Line) -> None:
        """The next line is there."""
        self._await_nothing()
        self._lineless.clear()
        self._line, self._sent = line, 0
        line.tap = self._tap
        line.on_end(self._line_ends)

    def on_begin(self, rate: int) -> None:
        self.rate = rate
        if self._call is not None and not self._begun:
            self._begun = True
            self._call.on_begin(rate)
        if self._line is not None and (self._leaving or self._wish is not None):
            self._give_up_line()

    def on_digit(self, digit: str) -> None:
        if self._call is not None:
            self._call.on_digit(digit)

    def _line_ends(self, rest: bytes, in_piece: bool) -> None:
        """It sends no more, and :meth:`on_closed` follows."""
        line, self._line = self._line, None
        if line is None:
            return
        self._streamed += line.played
        self._gaps += line.underruns
        if self._giving_up or self._leaving:
            return
        if rest or in_piece or self._files.busy:
            self.fall_back("transport")
            # What was under way when the line broke nobody can tell of: it counts as heard.
            self._streamed += max(0, self._sent - line.played - len(rest) // SAMPLE_BYTES)
            self._files.take_over(rest)

    def on_closed(self, reason: str) -> None:
        giving_up, self._giving_up = self._giving_up, False
        self._lineless.set()
        if self._leaving or self._call is None:
            self._finish(reason)
        elif giving_up:
            self._await(AWAY_SECONDS)
        elif not self.streaming and self._files.busy:
            # A caller who hung up looks the same: the dialplan says which it was, as it asks or ends the call.
            self._await(LOST_SECONDS, reason)
        else:
            self._finish(reason)

    # ---- MediaConnection, for the call -------------------------------------------------

    @property
    def whole(self) -> bool:
        return not self.streaming

    @property
    def underruns(self) -> int:
        return self._gaps + (self._line.underruns if self._line is not None else 0)

    @property
    def played(self) -> int:
        return self._streamed + self._files.played + (self._line.played if self._line is not None else 0)

    @property
    def tap(self) -> Callable[[bytes], None] | None:
        """Told what the lines play; of files it is told nothing."""
        return self._tap

    @tap.setter
    def tap(self, tap: Callable[[bytes], None] | None) -> None:
        self._tap = tap
        if self._line is not None:
            self._line.tap = tap

    async def send(self, pcm: bytes) -> None:
        if self.streaming and self.underruns >= MAX_UNDERRUNS:
            self.fall_back("underruns")
        if self.streaming and self._line is not None:
            self._sent += len(pcm) // SAMPLE_BYTES
            await self._line.send(pcm)
        else:
            await self._files.send(pcm)

    async def end_piece(self) -> None:
        if self._line is not None:
            await self._line.end_piece()
        await self._files.end_piece()

    def fall_back(self, reason: str) -> bool:
        """From here on, files. What the line has is still heard over it."""
        if not self.streaming:
            return False
        self.streaming = False
        self._fallen_back(reason)
        return True

    async def kept(self, key: str) -> bytes | None:
        return await self._files.kept(key)

    async def keep(self, key: str, pcm: bytes) -> None:
        await self._files.keep(key, pcm)

    async def drained(self) -> None:
        if self._line is not None:
            await self._line.drained()
        await self._files.drained()

    def clear(self) -> None:
        if self._line is not None:
            self._line.clear()
            self._sent = self._line.played
        self._files.clear()

    def pause(self) -> None:
        if self._line is not None:
            self._line.pause()
        self._files.pause()

    def resume(self) -> None:
        if self._line is not None:
            self._line.resume()
        self._files.resume()

    def on_first_frame(self, call: Callable[[], None]) -> None:
        if self.streaming and self._line is not None:
            self._line.on_first_frame(call)
        else:
            self._files.on_first_frame(call)

    def hang_up(self) -> None:
        """Give the call back to the dialplan; where it has it already, it is told when it asks."""
        self._leaving = True
        self._wished.set()
        if self._line is not None:
            self._line.hang_up()

    # ---- the dialplan's side --------------------------------------------------------------

    async def _by_dialplan(self, path: str, offset: int, begun: Callable[[], None]) -> Cut | None:
        """Have one file played. Cancelling takes it back where it has not begun."""
        line = self._line
        if line is not None:
            await line.drained()
        self._wish = _Wish((path, offset * 1000 // self.rate), begun, self._files.remaining)
        returned: asyncio.Future[Cut | None] = asyncio.get_running_loop().create_future()
        self._returned = returned
        self._wished.set()
        try:
            if self._line is not None and self._begun:
                self._give_up_line()
            return await returned
        finally:
            self._wish = self._returned = None
            if not self._leaving:
                self._wished.clear()

    def _give_up_line(self) -> None:
        self._giving_up = True
        if self._line is not None:
            self._line.hang_up()

    async def asked(self, stopped_ms: int = 0, digit: str = "") -> ToPlay | None:
        """The dialplan asks what to do: play this, or what the call has said, or else talk.

        :param stopped_ms: where ``digit`` stopped what it was told to play; without a digit that was played to its end.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EOF_SECONDS):
                await self._lineless.wait()
        self._await_nothing()
        if self.plays and self._returned is not None:
            self._returned.set_result((stopped_ms * self.rate // 1000, digit) if digit else None)
            self._returned = None
        elif digit:
            self.on_digit(digit)
        if self._wish is None:
            await self._decided()
        return self._answer()

    def _answer(self) -> ToPlay | None:
        wish, self._wish = self._wish, None
        self._wished.clear()
        if self._leaving or self._call is None:
            self._finish("ended by us")
            return None
        if wish is None:
            self._await(AWAY_SECONDS)
            return None
        wish.begun()
        self._await(wish.seconds + AWAY_SECONDS)
        return wish.what

    async def _decided(self) -> None:
        """Wait for what comes next: more of a reply, the end of the conversation, or nothing, which is talk."""
        try:
            async with asyncio.timeout(DECIDE_SECONDS):
                await self._wished.wait()
        except TimeoutError:
            if not self._files.busy:
                return
        try:
            async with asyncio.timeout(RENDER_SECONDS):
                await self._wished.wait()
        except TimeoutError:
            logger.info("the reply is not there yet: the caller is listened to meanwhile")

    def gone(self, reason: str = "hangup") -> None:
        """The caller has hung up, while the dialplan had the call."""
        if self._line is None:
            self._finish(reason)

    # ---- the end -----------------------------------------------------------------------

    def _await(self, seconds: float, reason: str = "the dialplan did not come back") -> None:
        self._await_nothing()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._finish, reason)

    def _await_nothing(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _finish(self, reason: str) -> None:
        self._await_nothing()
        call, self._call = self._call, None
        self.on_audio, self._fallen_back = _deaf, _deaf
        self._files.close()
        if call is not None:
            call.on_closed(reason)
