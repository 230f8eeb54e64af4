"""What a caller's line brings while the agent speaks, and whether it is to stop for it.

Clicks, coughs, noise, hum and music are made here, the same at every run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

RATE = 8000

Samples = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sound:
    """One sound, 16-bit PCM at RATE; ``true``: the agent has to stop for it."""

    name: str
    kind: str
    pcm: bytes

    @property
    def true(self) -> bool:
        return self.kind in ("long", "short")


def recording(path: Path) -> bytes:
    """A WAV of RATE."""
    samples, rate = soundfile.read(path, dtype="int16")
    if rate != RATE:
        raise ValueError(f"{path}: {rate} Hz, not {RATE}")
    return bytes(samples.tobytes())


def synthetic() -> Iterator[Sound]:
    """Clicks, coughs, noise of several colours and levels, hum, and music."""
    rng = np.random.default_rng(7)
    for number in range(12):
        yield Sound(f"click {number}", "click", _pcm(_click(rng)))
    for number in range(16):
        yield Sound(f"cough {number}", "cough", _pcm(_cough(rng)))
    for level in (-60, -50, -45, -40, -35, -30, -25):
        yield Sound(f"white noise {level} dBov", "noise", _pcm(_at(level, rng.normal(0, 1, 2 * RATE))))
    for level in (-45, -35, -25):
        yield Sound(f"pink noise {level} dBov", "noise", _pcm(_at(level, _pink(rng, 2 * RATE))))
    for level in (-40, -25):
        yield Sound(f"hum {level} dBov", "hum", _pcm(_at(level, _tones((50, 100, 150, 250), 2.0))))
    for number, level in enumerate((-40, -30, -25, -20)):
        yield Sound(f"chords {level} dBov", "music", _pcm(_at(level, _chords(rng, 0.4 + 0.15 * number))))


def _pcm(samples: Samples) -> bytes:
    return bytes(samples.clip(-32768, 32767).astype("<i2").tobytes())


def _at(level: float, samples: Samples) -> Samples:
    """``samples`` at ``level`` dBov."""
    scaled: Samples = samples / np.sqrt(np.mean(samples**2)) * 32768 * 10 ** (level / 20)
    return scaled


def _click(rng: np.random.Generator) -> Samples:
    samples = np.zeros(int(RATE * 0.5))
    length = int(RATE * rng.uniform(0.005, 0.06))
    samples[800 : 800 + length] = rng.normal(0, 8000, length) * np.exp(-np.arange(length) / (length / 4))
    return samples


def _cough(rng: np.random.Generator) -> Samples:
    """Bursts of coloured noise with a fast attack and a slow decay, as a cough has them."""
    samples = np.zeros(int(RATE * 0.9))
    position = 800
    for _ in range(rng.integers(1, 3)):
        length = int(RATE * rng.uniform(0.12, 0.24))
        decay = np.exp(-np.arange(length) / (length / 3))
        burst = np.convolve(rng.normal(0, 1, length), np.ones(4) / 4, "same") * decay
        samples[position : position + length] += 9000 * burst
        position += length + int(RATE * 0.06)
    return samples


def _pink(rng: np.random.Generator, length: int) -> Samples:
    """Noise whose power falls by 3 dB an octave."""
    spectrum = np.fft.rfft(rng.normal(0, 1, length))
    pink: Samples = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 20)), length)
    return pink


def _tones(hertz: Sequence[float], seconds: float) -> Samples:
    times = np.arange(int(seconds * RATE)) / RATE
    return np.asarray(sum(np.sin(2 * np.pi * tone * times) for tone in hertz))


def _chords(rng: np.random.Generator, seconds: float) -> Samples:
    """Chords of plucked strings, one every ``seconds``."""
    pieces: list[Any] = []
    for root in rng.choice([196.0, 220.0, 261.6, 293.7, 329.6], size=int(4 / seconds)):
        notes = [root * interval * overtone for interval in (1, 1.25, 1.5) for overtone in (1, 2, 3)]
        pieces.append(_tones(notes, seconds) * np.exp(-np.arange(int(seconds * RATE)) / (seconds * RATE / 2)))
    return np.concatenate(pieces)
