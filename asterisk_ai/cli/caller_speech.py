"""What simulated callers say: text by the bundled voice, or a recording, at the telephone's 8 kHz."""

from __future__ import annotations

import numpy as np
import soundfile

from asterisk_ai.audio.resample import Resampler
from asterisk_ai.cli.simulator import RATE
from asterisk_ai.providers import catalog


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
