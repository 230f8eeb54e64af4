"""From text to the line: synthesis, resampling, and what of it was heard."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asterisk_ai.audio.formats import SAMPLE_BYTES
from asterisk_ai.audio.resample import Resampler
from asterisk_ai.dialog.heard import Spoken, heard_text
from asterisk_ai.dialog.spoken import Piece
from asterisk_ai.providers.api import MarkedPcm, TextToSpeech
from asterisk_ai.transport.media import MediaConnection

SECONDS_PER_LETTER = 0.065
"""Length of speech not synthesised yet, for guessing how much of a piece was heard; slow speech is 0.08."""


class PlaybackManager:
    """Speaks one reply at a time over a connection and keeps account of it."""

    def __init__(self, connection: MediaConnection, tts: TextToSpeech, *, voice: str = "") -> None:
        self._connection = connection
        self._tts = tts
        self._voice = voice
        self._pieces: list[Spoken] = []
        self._base = connection.played

    def begin(self) -> None:
        """A new reply: nothing of it was said yet."""
        self._pieces = []
        self._base = self._connection.played

    async def say(
        self, text: Piece, started: Callable[[], Awaitable[None]] | None = None, *, speed: float = 1.0
    ) -> None:
        """Synthesise ``text`` and queue it; what was heard of it is told in the words it was written with.

        Raises ProviderError.

        ``started`` is awaited once, when the first audio is there and before it is queued.
        Cancelling aborts the synthesis; what was queued stays until :meth:`stop`.
        """
        resampler = Resampler(self._tts.sample_rate, self._connection.rate)
        index = len(self._pieces)
        self._pieces.append(Spoken(text.written, 0))
        samples = made = 0
        words: tuple[tuple[int, int], ...] = ()
        odd = b""  # engines over HTTP cut anywhere, half-way through a sample too
        async with self._tts.open(text.spoken, voice=self._voice, speed=speed) as audio:
            async for piece in audio:
                pcm, odd = _whole_samples(odd + piece)
                line = resampler.push(pcm)
                made += len(pcm) // SAMPLE_BYTES
                if isinstance(piece, MarkedPcm):
                    words += ((made * self._connection.rate // self._tts.sample_rate, text.written_words(piece.words)),)
                if not line:
                    continue
                if not samples and started is not None:
                    await started()
                samples += len(line) // SAMPLE_BYTES
                guess = int(len(text.spoken) * SECONDS_PER_LETTER * self._connection.rate)
                self._pieces[index] = Spoken(text.written, max(samples, guess), words)
                await self._connection.send(line)
        tail = resampler.flush() if samples else b""
        await self._connection.send(tail)
        await self._connection.end_piece()
        self._pieces[index] = Spoken(text.written, samples + len(tail) // SAMPLE_BYTES, words)

    async def finished(self) -> bool:
        """Wait until everything said so far was played; False where the call is gone before that."""
        await self._connection.drained()
        return self._connection.played - self._base >= sum(piece.samples for piece in self._pieces)

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


def _whole_samples(pcm: bytes) -> tuple[bytes, bytes]:
    """The whole samples, and the half of one that may be left."""
    whole = len(pcm) - len(pcm) % SAMPLE_BYTES
    return pcm[:whole], pcm[whole:]
