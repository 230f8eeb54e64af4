"""What a neural voice makes, as it goes to the telephone: without the silence around it, even in level, no clicks."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

LEVEL_DBOV = -21.5
"""Of the speech in it, without pauses: what espeak has, so that another voice that takes over is as loud."""
MOST_GAIN_DB = 8.0
PEAK = 0.85
_FRAME_SECONDS = 0.005
_SILENT_DB = -35.0
"""Below the loudest frame. The last sound of "yes" is 30 dB softer than its vowel."""
_BEFORE, _AFTER = 0.015, 0.03  # seconds that are kept around the sound, for the softest beginnings and ends
_FADE_SECONDS = 0.004


def telephone(audio: npt.NDArray[Any], source: int, target: int, pause: float) -> bytes:
    """One sentence of float samples at ``source`` Hz to PCM at ``target`` Hz, with ``pause`` seconds of silence behind.

    Empty where there is no sound in it.
    """
    size = int(_FRAME_SECONDS * source)
    frames = audio[: len(audio) // size * size].astype(np.float32).reshape(-1, size)
    power = (frames**2).mean(axis=1)
    loudest = float(power.max(initial=0.0))
    if loudest <= 0:
        return b""
    sounding = np.flatnonzero(power > loudest * 10 ** (_SILENT_DB / 10))
    first = max(0, int(sounding[0]) * size - int(_BEFORE * source))
    last = (int(sounding[-1]) + 1) * size + int(_AFTER * source)
    speech = audio[first:last].astype(np.float32)
    active = power[power > loudest * 10 ** (-20 / 10)]
    gain = 10 ** ((LEVEL_DBOV - 10 * np.log10(float(active.mean()))) / 20)
    gain = min(gain, 10 ** (MOST_GAIN_DB / 20), PEAK / float(np.abs(speech).max()))
    ramp = np.linspace(0, 1, int(_FADE_SECONDS * source), dtype=np.float32)
    speech[: len(ramp)] *= ramp[: len(speech)]
    speech[-len(ramp) :] *= ramp[::-1][-len(speech) :]
    line = soxr.resample(speech * np.float32(gain), source, target, quality="HQ")
    pcm: bytes = (np.clip(line, -1, 1) * 32767).astype("<i2").tobytes()
    return pcm + bytes(2 * int(pause * target))
