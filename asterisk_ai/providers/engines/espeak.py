"""espeak-ng as a library: no download, no key, no network, and hundreds of times faster than speech.

The library has one global state and is not thread-safe, so one thread speaks
for all calls, one text after the other. A thread and not a process, because
ctypes gives the interpreter lock back while espeak works and the callback
needs it for microseconds only. Measured on two cores while speaking 290 s of
audio (in 0.35 s): a 5 ms sleep in another thread took 5.1 ms at the median,
5.3 ms at the 99th percentile and at worst, the same as with espeak idle; first audio
after 0.6 ms. At that speed a cache of prompts would save nothing.
"""

from __future__ import annotations

import asyncio
import bisect
import queue
import re
import threading
import unicodedata
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from asterisk_ai.config.schema import Range
from asterisk_ai.config.settings import read_settings
from asterisk_ai.errors import ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.api import MarkedPcm, Readiness
from asterisk_ai.providers.engines.espeakng import NAME, Library, library

MAX_TEXT = 5000
"""Longer texts are cut: about five minutes of speech, and the bound of what one stream buffers (13 MB)."""
MAX_WAITING = 256
PIECE_BYTES = 22_050
"""What the stream yields at most at once: half a second."""

_SLOWEST, _FASTEST = 80, 450
_REGIONS = {
    "en": "en-us",
    "en-us": "en-us",
    "en-gb": "en",
    "pt-br": "pt-br",
    "es-mx": "es-419",
    "fr-be": "fr-be",
    "fr-ch": "fr-ch",
    "zh-cn": "cmn",
    "zh": "cmn",
    "zh-hk": "yue",
}


class _Job:
    """One text, between the synthesis thread and the stream that reads it.

    The loop is woken once for all that came since it looked last, so a fast
    synthesis does not flood it.
    """

    def __init__(self, text: str, voice: str, words_per_minute: int) -> None:
        self.text, self.voice, self.words_per_minute = speakable(text), voice, words_per_minute
        self.left = False
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._lock = threading.Lock()
        self._audio = bytearray()
        self._yielded = 0  # bytes
        # Where what is spoken has not the words of the text, the times of its words are of no use.
        same = len(self.text.split()) == len(text.split())
        self._starts = [word.start() for word in re.finditer(r"\S+", self.text)] if same else []
        self._marks: deque[tuple[int, int]] = deque()
        self._woken = self._ended = False
        self._error: Exception | None = None

    def mark(self, position: int, sample: int) -> None:
        """The word (or part of one) at character ``position`` begins with ``sample``: those before it are spoken."""
        done = bisect.bisect_right(self._starts, position) - 1
        if done > 0:
            with self._lock:
                self._marks.append((sample * 2, done))

    def push(self, pcm: bytes) -> None:
        with self._lock:
            self._audio += pcm
        self._wake()

    def end(self, error: Exception | None = None) -> None:
        """The first end counts."""
        with self._lock:
            if self._ended:
                return
            self._ended, self._error = True, error
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            if self._woken or self.left:
                return
            self._woken = True
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:  # the loop is closed: nobody will read this
            self.left = True

    async def pieces(self) -> AsyncIterator[bytes]:
        ended = False
        while not ended:
            await self._news.wait()
            self._news.clear()
            with self._lock:
                pcm, ended, self._woken = bytes(self._audio), self._ended, False
                self._audio.clear()
            while pcm:
                piece = self._cut(pcm)
                pcm = pcm[len(piece) :]
                self._yielded += len(piece)
                yield piece
        if self._error:
            raise self._error

    def _cut(self, pcm: bytes) -> bytes:
        """The next piece of ``pcm``: to the end of a word, where one is near."""
        with self._lock:
            if self._marks and self._marks[0][0] - self._yielded <= min(len(pcm), PIECE_BYTES):
                at, words = self._marks.popleft()
                # Times are rounded to ms, so that a word's end may be known a few samples after it.
                return MarkedPcm(pcm[: max(2, at - self._yielded)], words)
        return pcm[:PIECE_BYTES]


@dataclass(frozen=True, slots=True)
class EspeakSettings:
    """``providers.espeak``."""

    voice: str = "en-us"
    """A voice of espeak-ng such as ``en-us`` or ``de``."""
    words_per_minute: Annotated[int, Range(_SLOWEST, _FASTEST)] = 165

    def __post_init__(self) -> None:
        if not self.voice:
            raise ValueError("voice: expected the name of a voice")


class Espeak:
    """The ``espeak`` engine.

    :param settings: see :class:`EspeakSettings`. Without a voice an agent has that of its language.
    :raises ConfigError: a setting that does not exist or is out of range.
    """

    streams = "sound as it is made"

    @staticmethod
    def voice_of(language: str) -> str:
        """Its voice for a language tag: of the region where it has one, as ``en-us`` and ``pt-br``."""
        tag = language.replace("_", "-").lower()
        return _REGIONS.get(tag, tag.partition("-")[0])

    def __init__(self, settings: Mapping[str, Any]) -> None:
        own = read_settings(EspeakSettings, settings, f"providers.{NAME}")
        self._voice, self._words_per_minute = own.voice, own.words_per_minute
        self._jobs: queue.Queue[_Job | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._current: _Job | None = None
        self._reason = "not started"

    @property
    def sample_rate(self) -> int:
        """22,050 Hz for every voice that espeak-ng makes itself."""
        return 22_050

    async def start(self) -> None:
        """Load the library and its data. Raises ProviderRejected where the voice does not exist."""
        if self._thread is not None:
            return
        try:
            loaded = await asyncio.to_thread(library)
        except (OSError, AttributeError) as error:
            self._reason = f"espeak-ng cannot be loaded: {error}"
            raise ProviderUnavailable(NAME, self._reason) from error
        if not await asyncio.to_thread(loaded.has_voice, self._voice):
            self._reason = f"there is no voice {self._voice!r}"
            raise ProviderRejected(NAME, self._reason)
        self._jobs = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._run, args=(loaded, self._jobs), name="espeak", daemon=True)
        self._thread.start()
        self._reason = ""

    async def stop(self) -> None:
        """End the thread. Texts that wait or are being spoken fail with ProviderUnavailable."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._reason = "stopped"
        stopped = ProviderUnavailable(NAME, self._reason)
        waiting = []
        while not self._jobs.empty():
            waiting.append(self._jobs.get_nowait())
        self._jobs.put(None)
        if (current := self._current) is not None:
            current.end(stopped)
            current.left = True
        for job in waiting:
            if job is not None:
                job.end(stopped)
        await asyncio.to_thread(thread.join)

    def readiness(self) -> Readiness:
        alive = self._thread is not None and self._thread.is_alive()
        return Readiness(alive, "" if alive else self._reason or "the synthesis thread has died")

    @asynccontextmanager
    async def open(self, text: str, *, voice: str = "", speed: float = 1.0) -> AsyncIterator[AsyncIterator[bytes]]:
        """Speak ``text``. Leaving the context stops espeak at its next piece.

        :raises ProviderUnavailable: not started, or too many texts wait.
        :raises ProviderRejected: while iterating, where the voice does not exist.
        """
        rate = min(max(round(self._words_per_minute * speed), _SLOWEST), _FASTEST)
        job = _Job(text, voice or self._voice, rate)
        if self._thread is None:
            raise ProviderUnavailable(NAME, self._reason)
        try:
            if job.text:
                self._jobs.put_nowait(job)
            else:
                job.end()
            yield job.pieces()
        except queue.Full:
            raise ProviderUnavailable(NAME, f"{MAX_WAITING} texts are waiting already") from None
        finally:
            job.left = True

    def _run(self, loaded: Library, jobs: queue.Queue[_Job | None]) -> None:
        while (job := jobs.get()) is not None:
            if not job.left:
                self._current = job
                loaded.speak(job)
                self._current = None


def speakable(text: str) -> str:
    """One line that holds nothing but what can be read out: no control characters, no markup of espeak's, bounded."""
    shown = (char if unicodedata.category(char)[0] not in "CZ" else " " for char in text[: 2 * MAX_TEXT])
    # [[...]] would be phonemes to espeak in other modes, and SSML is off: brackets are noise at best.
    kept = "".join(shown).translate({ord(char): " " for char in "[]{}<>|\\^~`*_#"})
    return " ".join(kept.split())[:MAX_TEXT]
