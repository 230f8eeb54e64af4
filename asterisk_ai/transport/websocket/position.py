"""How far Asterisk has played what it was sent: it keeps a queue of its own, and tells only where it is asked to."""

from __future__ import annotations

from collections import deque

from asterisk_ai.audio.formats import PTIME_MS

MARK_FRAMES = 10
"""Frames from one mark to the next. Between them Asterisk's clock and ours are taken for equal."""
MOST_AHEAD = 3
"""Frames in Asterisk's queue from which on silence is left out: one waits for Asterisk's tick, one evens out ours."""
_TRIES = 3
"""Marks that are sent before an Asterisk that answers none is taken for one that knows none."""
_FRAME_SECONDS = PTIME_MS / 1000
_REMEMBERED = 64
"""Frames whose sizes are kept: what a late clock sends at once, many times over."""


class Position:
    """Counts frames. Asterisk plays one in 20 ms, and says with each mark which it is at.

    Time is an argument, in seconds of any clock.
    """

    def __init__(self) -> None:
        self.known = False
        """Whether Asterisk answers marks; up to 20.17, 22.7 and 23.1, and in all of 21, it does not."""
        self.skip = 0
        """Frames of silence to leave out, so that Asterisk's queue gets shorter."""
        self._sent = 0
        self._sizes: deque[int] = deque(maxlen=_REMEMBERED)
        self._at, self._since = 0, 0.0  # so many frames had been handed to the caller then
        self._held = False
        self._next_mark, self._tries = 0, _TRIES

    def mark(self) -> str:
        """The name of the mark that has to go before the next frame; empty where none has to."""
        if self._sent < self._next_mark or not (self.known or self._tries):
            return ""
        if not self.known:
            self._tries -= 1
        self._next_mark = self._sent + MARK_FRAMES
        return str(self._sent)

    def sent(self, size: int, now: float) -> None:
        """A frame is on its way: bytes of speech, 0 for silence."""
        if not self._ahead(now):  # Asterisk has waited for it
            self._at, self._since = self._sent, now
        self._sent += 1
        self._sizes.append(size)

    def processed(self, mark: str, now: float) -> None:
        """Asterisk has come to a mark: what was sent behind it begins to be played. Other names are left out."""
        if not mark.isdecimal() or not 0 <= self._sent - int(mark) <= 2 * _REMEMBERED:
            return
        self.known = True
        self._at, self._since = int(mark) + 1, now
        ahead = self._sent - int(mark)
        self.skip = ahead - MOST_AHEAD + 1 if ahead > MOST_AHEAD else 0

    def unheard(self, now: float) -> int:
        """Bytes of speech that were sent and not begun to be played yet: a frame that has begun is heard to its end."""
        ahead = min(self._ahead(now), len(self._sizes))
        return sum(self._sizes[-frame] for frame in range(1, ahead + 1))

    def may_wait(self, now: float) -> bool:
        """Whether speech may wait in Asterisk: a frame that we take for begun may not have been, for a tick."""
        ahead = min(self._ahead(now) + 1, len(self._sizes))
        return any(self._sizes[-frame] for frame in range(1, ahead + 1))

    def _ahead(self, now: float) -> int:
        """Frames that were sent and not begun to be played yet."""
        played = 0 if self._held else int((now - self._since) / _FRAME_SECONDS)
        return max(0, self._sent - self._at - played)

    def flushed(self, now: float) -> None:
        """Asterisk has forgotten all that it had not played, and marks among it."""
        self._at, self._since, self._next_mark = self._sent, now, self._sent
        self._held, self.skip = False, 0

    def hold(self, now: float) -> None:
        """Asterisk plays nothing from now on, until :meth:`go_on`."""
        self._at = self._sent - self._ahead(now)
        self._held = True

    def go_on(self, now: float) -> None:
        self._held, self._since = False, now
