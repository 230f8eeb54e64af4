"""How evenly a voice is made: from that follows how much of it is kept in hand before it is heard."""

from __future__ import annotations

from collections import deque

UNKNOWN_SECONDS = 0.06
"""Start buffer of a voice that nothing is known about yet."""
MAX_SECONDS = 1.0
"""A longer start buffer would keep callers waiting for longer than a gap does."""
_MARGIN_SECONDS = 0.02
_PIECES = 8


class Pace:
    """What the latest pieces of speech of an agent would have needed in hand to be played without a gap.

    A voice that is made faster than it is played needs nothing, and is heard with its first frame.
    """

    def __init__(self) -> None:
        self._needed: deque[float] = deque(maxlen=_PIECES)

    def made(self, needed: float) -> None:
        """A piece of speech is complete. ``needed``: the seconds by which its audio was late at the worst, or 0."""
        self._needed.append(needed)

    @property
    def start_buffer(self) -> float:
        """Seconds of a piece that have to be there before it is played."""
        if not self._needed:
            return UNKNOWN_SECONDS
        worst = max(self._needed)
        return min(MAX_SECONDS, worst + _MARGIN_SECONDS) if worst > 0 else 0.0


class Delivery:
    """The delivery of one piece, from its first audio on.

    :param now: when that was there, in seconds.
    """

    def __init__(self, now: float) -> None:
        self._began = now
        self._seconds = 0.0
        self.needed = 0.0

    def came(self, now: float, seconds: float) -> None:
        """So many seconds of audio have come, and what came before them has been played for as long as it lasts."""
        self.needed = max(self.needed, now - self._began - self._seconds)
        self._seconds += seconds
