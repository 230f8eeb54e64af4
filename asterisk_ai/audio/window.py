"""The last seconds of one stream of audio."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from asterisk_ai.audio.formats import SAMPLE_BYTES, duration


class Window:
    """A rolling window over PCM: holds the last ``seconds`` of what was pushed, drops what is older and counts it.

    Pieces stay as they came, so that a frame that is kept is not copied; only the oldest may be cut.
    """

    __slots__ = ("_limit", "_pieces", "_size", "dropped", "rate")

    def __init__(self, seconds: float, rate: int) -> None:
        """:param rate: of the audio, in Hz."""
        self.rate = rate
        self.dropped = 0
        """Samples that were dropped because newer ones came; those of :meth:`take` and :meth:`clear` are not."""
        self._limit = round(seconds * rate) * SAMPLE_BYTES
        self._pieces: deque[bytes] = deque()
        self._size = 0

    def push(self, pcm: bytes) -> None:
        """Append whole samples."""
        self._pieces.append(pcm)
        self._size += len(pcm)
        if self._size > self._limit:
            self._drop()

    def _drop(self) -> None:
        surplus = self._size - self._limit
        self.dropped += surplus // SAMPLE_BYTES
        self._size = self._limit
        while surplus:
            oldest = self._pieces.popleft()
            if len(oldest) > surplus:
                self._pieces.appendleft(oldest[surplus:])
                return
            surplus -= len(oldest)

    def __iter__(self) -> Iterator[bytes]:
        """The pieces, oldest first."""
        return iter(self._pieces)

    def __bool__(self) -> bool:
        """Whether it holds anything."""
        return self._size > 0

    @property
    def seconds(self) -> float:
        """How much it holds."""
        return duration(self._size, self.rate)

    def pcm(self) -> bytes:
        """All that it holds, in one."""
        return b"".join(self._pieces)

    def take(self) -> list[bytes]:
        """All that it holds, in pieces; it is empty then."""
        pieces = list(self._pieces)
        self.clear()
        return pieces

    def clear(self) -> None:
        """Forget what it holds."""
        self._pieces.clear()
        self._size = 0
