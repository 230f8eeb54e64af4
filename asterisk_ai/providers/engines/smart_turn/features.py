"""Whisper's input features, in numpy: the log-mel spectrogram of the last 8 s.

As Whisper's feature extractor makes them for a chunk of 8 s, normalised:
windows of 25 ms every 10 ms, 80 mel bands (Slaney's scale and norm) from 0 to
8 kHz, log10, the lowest 8 decades below the highest cut off.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

RATE = 16_000
SECONDS = 8
BANDS = 80
FRAMES = 100 * SECONDS
_WINDOW, _HOP = 400, 160

Floats = npt.NDArray[np.float32]


def features(samples: npt.NDArray[Any]) -> Floats:
    """Samples at RATE, any number and scale, to shape (BANDS, FRAMES); the last 8 s count, silence goes before less."""
    last = np.zeros(RATE * SECONDS)
    kept = samples[-len(last) :]
    if len(kept):
        last[-len(kept) :] = kept
    last = (last - last.mean()) / np.sqrt(last.var() + 1e-7)
    padded = np.pad(last, _WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][:FRAMES]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    power = np.abs(np.fft.rfft(frames * hann, axis=1)) ** 2
    logs = np.log10(np.maximum(_filters() @ power.T, 1e-10))
    found: Floats = ((np.maximum(logs, logs.max() - 8) + 4) / 4).astype(np.float32)
    return found


@functools.cache
def _filters() -> npt.NDArray[np.float64]:
    """Triangles over the spectrum, shape (BANDS, bins), each of the same area."""
    edges = _hertz(np.linspace(0, _mel(RATE / 2), BANDS + 2))
    bins = np.linspace(0, RATE / 2, _WINDOW // 2 + 1)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    height = 2 / (edges[2:] - edges[:-2])
    found: npt.NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling)) * height[:, None]
    return found


def _mel(hertz: float) -> float:
    """Slaney's scale above 1 kHz, where it is logarithmic."""
    return float(15 + 27 * np.log(hertz / 1000) / np.log(6.4))


def _hertz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Slaney's scale: linear to 1 kHz at 15, logarithmic above."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))
