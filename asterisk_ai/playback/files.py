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

logger = logging.getLogger(__name__)

WAITING_FILES = 2
"""Files that a synthesiser may be ahead of the one that plays."""
MAX_FILE_BYTES = 10 * 1024 * 1024
"""A piece longer than this (ten minutes) is cut into several files."""


class FileSink:
    """A :class:`~asterisk_ai.playback.manager.Sink` that writes each piece to a WAV file and has it played.

    What plays cannot be stopped from outside (AGI's STREAM FILE ends at its
    end or at a digit), so a caller who interrupts hears the sentence to its end.

    :param spool: the folder; Asterisk must be able to read it.
    :param name: begins the files' names; a call's id.
    """

    def __init__(self, spool: Path, name: str, rate: int = 8000) -> None:
        self.rate = rate
        self._spool = spool
        self._name = name
        self._piece = bytearray()
        self._count = 0
        self._files: asyncio.Queue[tuple[Path, int]] = asyncio.Queue(WAITING_FILES)
        self._played = 0
        self._playing_since = 0.0
        self._playing = 0
        self._closed = False
        self._changed = asyncio.Event()
        self.on_digit: Callable[[str], None] | None = None
        """Where digits dialled on the channel go; set by the call."""

    # ---- Sink ----------------------------------------------------------------

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

    def _write(self, path: Path, pcm: bytes) -> None:
        # World-readable: Asterisk runs as another user, and the file lives for some seconds.
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        with wave.open(str(path), "wb") as file:
            file.setparams((1, SAMPLE_BYTES, self.rate, 0, "NONE", "not compressed"))
            file.writeframes(pcm)

    async def drained(self) -> None:
        while (self._files.qsize() or self._playing) and not self._closed:
            self._changed.clear()
            await self._changed.wait()

    def clear(self) -> None:
        """Drop what is queued; what plays goes on to its end."""
        self._piece.clear()
        while not self._files.empty():
            self._files.get_nowait()[0].unlink(missing_ok=True)
        self._changed.set()

    @property
    def played(self) -> int:
        now = int((time.monotonic() - self._playing_since) * self.rate) if self._playing else 0
        return self._played + min(now, self._playing)

    # ---- the player's side ------------------------------------------------------

    async def play(self, play: Callable[[str], Awaitable[None]], idle: Callable[[], Awaitable[None]]) -> None:
        """Play the files as they come, until :meth:`close`.

        :param play: plays one file, named without its extension, to its end.
        :param idle: waits a moment while there is nothing to play (and takes digits).
        """
        try:
            while not self._closed:
                if self._files.empty():
                    await idle()
                    continue
                path, self._playing = self._files.get_nowait()
                self._playing_since = time.monotonic()
                try:
                    await play(str(path.with_suffix("")))
                finally:
                    path.unlink(missing_ok=True)
                    self._played += self._playing
                    self._playing = 0
                    self._changed.set()
        finally:
            self.close()

    def close(self) -> None:
        """The call is over: nobody waits any more, nothing is left in the spool."""
        self._closed = True
        self.clear()
