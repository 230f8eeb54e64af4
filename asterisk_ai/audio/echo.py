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
"""Frames between two searches for the delay, which seldom changes: they are half of the work."""
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
        if self._count % _LOOK_EVERY == 0 or self._delay < 0:
            self._delay = self._likeliest()
        if self._delay < 0:
            self._count += 1
            return pcm, level
        if self._count % _FIT_EVERY == 0:
            self._filter = self._fitted()
        self._count += 1
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
        size = 1 << (len(reference) - 1).bit_length()
        product = np.fft.rfft(reference, size) * np.conj(np.fft.rfft(self._heard, size))
        alike = np.abs(np.fft.irfft(product, size)[: self._longest + 1])
        energy = np.concatenate(([0.0], np.cumsum(reference.astype(np.float64) ** 2)))
        energy = energy[self._window :] - energy[: self._longest + 1]
        own = float(np.dot(self._heard, self._heard))
        alike /= np.sqrt((energy + len(self._heard)) * (own + 1.0))
        at = int(np.argmax(alike))
        return max(self._lead, self._longest - at) if alike[at] >= LIKE else -1

    def _fitted(self) -> Samples:
        """The filter that makes of what was played what is most like the line, with the least squares of the rest."""
        until = self._heard_until - self._delay + self._lead
        reference = self._part(until, self._window + self._taps - 1)
        delayed = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(reference, self._taps))
        power = delayed.T @ delayed
        power[np.diag_indices(self._taps)] += _RIDGE * np.trace(power) / self._taps + self._window
        fitted: Samples = np.linalg.solve(power, delayed.T @ self._heard)[::-1].astype(np.float32)
        return fitted
