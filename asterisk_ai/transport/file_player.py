"""Replies played as sound files: by the dialplan, or over EAGI for a PBX without AudioSocket."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from asterisk_ai.audio.formats import SAMPLE_BYTES
from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.transport.media import MediaConnection, MediaHandler
from asterisk_ai.transport.spool import Spool

logger = logging.getLogger(__name__)

WAITING_FILES = 2
"""Files that a synthesiser may be ahead of the one that plays."""
MAX_FILE_BYTES = 10 * 1024 * 1024
"""A piece longer than this (ten minutes) is cut into several files."""


Cut = tuple[int, str]
"""A file was stopped after so many samples, by this key."""
Play = Callable[[str, int, Callable[[], None]], Awaitable[Cut | None]]
"""Plays one file, named without its extension, from a sample on, to its end or to a key; cancelled to stop it.

It calls the third argument when playing begins.
"""


class FilePlayer:
    """A :class:`~asterisk_ai.transport.media.MediaConnection` that has what is said played as WAV files.

    What plays is stopped by a key or by cancelling the player, and gone on with
    from the sample where it was stopped.

    :param name: begins the files' names.
    :param whole: a file is a whole reply. Else it is a piece of one: where files can follow each other at once, that
        is sooner.
    """

    def __init__(self, spool: Spool, name: str, rate: int = 8000, *, whole: bool = False) -> None:
        self.rate = rate
        self.tap: Callable[[bytes], None] | None = None  # of files it is told nothing
        self.underruns = 0  # a file is whole before it is played
        self.streaming = False
        self._spool = spool
        self._name = name
        self.whole = whole
        self._piece = bytearray()
        self._count = self._cleared = self._making = 0
        self._files: asyncio.Queue[tuple[Path, int]] = asyncio.Queue(WAITING_FILES)
        self._played = 0
        self._playing_since = 0.0
        self._playing = self._offset = 0
        self._closed = self._paused = self._dropped = False
        self._player: asyncio.Task[Cut | None] | None = None
        self._first_frame: Callable[[], None] | None = None
        self._changed = asyncio.Event()
        self._on_digit: Callable[[str], None] | None = None
        self._hang_up: Callable[[], None] | None = None

    def serve(self, call: MediaHandler, caller: MediaConnection) -> None:
        """``call`` speaks by this player until :meth:`close`.

        :param caller: the connection by which the caller's audio comes; ends when the call hangs up.
        """
        self._on_digit, self._hang_up = call.on_digit, caller.hang_up

    def dialled(self, digit: str) -> None:
        """A key was dialled on the channel."""
        if self._on_digit is not None:
            self._on_digit(digit)

    # ---- MediaConnection -----------------------------------------------------

    async def send(self, pcm: bytes) -> None:
        self._piece += pcm
        if len(self._piece) > MAX_FILE_BYTES:
            await self._cut()

    async def end_piece(self) -> None:
        """Write what came since the last piece to a file and queue it. Raises ProviderUnavailable (disk full)."""
        if not self.whole:
            await self._cut()

    async def _cut(self) -> None:
        pcm, self._piece = bytes(self._piece), bytearray()
        if not pcm or self._closed:
            return
        self._making += 1
        try:
            await self._queue(pcm)
        finally:
            self._making -= 1
        self._changed.set()

    async def _queue(self, pcm: bytes) -> None:
        self._count += 1
        wanted = self._cleared
        path = self._spool.reply(f"{self._name}-{self._count}", self.rate)
        writing = asyncio.ensure_future(asyncio.to_thread(self._spool.write, path, pcm, self.rate))
        try:
            await asyncio.shield(writing)
            await self._files.put((path, len(pcm) // SAMPLE_BYTES))
        except asyncio.CancelledError:
            if writing.done():
                path.unlink(missing_ok=True)
            else:
                writing.add_done_callback(lambda _: path.unlink(missing_ok=True))  # the thread goes on, and writes it
            raise
        if self._cleared != wanted:  # while it was written, or had to wait
            self._empty()

    def take_over(self, pcm: bytes) -> None:
        """``pcm``, which was queued elsewhere, comes before all that has been sent here."""
        self._piece[:0] = pcm

    def fall_back(self, reason: str) -> bool:
        """It has files played already."""
        return False

    async def kept(self, key: str) -> bytes | None:
        return await asyncio.to_thread(self._spool.find, key, self.rate)

    async def keep(self, key: str, pcm: bytes) -> None:
        try:
            await asyncio.to_thread(self._spool.keep, key, pcm, self.rate)
        except ProviderUnavailable as error:
            logger.warning("a prompt cannot be kept, and will be made anew: %s", error)

    @property
    def busy(self) -> bool:
        """Whether something is being made, waits or plays."""
        return bool(self._piece or self._making or self._files.qsize() or self._playing)

    @property
    def remaining(self) -> float:
        """Seconds of what plays that are still to come."""
        return (self._playing - self._position()) / self.rate

    async def drained(self) -> None:
        await self._cut()
        while (self._files.qsize() or self._playing or self._paused) and not self._closed:
            self._changed.clear()
            await self._changed.wait()

    def clear(self) -> None:
        """Drop what is queued and stop what plays."""
        self._piece.clear()
        self._first_frame = None
        self._paused, self._dropped = False, True
        self._cleared += 1
        self._empty()
        self._stop_player()
        self._changed.set()

    def _empty(self) -> None:
        while not self._files.empty():
            self._files.get_nowait()[0].unlink(missing_ok=True)

    def pause(self) -> None:
        """Stop what plays and keep it."""
        self._paused = True
        self._stop_player()

    def resume(self) -> None:
        """Go on at the sample where it was stopped."""
        self._paused = False
        self._changed.set()

    def on_first_frame(self, call: Callable[[], None]) -> None:
        """Call once, when the next file begins."""
        self._first_frame = call

    def _stop_player(self) -> None:
        if self._player is not None:
            self._player.cancel()

    def hang_up(self) -> None:
        """Give the call back to the dialplan."""
        if self._hang_up is not None:
            self._hang_up()

    @property
    def played(self) -> int:
        return self._played + self._position()

    def _position(self) -> int:
        """Samples of the present file that were played: Asterisk tells them at the end only, so by the clock."""
        if not self._playing_since:
            return self._offset
        return min(self._playing, self._offset + int((time.monotonic() - self._playing_since) * self.rate))

    # ---- the player's side ------------------------------------------------------

    async def something(self) -> None:
        """Wait until there is something to play, or nothing more will be."""
        while (self._paused or self._files.empty()) and not self._closed:
            self._changed.clear()
            await self._changed.wait()

    async def play(self, play: Play, idle: Callable[[], Awaitable[None]]) -> None:
        """Play the files as they come, until :meth:`close`.

        :param idle: waits a moment while there is nothing to play (and takes digits), as :meth:`something` does.
        """
        try:
            while not self._closed:
                if self._paused or self._files.empty():
                    await idle()
                    continue
                path, self._playing = self._files.get_nowait()
                self._dropped = False
                try:
                    await self._play_whole(path, play)
                finally:
                    path.unlink(missing_ok=True)
                    self._played += self._position()
                    self._playing_since = 0.0
                    self._playing = self._offset = 0
                    self._changed.set()
        finally:
            self.close()

    async def _play_whole(self, path: Path, play: Play) -> None:
        """To its end, over pauses and keys that stop nothing, or until it is dropped."""
        while self._offset < self._playing:
            try:
                async with asyncio.TaskGroup() as group:
                    work = _run(play(str(path.with_suffix("")), self._offset, self._begun))
                    self._player = player = group.create_task(work)
            except ExceptionGroup as failed:  # of one task: as if it had been awaited
                raise failed.exceptions[0] from None
            cut = None if player.cancelled() else player.result()
            if player.cancelled():
                self._offset = self._position()
            else:
                self._offset = self._playing if cut is None else min(cut[0], self._playing)
            self._playing_since, self._player = 0.0, None
            if cut is not None:
                self.dialled(cut[1])
            if not await self._goes_on():
                return

    def _begun(self) -> None:
        self._playing_since = time.monotonic()
        if self._first_frame is not None:
            call, self._first_frame = self._first_frame, None
            call()

    async def _goes_on(self) -> bool:
        """Wait while paused. False: what was playing is not wanted any more."""
        while self._paused and not self._closed:
            self._changed.clear()
            await self._changed.wait()
        return not (self._dropped or self._closed)

    def close(self) -> None:
        """The call is over: nobody waits any more, nothing is left in the spool."""
        self._closed = True
        self._on_digit = self._hang_up = None
        self.clear()


async def _run(work: Awaitable[Cut | None]) -> Cut | None:
    return await work
