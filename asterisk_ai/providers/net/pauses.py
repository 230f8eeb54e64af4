"""A service that transcribes whole utterances, asked in the caller's pauses: the words are there when the turn ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from asterisk_ai.audio.levels import dbov
from asterisk_ai.errors import ProviderError
from asterisk_ai.providers.api import Transcript
from asterisk_ai.providers.net.backlog import Backlog

MAX_SECONDS = 120
PAUSE_SECONDS = 0.12
"""Longer than most closures of stop consonants, and all that is lost by asking too soon is a request."""
LEAST_SECONDS = 0.1
"""Of sound, before a pause is one. Services refuse less; it is no word either."""
MOST_TIMES = 3
"""So often in an utterance: who pauses at every word is asked for at the end."""
_BELOW_PEAK_DB, _FLOOR_DBOV = 28.0, -60.0


class AskedInPauses:
    """One utterance. A :class:`~asterisk_ai.providers.api.SpeechToTextStream`; to be closed.

    :param transcribe: asks the service for the words of PCM.
    :param partial: is told the words of a pause.
    :param ahead: False: the service is asked at the end alone.
    """

    def __init__(
        self,
        transcribe: Callable[[bytes], Awaitable[Transcript]],
        rate: int,
        partial: Callable[[Transcript], None],
        *,
        ahead: bool,
    ) -> None:
        self._transcribe, self._rate, self._partial = transcribe, rate, partial
        self._left = MOST_TIMES if ahead else 0
        self.backlog = Backlog(MAX_SECONDS, rate)
        self._peak = -96.0
        self._loud = self._run = self._quiet = 0.0  # seconds of sound, of it in a row, and of silence since
        self._asking: asyncio.Task[Transcript] | None = None

    def feed(self, pcm: bytes) -> None:
        self.backlog.push(pcm)
        seconds, level = len(pcm) / 2 / self._rate, dbov(pcm)
        self._peak = max(self._peak, level)
        if level <= max(self._peak - _BELOW_PEAK_DB, _FLOOR_DBOV):
            self._run, self._quiet = 0.0, self._quiet + seconds
            if self._quiet >= PAUSE_SECONDS and self._loud >= LEAST_SECONDS and self._asking is None and self._left:
                self._left -= 1
                self._asking = asyncio.create_task(self._ask(self.backlog.pcm()), name="transcription in a pause")
            return
        self._run, self._quiet, self._loud = self._run + seconds, 0.0, self._loud + seconds
        if self._asking is not None and self._run > 0.03:  # one loud frame is a click
            self._asking.cancel()  # the caller goes on, and what was asked for is not all of it
            self._asking = None

    async def finish(self) -> Transcript:
        """The words. Raises ProviderError."""
        if self._asking is not None:
            return await self._asking
        pcm = self.backlog.pcm()
        if len(pcm) < 2 * LEAST_SECONDS * self._rate:
            return Transcript("", accepted=False, confidence=0.0)
        return await self._transcribe(pcm)

    async def close(self) -> None:
        """Nobody waits for the words any more."""
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError, ProviderError):
                await asking

    async def _ask(self, pcm: bytes) -> Transcript:
        words = await self._transcribe(pcm)
        self._partial(words)
        return words
