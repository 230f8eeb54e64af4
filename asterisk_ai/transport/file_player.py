"""Replies played as sound files by the dialplan, for a PBX without AudioSocket (EAGI)."""

from __future__ import annotations

import asyncio
import logging
import time
import wave
from collections.abc import Awaitable, Callable
from pathlib import Path

from asterisk_ai.audio.formats import SAMPLE_BYTES
from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.transport.media import MediaConnection, MediaHandler

logger = logging.getLogger(__name__)

WAITING_FILES = 2
"""Files that a synthesiser may be ahead of the one that plays."""
MAX_FILE_BYTES = 10 * 1024 * 1024
"""A piece longer than this (ten minutes) is cut into several files."""


class FilePlayer:
    """A :class:`~asterisk_ai.transport.media.MediaConnection` that writes each piece to a WAV file and has it played.

    What plays is stopped by cancelling the player, and gone on with from the
    sample where it was stopped.

    :param spool: the folder; Asterisk must be able to read it.
    :param name: begins the files' names; a call's id.
    """

    def __init__(self, spool: Path, name: str, rate: int = 8000) -> None:
        self.rate = rate
        self.underruns = 0  # a file is whole before it is played
        self._spool = spool
        self._name = name
        self._piece = bytearray()
        self._count = self._cleared = 0
        self._files: asyncio.Queue[tuple[Path, int]] = asyncio.Queue(WAITING_FILES)
        self._played = 0
        self._playing_since = 0.0
        self._playing = self._offset = 0
        self._closed = self._paused = self._dropped = False
        self._player: asyncio.Task[None] | None = None
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
            await self.end_piece()

    async def end_piece(self) -> None:
        """Write what came since the last piece to a file and queue it. Raises ProviderUnavailable (disk full)."""
        pcm, self._piece = bytes(self._piece), bytearray()
        if not pcm or self._closed:
            return
        self._count += 1
        wanted = self._cleared
        path = self._spool / f"{self._name}-{self._count}.wav"
        writing = asyncio.ensure_future(asyncio.to_thread(self._write, path, pcm))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            writing.add_done_callback(lambda _: path.unlink(missing_ok=True))  # the thread goes on, and writes it
            raise
        except OSError as error:
            raise ProviderUnavailable("playback", f"{path}: {error.strerror}") from error
        try:
            await self._files.put((path, len(pcm) // SAMPLE_BYTES))
        except asyncio.CancelledError:
            path.unlink(missing_ok=True)
            raise
        if self._cleared != wanted:  # while it was written, or had to wait
            self._empty()

    def fall_back(self, reason: str) -> bool:
        """It has files played already."""
        return False

    def _write(self, path: Path, pcm: bytes) -> None:
        # World-readable: Asterisk runs as another user, and the file lives for some seconds.
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        with wave.open(str(path), "wb") as file:
            file.setparams((1, SAMPLE_BYTES, self.rate, 0, "NONE", "not compressed"))
            file.writeframes(pcm)

    async def drained(self) -> None:
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
        """Samples of the present file that were played: AGI tells them at the end only, so by the clock."""
        if not self._playing_since:
            return self._offset
        return min(self._playing, self._offset + int((time.monotonic() - self._playing_since) * self.rate))

    # ---- the player's side ------------------------------------------------------

    async def play(self, play: Callable[[str, int], Awaitable[None]], idle: Callable[[], Awaitable[None]]) -> None:
        """Play the files as they come, until :meth:`close`.

        :param play: plays one file, named without its extension, from a sample on to its end; cancelled to stop it.
        :param idle: waits a moment while there is nothing to play (and takes digits).
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
                    self._playing = self._offset = 0
                    self._changed.set()
        finally:
            self.close()

    async def _play_whole(self, path: Path, play: Callable[[str, int], Awaitable[None]]) -> None:
        """To its end, over pauses, or until it is dropped."""
        while self._offset < self._playing:
            if self._first_frame is not None:
                call, self._first_frame = self._first_frame, None
                call()
            try:
                async with asyncio.TaskGroup() as group:
                    self._playing_since = time.monotonic()
                    self._player = player = group.create_task(_run(play(str(path.with_suffix("")), self._offset)))
            except ExceptionGroup as failed:  # of one task: as if it had been awaited
                raise failed.exceptions[0] from None
            self._offset = self._position() if player.cancelled() else self._playing
            self._playing_since, self._player = 0.0, None
            if not await self._goes_on():
                return

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


async def _run(work: Awaitable[None]) -> None:
    await work
