"""Levels of PCM in dBov: 0 is a full-scale square wave, silence is :data:`SILENCE_DBOV`."""

from __future__ import annotations

import math

import numpy as np

SILENCE_DBOV = -96.0
"""What digital silence is reported as: the floor of 16 bits."""

_FULL_SCALE = 32768.0


def dbov(pcm: bytes) -> float:
    """Level of one frame in dBov (RFC 6464's scale), at least :data:`SILENCE_DBOV`."""
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float32)
    if not samples.size:
        return SILENCE_DBOV
    power = float(np.dot(samples, samples)) / samples.size
    if power < 1e-3:
        return SILENCE_DBOV
    return max(SILENCE_DBOV, 10.0 * math.log10(power / (_FULL_SCALE * _FULL_SCALE)))
