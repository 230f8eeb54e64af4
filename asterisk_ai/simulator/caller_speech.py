"""What simulated callers say: text by the bundled voice, or a recording, at the telephone's 8 kHz."""

from __future__ import annotations

import numpy as np
import soundfile

from asterisk_ai.audio.formats import frame_bytes
from asterisk_ai.audio.resample import Resampler
from asterisk_ai.providers import catalog
from asterisk_ai.simulator.asterisk import RATE

_FRAME = frame_bytes(RATE)
_CYCLE_SECONDS = 9.0
_NOISE = 12
"""Amplitude of the line's noise under the caller's speech, about -70 dBov."""
_AUDIBLE = 300
"""Amplitude from which a sample of the caller's is speech."""


async def speech_of(text: str, voice: str = "en-us") -> bytes:
    """``text`` by espeak, 16-bit mono at 8 kHz. Raises ProviderError."""
    tts = catalog.load("tts", "espeak")({"voice": voice, "words_per_minute": 150})
    await tts.start()
    try:
        resampler = Resampler(tts.sample_rate, RATE)
        async with tts.open(text) as audio:
            return b"".join([resampler.push(piece) async for piece in audio]) + resampler.flush()
    finally:
        await tts.stop()


def speech_in(path: str) -> bytes:
    """A sound file's first channel, 16-bit at 8 kHz. Raises OSError with the file's name."""
    try:
        samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise OSError(f"{path}: {error}") from error
    resampler = Resampler(rate, RATE)
    return resampler.push(np.ascontiguousarray(samples[:, 0]).tobytes()) + resampler.flush()


def caller_turn(speech: bytes) -> tuple[bytes, int]:
    """One turn of a caller: ``speech``, then the line's noise while the agent answers; and where the speech ends.

    :raises ValueError: where nothing is loud enough to be heard.
    """
    samples = np.frombuffer(speech, "<i2")
    loud = np.flatnonzero(np.abs(samples) > _AUDIBLE)
    if not len(loud):
        raise ValueError("there is no speech in it")
    cycle = np.zeros(int(_CYCLE_SECONDS * RATE) + len(samples), np.int16)
    cycle[: len(samples)] = samples
    noise = np.random.default_rng(1).integers(-_NOISE, _NOISE + 1, len(cycle))
    pcm = np.clip(cycle + noise, -32768, 32767).astype("<i2").tobytes()
    return pcm[: len(pcm) // _FRAME * _FRAME], int(loud[-1]) * 2
