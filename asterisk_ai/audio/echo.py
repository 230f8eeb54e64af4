"""The agent's own voice in what comes from the caller: found in what was played, and taken away.

Analogue lines, hybrids and speakerphones send back what they are played, 20 to 300 ms later and 6 to 30 dB below. What
was played is known, so no model and no learning is needed: for each loud frame the delay is the one at which the last
quarter of a second is most like what was played, and a filter of 8 ms, fitted to that quarter of a second by least
squares, says what of the frame is echo. So there is nothing to converge and nothing that a caller who speaks over the
agent could spoil: a filter of 64 coefficients cannot imitate 1,920 samples of another voice.

While the agent is silent, or the caller's line is, nothing is computed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from asterisk_ai.audio.levels import dbov

WINDOW = 0.24
"""Seconds to which the filter is fitted."""
LONGEST = 0.5
"""Seconds after which an echo is none any more: 0.3 of the line, the rest of buffers on the way."""
TAPS = 0.008
"""Seconds of the filter, a quarter of them before the likeliest delay: a hybrid's answer is shorter."""
AUDIBLE = -52.0
"""dBov. What is less loud is no speech, whatever it is."""
LIKE = 0.2
"""Likeness, 0 to 1, of the line to what was played from which some of it may be echo; other speech reaches 0.3."""
_LOOK_EVERY = 8
"""Frames between two searches for the delay, which seldom changes."""
_LOOK_FIRST = 2
"""The same, while none is known."""
_COARSE = 4
"""Samples that are one in a first search."""
_PEAKS = 6
"""Places that it finds and that are looked at sample by sample: a voice is much like itself some pulses later, too."""
_FIT_EVERY = 4
"""Frames between two fits."""
_JITTER = 0.05
"""Seconds that a frame may come sooner or later than its turn without a gap in the sound."""
_RIDGE = 1e-4

Samples = npt.NDArray[np.float32]


class EchoCanceller:
    """Of one call. It is told what is played and what is heard, frame by frame.

    :param clock: gives the seconds at which a frame is played; those of :meth:`cancel` are the same clock's.
    """

    def __init__(self, rate: int, clock: Callable[[], float]) -> None:
        self._rate, self._clock = rate, clock
        self._window, self._longest, self._taps = int(WINDOW * rate), int(LONGEST * rate), int(TAPS * rate)
        self._lead = self._taps // 4
        self._reference: Samples = np.zeros(2 * self._longest + self._window, np.float32)
        self._played_until = 0  # the reference's end, in samples of the clock
        self._frames: deque[bytes] = deque((bytes(2 * self._window),))
        self._kept = 2 * self._window  # bytes in them
        self._heard_until = 0
        self._heard: Samples = np.zeros(0, np.float32)
        self._waiting: deque[tuple[float, bytes]] = deque(maxlen=int(2 * LONGEST / 0.02))
        self._last = -math.inf  # when the last frame was played
        self._delay = -1  # samples; not known
        self._filter: Samples = np.zeros(self._taps, np.float32)
        self._count = 0

    def played(self, pcm: bytes) -> None:
        """A frame goes to the caller now. Cheap: all work is done where something is heard."""
        self._last = now = self._clock()
        self._waiting.append((now, pcm))

    def cancel(self, pcm: bytes, level: float, now: float) -> tuple[bytes, float]:
        """A frame that was heard at ``now``, and its level in dBov, without what of it is echo."""
        if now - self._last > LONGEST:
            return pcm, level
        self._hear(pcm, now)
        if level < AUDIBLE:
            return pcm, level
        self._heard = np.frombuffer(b"".join(self._frames), "<i2")[-self._window :].astype(np.float32)
        heard = self._heard[-len(pcm) // 2 :]
        while self._waiting:
            self._play(*self._waiting.popleft())
        known = self._delay >= 0
        if self._count % (_LOOK_EVERY if known else _LOOK_FIRST) == 0:
            self._delay = self._likeliest()
        fit = self._count % _FIT_EVERY == 0 or not known
        self._count += 1
        if self._delay < 0:
            return pcm, level
        if fit:
            self._filter = self._fitted()
        reference = self._part(self._heard_until - self._delay + self._lead, len(heard) + self._taps - 1)
        rest = heard - np.convolve(reference, self._filter, "valid")
        left = rest.clip(-32768, 32767).astype("<i2").tobytes()
        return left, min(level, dbov(left))

    # ---- the two sides on one time line ------------------------------------------------

    def _hear(self, pcm: bytes, now: float) -> None:
        self._heard_until += len(pcm) // 2
        at = round(now * self._rate)
        if abs(at - self._heard_until) > _JITTER * self._rate:  # frames were lost, or none came for a while
            self._heard_until, self._delay = at, -1
            self._frames, self._kept = deque((bytes(2 * self._window),)), 2 * self._window
        self._frames.append(pcm)
        self._kept += len(pcm)
        while self._kept - len(self._frames[0]) >= 2 * self._window:
            self._kept -= len(self._frames.popleft())

    def _play(self, now: float, pcm: bytes) -> None:
        played = np.frombuffer(pcm, "<i2").astype(np.float32)
        silence = round(now * self._rate) - self._played_until
        if abs(silence) > _JITTER * self._rate:
            gap = np.zeros(max(0, min(silence, len(self._reference))), np.float32)
            self._played_until += silence
        else:
            gap = np.zeros(0, np.float32)
        self._played_until += len(played)
        self._reference = np.concatenate((self._reference, gap, played))[-len(self._reference) :]

    def _part(self, until: int, length: int) -> Samples:
        """``length`` samples of what was played, to the clock's sample ``until``; silence where nothing was."""
        end = len(self._reference) - (self._played_until - until)
        start = max(0, end - length)
        part = self._reference[min(start, len(self._reference)) : max(0, min(end, len(self._reference)))]
        missing = max(0, end - len(self._reference))
        padded: Samples = np.pad(part, (length - len(part) - min(missing, length), min(missing, length)))[-length:]
        return padded

    # ---- delay and filter --------------------------------------------------------------

    def _likeliest(self) -> int:
        """The delay, in samples, at which the line is most like what was played; -1 where it is not like it."""
        reference = self._part(self._heard_until, self._window + self._longest)
        coarse, heard = _coarse(reference), _coarse(self._heard)
        energy = np.concatenate(([0.0], np.cumsum(coarse.astype(np.float64) ** 2)))
        energy = energy[len(heard) :] - energy[: -len(heard)]
        alike = np.abs(np.correlate(coarse, heard, "valid"))
        alike /= np.sqrt((energy + len(heard)) * (float(np.dot(heard, heard)) + 1.0))
        if alike.max() < LIKE:
            return -1
        peaks = np.flatnonzero((alike >= np.append(alike[1:], 0)) & (alike >= np.append(0, alike[:-1])))
        peaks = peaks[np.argsort(alike[peaks])[-_PEAKS:]]
        near = np.arange(-_COARSE, _COARSE + 1)
        places = (_COARSE * peaks[:, None] + near).clip(0, self._longest).ravel()
        parts = np.lib.stride_tricks.sliding_window_view(reference, self._window)[places]
        energies = np.einsum("ij,ij->i", parts, parts) + self._window
        fine = np.abs(parts @ self._heard) / np.sqrt(energies * (float(np.dot(self._heard, self._heard)) + 1.0))
        at = int(np.argmax(fine))
        return max(self._lead, self._longest - int(places[at])) if fine[at] >= LIKE else -1

    def _fitted(self) -> Samples:
        """The filter that makes of what was played what is most like the line, with the least squares of the rest."""
        until = self._heard_until - self._delay + self._lead
        reference = self._part(until, self._window + self._taps - 1)
        power = _products(reference, self._window, self._taps)
        power[np.diag_indices(self._taps)] += _RIDGE * np.trace(power) / self._taps + self._window
        fitted: Samples = np.linalg.solve(power, np.correlate(reference, self._heard, "valid"))[::-1].astype(np.float32)
        return fitted


def _coarse(samples: Samples) -> Samples:
    mean: Samples = samples.reshape(-1, _COARSE) @ np.full(_COARSE, 1 / _COARSE, np.float32)
    return mean


def _products(samples: Samples, window: int, taps: int) -> npt.NDArray[np.float64]:
    """How much of ``samples[i : i + window]`` is in ``samples[j : j + window]``, for all i and j below ``taps``.

    A sample further on, for both, that is the same but for what has gone out of them and what has come in: so the first
    row is computed, and all others follow from it, at a third of the cost of multiplying all with all.
    """
    edges = np.zeros((2, 2 * taps))  # what goes out, and what comes in
    edges[0, : taps - 1], edges[1, : taps - 1] = samples[: taps - 1], samples[window:]
    later = np.lib.stride_tricks.sliding_window_view(edges, taps, axis=1)[:, : taps - 1]
    diagonals = np.empty((taps, taps))  # [i, d] is what belongs to i and i + d
    diagonals[0] = np.correlate(samples, samples[:window], "valid")
    diagonals[1:] = edges[1, : taps - 1, None] * later[1] - edges[0, : taps - 1, None] * later[0]
    np.cumsum(diagonals, axis=0, out=diagonals)
    found = np.zeros((taps, 2 * taps))
    row, column = found.strides
    np.lib.stride_tricks.as_strided(found, (taps, taps), (row + column, column))[:] = diagonals
    upper = found[:, :taps]
    whole: npt.NDArray[np.float64] = upper + upper.T
    whole[np.diag_indices(taps)] = diagonals[:, 0]
    return whole
