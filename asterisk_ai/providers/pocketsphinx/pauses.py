"""Where the speech in an utterance is, by level alone: good enough to decode ahead, as nothing is lost by an error."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FRAME_SECONDS = 0.02
PAUSE_FRAMES = 8
"""160 ms: longer than the closure of a stop consonant, shorter than the shortest endpoint by the decoding's time."""
MARGIN_FRAMES = 15
"""300 ms that are kept before and after: quiet consonants, and silence for the decoder to begin and end in."""
BELOW_PEAK_DB = 28.0
FLOOR_DBOV = -62.0
"""Nothing this quiet is speech, whatever the peak."""
LEAST_SPEECH_FRAMES = 4


class Pauses:
    """Levels of an utterance in frames of 20 ms."""

    def __init__(self, rate: int) -> None:
        self._size = int(rate * FRAME_SECONDS)
        self._rest = np.zeros(0, np.int16)
        self._levels: list[float] = []

    @property
    def frames(self) -> int:
        """Frames seen."""
        return len(self._levels)

    @property
    def samples(self) -> int:
        """Samples seen, those of a frame that is not full yet too."""
        return len(self._levels) * self._size + len(self._rest)

    def feed(self, pcm: bytes) -> None:
        samples = np.concatenate([self._rest, np.frombuffer(pcm[: len(pcm) & ~1], np.int16)])
        count = len(samples) // self._size
        self._rest = samples[count * self._size :]
        frames = samples[: count * self._size].astype(np.float64).reshape(count, self._size) / 32768
        power = np.maximum(frames.var(axis=1), 1e-10)
        self._levels += [float(level) for level in 10 * np.log10(power)]

    def pausing(self) -> bool:
        """Whether there was speech, and a pause is now."""
        loud = self._loud()
        return int(loud.sum()) >= LEAST_SPEECH_FRAMES and not loud[-PAUSE_FRAMES:].any()

    def loud_since(self, frame: int) -> bool:
        """Whether anything after a frame may be speech. A click of one frame is none."""
        return int(self._loud()[frame:].sum()) > 1

    def speech(self) -> tuple[int, int]:
        """First and last sample (exclusive) of the speech with margins; (0, 0) where there is none."""
        loud = np.flatnonzero(self._loud())
        if len(loud) < LEAST_SPEECH_FRAMES:
            return 0, 0
        first = max(0, int(loud[0]) - MARGIN_FRAMES) * self._size
        last = (int(loud[-1]) + 1 + MARGIN_FRAMES) * self._size
        return first, min(last, self.samples)

    def _loud(self) -> npt.NDArray[np.bool_]:
        levels = np.array(self._levels)
        if not len(levels):
            return np.zeros(0, np.bool_)
        peak = float(np.quantile(levels, 0.95)) if len(levels) > 20 else float(levels.max())
        return levels > max(peak - BELOW_PEAK_DB, FLOOR_DBOV)
