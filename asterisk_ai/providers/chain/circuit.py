"""A circuit breaker: an engine that has failed some times in a row is left alone for a while."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

LONGEST_SECONDS = 300.0
KEPT_INCIDENTS = 16
"""That are remembered, the oldest goes first: an engine has some workers that may die at once."""


class Breaker:
    """Closed while all is well; open after ``failures`` in a row; then one call tries, the others wait for its news.

    Each trial that fails doubles the time until the next one, up to five minutes.
    """

    def __init__(
        self, *, failures: int = 3, open_seconds: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = failures
        self._first_seconds = self._open_seconds = open_seconds
        self._clock = clock
        self._failed = 0
        self._until = 0.0
        self._trying = False
        self._reason = ""
        self._incidents: deque[object] = deque(maxlen=KEPT_INCIDENTS)

    @property
    def open(self) -> bool:
        """The engine is left alone, or being tried after that."""
        return self._failed >= self._limit

    def allows(self) -> bool:
        """Whether a call may use the engine now. Does not reserve a trial, see :meth:`begin`."""
        return not self.open or (self._clock() >= self._until and not self._trying)

    def begin(self) -> None:
        """A call uses the engine; one of the three below must follow."""
        self._trying = self.open

    def succeeded(self) -> None:
        self._failed, self._trying, self._reason = 0, False, ""
        self._open_seconds = self._first_seconds

    def failed(self, reason: str, incident: object = None) -> bool:
        """:returns: whether it counts; further failures of the same ``incident`` do not."""
        if incident is not None:
            if incident in self._incidents:
                self._trying = False
                return False
            self._incidents.append(incident)
        if self._trying:
            self._open_seconds = min(2 * self._open_seconds, LONGEST_SECONDS)
        self._failed += 1
        self._trying, self._reason = False, reason
        if self.open:
            self._until = self._clock() + self._open_seconds
        return True

    def left(self) -> None:
        """The caller went on before it was known how it goes."""
        self._trying = False

    def problem(self) -> str:
        """Why the engine is left alone; empty where it is not."""
        if not self.open:
            return ""
        wait = max(0.0, self._until - self._clock())
        return f"failed {self._failed} times in a row, tried again in {wait:.0f} s: {self._reason}"
