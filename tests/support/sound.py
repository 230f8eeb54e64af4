"""What simulated callers whistle, and which whistling they hear."""

from __future__ import annotations

import numpy as np

from asterisk_ai.simulator.asterisk import Result


def tone(hertz: float = 400, seconds: float = 0.4, rate: int = 8000) -> bytes:
    return (np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate) * 6000).astype("<i2").tobytes()


def voices(result: Result) -> set[int]:
    """The pitches of the agent in a call, in Hz."""
    samples = np.frombuffer(bytes(result.agent), "<i2").astype(float)
    found = set()
    for start in range(0, len(samples) - 800, 800):
        piece = samples[start : start + 800]
        if np.abs(piece).max() > 4000:
            found.add(int(round(float(np.argmax(np.abs(np.fft.rfft(piece)))) * 10, -2)))
    return found
