"""A sound that is heard softly behind all that is said, over and over."""

from __future__ import annotations

import audioop

import numpy as np

from asterisk_ai.audio.formats import SAMPLE_BYTES, duration
from asterisk_ai.audio.levels import dbov

SEAM_SECONDS = 0.1
"""So long the sound's end passes into its beginning."""


def looped(pcm: bytes, rate: int, level: float) -> bytes:
    """``pcm`` at a mean ``level`` (dBov), and so that it can follow itself without a click.

    :raises ValueError: it is silent, or shorter than two seams.
    """
    seam = int(SEAM_SECONDS * rate)
    if duration(len(pcm), rate) < 2 * SEAM_SECONDS:
        raise ValueError("it is too short")
    loudness = dbov(pcm)
    if loudness <= -90:
        raise ValueError("it is silent")
    samples = np.frombuffer(pcm, "<i2").astype(np.float64) * 10 ** ((level - loudness) / 20)
    fade = np.linspace(0.0, 1.0, seam)
    # Equal power, as the two ends have nothing to do with each other
    samples[:seam] = samples[:seam] * np.sqrt(fade) + samples[-seam:] * np.sqrt(1 - fade)
    return np.clip(samples[:-seam], -32768, 32767).astype("<i2").tobytes()


class Ambience:
    """One caller's place in it.

    :param pcm: as :func:`looped` makes it; shared by all calls.
    """

    __slots__ = ("_at", "_pcm")

    def __init__(self, pcm: bytes) -> None:
        self._pcm = pcm
        self._at = 0

    def next(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        end = self._at + size
        piece = self._pcm[self._at : end]
        while len(piece) < size:
            end = size - len(piece)
            piece += self._pcm[:end]
        self._at = end % len(self._pcm)
        return piece

    def behind(self, speech: bytes) -> bytes:
        """``speech`` with the next of it; what is too loud together is cut off at full scale."""
        return audioop.add(speech, self.next(len(speech)), SAMPLE_BYTES)
