"""From text to the line: synthesis, resampling, and what of it was heard."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable

from asterisk_ai.agents.pace import Delivery, Pace
from asterisk_ai.agents.sounds import Sounds
from asterisk_ai.audio.formats import SAMPLE_BYTES, duration
from asterisk_ai.audio.resample import Resampler
from asterisk_ai.dialog.heard import SECONDS_PER_LETTER, Spoken, heard_text, unheard_text
from asterisk_ai.dialog.spoken import Piece, Sound
from asterisk_ai.errors import ProviderError
from asterisk_ai.providers.api import MarkedPcm, TextToSpeech
from asterisk_ai.transport.media import MediaConnection

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""How often it is looked how much was heard."""
STILL_SECONDS = 20.0
"""How often it is told that what was said is still being played."""


async def _at_once() -> None: ...


class PlaybackManager:
    """Speaks one reply at a time over a connection and keeps account of it.

    Whether the connection streams or has files played is the connection's own affair; nothing here differs.
    """

    def __init__(
        self,
        connection: MediaConnection,
        tts: TextToSpeech,
        *,
        voice: str = "",
        pace: Pace | None = None,
        voice_key: str = "",
        sounds: Sounds | None = None,
    ) -> None:
        """``pace`` is that of ``tts``, and ``voice_key`` tells its settings from others."""
        self._sounds = sounds
        self._connection = connection
        self._voice_key = voice_key
        self._tts = tts
        self._voice = voice
        self._pace = pace or Pace()
        self._pieces: list[Spoken] = []
        self._base = connection.played

    def begin(self) -> None:
        """A new reply: nothing of it was said yet."""
        self._pieces = []
        self._base = self._connection.played

    async def say(
        self,
        text: Piece,
        started: Callable[[], Awaitable[None]] = _at_once,
        *,
        speed: float = 1.0,
        prompt: bool = False,
    ) -> None:
        """Synthesise ``text`` and queue it; what was heard of it is told in the words it was written with.

        Raises ProviderError.

        ``started`` is awaited once, when the first audio is there and before it is queued.
        Cancelling aborts the synthesis; what was queued stays until :meth:`stop`.

        :param prompt: others are told the same: where files are played it is made once and kept.
        """
        key = self._key(text, speed) if prompt and not self._connection.streaming else ""
        kept = await self._connection.kept(key) if key else None
        if kept is not None:
            await self._say_kept(text, kept, started)
        else:
            made = await self._say_made(text, started, speed)
            if key:
                await self._connection.keep(key, made)

    def _key(self, text: Piece, speed: float) -> str:
        parts = (self._voice_key, self._voice, speed, self._connection.rate, text.spoken)
        return hashlib.sha256(repr(parts).encode("utf-8", "backslashreplace")).hexdigest()[:32]

    async def play(self, sound: Sound, started: Callable[[], Awaitable[None]] = _at_once) -> None:
        """Queue a sound file as it is. One that is missing is left out, and told in the log."""
        if self._sounds is None:
            return
        try:
            pcm = await asyncio.to_thread(self._sounds.read, sound.name, self._connection.rate)
        except ProviderError as error:
            logger.error("a sound cannot be played, asterisk-ai check tells more: %s", error)
        else:
            await self._say_kept(sound, pcm, started)

    async def _say_kept(self, text: Piece | Sound, pcm: bytes, started: Callable[[], Awaitable[None]]) -> None:
        await started()
        self._pieces.append(Spoken(text.written, len(pcm) // SAMPLE_BYTES))
        await self._connection.send(pcm)
        await self._connection.end_piece()

    async def _say_made(self, text: Piece, started: Callable[[], Awaitable[None]], speed: float) -> bytes:
        """Returns its audio, unless that was streamed."""
        index = len(self._pieces)
        self._pieces.append(Spoken(text.written, 0))
        making = _Making(text, self._connection.rate, self._tts.sample_rate, self._pace.start_buffer, started)
        try:
            return await self._make(making, index, speed)
        except ProviderError as error:
            if not self._connection.fall_back("engine"):
                raise
            logger.warning("the voice failed in the middle of a reply, the rest is made anew: %s", error)
            making.again()
            return await self._make(making, index, speed)

    async def _make(self, making: _Making, index: int, speed: float) -> bytes:
        made: list[bytes] = []
        async with self._tts.open(making.text.spoken, voice=self._voice, speed=speed) as audio:
            async for piece in audio:
                line = await making.came(piece)
                if line:
                    self._pieces[index] = making.spoken(whole=False)
                    made += [] if self._connection.streaming else [line]
                    await self._connection.send(line)
        rest = await making.rest()
        self._pieces[index] = making.spoken(whole=True)
        await self._connection.send(rest)
        await self._connection.end_piece()
        self._pace.made(making.needed)
        return b"".join((*made, rest))

    async def finished(self, still: Callable[[], None] = lambda: None, look: Callable[[], None] = lambda: None) -> bool:
        """Wait until everything said so far was played; False where the call is gone before that.

        :param still: called now and then meanwhile. A whole reply that is a file may take longer than any one part of
            it, and nothing is stuck for that.
        :param look: called more often, to see how much was heard.
        """
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        # Given itself: what refers to itself is not gone with the call.
        def beat(again: Callable[..., None], told_at: float) -> None:
            nonlocal timer
            now = loop.time()
            look()
            if now - told_at >= STILL_SECONDS:
                still()
                told_at = now
            timer = loop.call_later(min(LOOK_SECONDS, STILL_SECONDS), again, again, told_at)

        timer = loop.call_later(min(LOOK_SECONDS, STILL_SECONDS), beat, beat, loop.time())
        try:
            await self._connection.drained()
        finally:
            timer.cancel()
        return self._connection.played - self._base >= sum(piece.samples for piece in self._pieces)

    @property
    def waits(self) -> bool:
        """Whether nothing is heard before all of a reply is made."""
        return self._connection.whole

    def pause(self) -> None:
        """Silence, now, but what is queued stays."""
        self._connection.pause()

    def resume(self) -> None:
        """On with what was queued."""
        self._connection.resume()

    def on_first_frame(self, call: Callable[[], None]) -> None:
        """Call once, when the next audio begins to be played."""
        self._connection.on_first_frame(call)

    def stop(self) -> str:
        """Silence, now. Returns the words that were heard."""
        heard = self.heard()
        self._connection.clear()
        return heard

    def heard(self) -> str:
        """The words of this reply that were played so far."""
        return heard_text(self._pieces, self._connection.played - self._base)

    def unheard(self) -> str:
        """Those of its pieces that were not played to their end."""
        return unheard_text(self._pieces, self._connection.played - self._base)


class _Making:
    """One piece of speech as the engine makes it: audio at the line's rate, held back until enough is there."""

    def __init__(
        self, text: Piece, rate: int, made_rate: int, start_buffer: float, started: Callable[[], Awaitable[None]]
    ) -> None:
        self.text = text
        self._rate, self._made_rate = rate, made_rate
        self._least = int(start_buffer * rate) * SAMPLE_BYTES
        self._started = started
        self._heard = False  # has begun to be sent
        self._samples = 0  # that were handed out
        self._words: tuple[tuple[int, int], ...] = ()
        self._waited = 0.0
        self._delivery: Delivery | None = None
        self.again()

    def again(self) -> None:
        """The engine makes it from the beginning: what was handed out before is left out."""
        self._resampler = Resampler(self._made_rate, self._rate)
        self._odd = b""  # engines over HTTP cut anywhere, half-way through a sample too
        self._held = b""
        self._skip = self._samples * SAMPLE_BYTES
        self._made = 0
        self._words = ()

    @property
    def needed(self) -> float:
        """By how many seconds the audio was late at the worst, had it been played from its first on."""
        return self._delivery.needed if self._delivery is not None else 0.0

    async def came(self, piece: bytes) -> bytes:
        """The next of the engine's audio. Returns what is to be sent now."""
        pcm, self._odd = _whole_samples(self._odd + piece)
        line = self._resampler.push(pcm)
        self._made += len(pcm) // SAMPLE_BYTES
        if isinstance(piece, MarkedPcm):
            mark = self._made * self._rate // self._made_rate
            self._words += ((mark, self.text.written_words(piece.words)),)
        if line:
            now = time.monotonic() - self._waited
            self._delivery = self._delivery or Delivery(now)
            self._delivery.came(now, duration(len(line), self._rate))
        return await self._enough(line, self._least)

    async def rest(self) -> bytes:
        """The engine has finished."""
        return await self._enough(self._resampler.flush() if self._made else b"", 0)

    async def _enough(self, line: bytes, least: int) -> bytes:
        skipped = min(self._skip, len(line))
        self._skip -= skipped
        line = self._held + line[skipped:]
        if not line or (not self._heard and len(line) < least):
            self._held = line
            return b""
        self._held = b""
        if not self._heard:
            self._heard = True
            began = time.monotonic()
            await self._started()
            self._waited += time.monotonic() - began
        self._samples += len(line) // SAMPLE_BYTES
        return line

    def spoken(self, *, whole: bool) -> Spoken:
        """How long it is. What is not made yet is guessed."""
        guess = 0 if whole else int(len(self.text.spoken) * SECONDS_PER_LETTER * self._rate)
        return Spoken(self.text.written, max(self._samples, guess), self._words)


def _whole_samples(pcm: bytes) -> tuple[bytes, bytes]:
    """The whole samples, and the half of one that may be left."""
    whole = len(pcm) - len(pcm) % SAMPLE_BYTES
    return pcm[:whole], pcm[whole:]
