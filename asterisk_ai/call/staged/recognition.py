"""The caller's speech on its way to a recogniser."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from asterisk_ai.audio.formats import duration
from asterisk_ai.audio.resample import Resampler
from asterisk_ai.audio.window import Window
from asterisk_ai.dialog.backchannel import ends_in_number, is_unfinished
from asterisk_ai.providers.api import SpeechToTextStream, Transcript

RECENT_SECONDS = 8.0
"""What is kept for a look at how the turn sounds."""
MAX_WAITING_SECONDS = 60.0
"""What an utterance may hold while the recogniser is opened; the oldest is dropped beyond."""


class CallerUtterance:
    """The caller's speech on its way to the recogniser, which may still be opening."""

    def __init__(self, number: int, rate: int, stt_rates: tuple[int, ...], *, recent: float) -> None:
        """``recent``: seconds of it that :meth:`recent` gives; 8 s are 128 KB, which not every call needs."""
        self.number = number
        self.rate = rate if rate in stt_rates else stt_rates[0]
        self.task: asyncio.Task[None] | None = None
        self.closed = asyncio.Event()
        self.seconds = 0.0
        self._source_rate = rate
        self._resampler = Resampler(rate, self.rate)
        self._waiting = Window(MAX_WAITING_SECONDS, self.rate)
        self._stream: SpeechToTextStream | None = None
        self._recent = Window(recent, rate)

    def feed(self, pcm: bytes) -> None:
        self.seconds += duration(len(pcm), self._source_rate)
        self._recent.push(pcm)
        self._pass(self._resampler.push(pcm))

    def recent(self) -> bytes:
        """The last of it, as it came from the caller."""
        return self._recent.pcm()

    def attach(self, stream: SpeechToTextStream) -> None:
        """The recogniser is open: it gets what has waited, and the rest as it comes."""
        self._stream = stream
        for pcm in self._waiting.take():
            stream.feed(pcm)

    def close(self) -> None:
        self._pass(self._resampler.flush())
        self.closed.set()

    def _pass(self, pcm: bytes) -> None:
        if self._stream is not None:
            if pcm:
                self._stream.feed(pcm)
            return
        self._waiting.push(pcm)

    def release(self) -> None:
        """Recognition is over. Its stream and its task know this utterance: neither is to keep the other."""
        self._stream = self.task = None


def completeness(words: Transcript, language: str, is_whole: Callable[[str], bool | None]) -> tuple[bool | None, bool]:
    """Whether the words are all that is said, None where nobody can tell; and whether more has to follow."""
    # A beginning is easily taken for the phrase that it is most like: what was heard freely has to be whole, too.
    # Not so digits, which are looked for beside it.
    free = words.free if words.free and not ends_in_number(words.text, language) else words.text
    complete: bool | None = words.accepted
    for text in {words.text, free}:
        if complete is not False:
            complete = is_whole(text)
    return complete, not complete and (is_unfinished(free, language) or ends_in_number(free, language))
