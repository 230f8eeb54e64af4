"""Where the speech in an utterance is, by level alone: good enough to decode ahead, as nothing is lost by an error."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FRAME_SECONDS = 0.02
PAUSE_FRAMES = 6
"""120 ms: longer than most closures of stop consonants, shorter than the shortest endpoint by far."""
MARGIN_FRAMES = 10
"""200 ms that are kept before and after: quiet consonants, and silence for the decoder to begin and end in."""
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
        whole = len(samples) // self._size * self._size
        self._rest = samples[whole:]
        self._levels += levels(samples[:whole].tobytes(), self._size).tolist()

    def pausing(self, frames: int = PAUSE_FRAMES) -> bool:
        """Whether there was speech, and a pause of that many frames is now."""
        loud = self._loud()
        return int(loud.sum()) >= LEAST_SPEECH_FRAMES and not loud[-frames:].any()

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

    def quietest(self, sample: int) -> int:
        """The sample in the middle of the quietest 100 ms from ``sample`` on."""
        first = sample // self._size
        found = np.convolve(np.array(self._levels[first:]), np.ones(5), "valid")
        return (first + (int(found.argmin()) + 2 if len(found) else 0)) * self._size

    def _loud(self) -> npt.NDArray[np.bool_]:
        return loud(np.array(self._levels))


class Collected:
    """The audio of an utterance, by samples from its beginning, and where its pauses are."""

    def __init__(self, rate: int, seconds: float) -> None:
        """``seconds`` of it are kept; the oldest is dropped."""
        self.rate = rate
        self._limit = int(seconds * rate) * 2
        self.pauses = Pauses(rate)
        self.dropped = 0
        """Bytes of it that are no longer there."""
        self._audio = bytearray()

    def feed(self, data: bytes) -> None:
        data = data[: len(data) & ~1]
        self._audio += data
        surplus = len(self._audio) - self._limit
        if surplus > 0:
            del self._audio[:surplus]
            self.dropped += surplus
        self.pauses.feed(data)

    def part(self, start: int, end: int) -> bytes:
        """What there still is of the samples from ``start`` to ``end``."""
        return bytes(self._audio[max(0, start * 2 - self.dropped) : max(0, end * 2 - self.dropped)])

    def clear(self) -> None:
        self._audio.clear()


def levels(pcm: bytes, size: int) -> npt.NDArray[np.float64]:
    """The level in dBov of each whole frame of ``size`` samples."""
    samples = np.frombuffer(pcm, np.int16)
    count = len(samples) // size
    frames = samples[: count * size].astype(np.float64).reshape(count, size) / 32768
    return 10 * np.log10(np.maximum(frames.var(axis=1), 1e-10)) if count else np.zeros(0)


def loud(found: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which of the frames may be speech by their levels."""
    if not len(found):
        return np.zeros(0, np.bool_)
    peak = float(np.quantile(found, 0.95)) if len(found) > 20 else float(found.max())
    return np.asarray(found > max(peak - BELOW_PEAK_DB, FLOOR_DBOV))
