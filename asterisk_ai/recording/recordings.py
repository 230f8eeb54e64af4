"""All recordings of a server: begun with a call's audio, finished at its end, removed when their time is over."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from asterisk_ai.config import Config
from asterisk_ai.recording import folder
from asterisk_ai.recording.writer import CallRecording, RecordingWriter

logger = logging.getLogger(__name__)

TIDY_SECONDS = 3600.0


class Recordings:
    """Used on the loop; the disk is another thread's."""

    def __init__(self, config: Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._writer = RecordingWriter(config.recordings_path(), config.recordings.format)

    @property
    def lost_pieces(self) -> int:
        """Pieces of about a second that the disk did not take."""
        return self._writer.lost_pieces

    def problem(self) -> str:
        """Why recordings cannot be written; empty while they can."""
        return self._writer.problem()

    def begin(self, call_id: str, rate: int, *, offset: float) -> CallRecording:
        """Record one connection of a call, which begins so many seconds after the call."""
        return CallRecording(self._writer, call_id, rate, offset=offset, clock=self._clock)

    def end(self, call_id: str, *, keep: bool) -> None:
        """The call has ended."""
        self._writer.finish(call_id, keep=keep)

    def start(self, keeps: Callable[[str], bool | None]) -> None:
        """Begin to write, with what an earlier server has left unfinished.

        :param keeps: whether a call's recording is kept; None where it lasts: it may come back, or another of the
            server's processes has it.
        """
        self._writer.start()
        for call_id in folder.unfinished(self._writer.folder):
            if (keep := keeps(call_id)) is not None:
                self._writer.finish(call_id, keep=keep)

    def stop(self) -> None:
        """Write what waits."""
        self._writer.stop()

    async def keep_tidy(self) -> None:
        """Remove what may no longer be kept, now and then, until cancelled."""
        while True:
            await self._tidy()
            await asyncio.sleep(TIDY_SECONDS)

    async def _tidy(self) -> None:
        limits = self._config.recordings
        try:
            removed = await asyncio.to_thread(
                folder.tidy, self._writer.folder, keep_days=limits.keep_days, max_gib=limits.max_gib
            )
        except OSError as error:
            logger.error("old recordings cannot be removed: %s", error)
            return
        if removed:
            logger.info("%d old recordings removed (recordings.keep_days, recordings.max_gib)", removed)
