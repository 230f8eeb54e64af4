"""Audio of an utterance on its way to a service: what the service lags behind waits here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from asterisk_ai.audio.formats import SAMPLE_BYTES
from asterisk_ai.audio.window import Window
from asterisk_ai.providers.api import ServedEngine


class Backlog:
    """One utterance's. The oldest is dropped where more than ``seconds`` wait, and counted."""

    def __init__(self, seconds: float, rate: int) -> None:
        """:param rate: of the audio, in Hz."""
        self._window, self._rate = Window(seconds, rate), rate
        self._news = asyncio.Event()
        self.ended = False
        self.fed = False
        """Whether there was any audio."""

    @property
    def dropped_bytes(self) -> int:
        return self._window.dropped * SAMPLE_BYTES

    def push(self, pcm: bytes) -> None:
        """After the end, and where it is nothing, it is not taken."""
        if pcm and not self.ended:
            self.fed = True
            self._window.push(pcm)
            self._news.set()

    def end(self) -> None:
        """There is no more."""
        self.ended = True
        self._news.set()

    async def some(self) -> bool:
        """Wait for audio, or for the end: whether there was any."""
        await self._news.wait()
        return self.fed

    async def pieces(self, seconds: float) -> AsyncIterator[bytes]:
        """The audio as it comes, in pieces of so many seconds at most, to its end."""
        size = int(seconds * self._rate) * SAMPLE_BYTES
        while not self.ended or self._window:
            await self._news.wait()
            self._news.clear()
            pcm = b"".join(self._window.take())
            for start in range(0, len(pcm), size):
                yield pcm[start : start + size]

    def pcm(self) -> bytes:
        """All that waits."""
        return self._window.pcm()


class LaggingRecogniser(ServedEngine):
    """A recogniser that counts what it drops. Satisfies :class:`~asterisk_ai.providers.api.Counting`."""

    _dropped = 0

    def done(self, backlog: Backlog) -> None:
        """An utterance is over."""
        self._dropped += backlog.dropped_bytes

    def counters(self) -> Mapping[str, int]:
        return {"dropped_bytes": self._dropped}
