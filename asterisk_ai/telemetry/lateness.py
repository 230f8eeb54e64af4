"""How late the audio clock has been in the last seconds: what admission of new calls is measured by."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

PERIODS = 6
FEW_CALLS = 10
"""So few calls cannot be what makes the clock late: refusing one more would help nobody."""


class Lateness:
    """The 99th percentile of the clock's lag over the last :data:`PERIODS` periods, and whether that is too much.

    Too much is more than ``limit_ms`` (0: never); it ends at half of that, so that calls are not let in by turns.
    """

    def __init__(self) -> None:
        self.p99_ms = 0.0
        self.too_late = False
        self._periods: deque[Sequence[int]] = deque(maxlen=PERIODS)

    def problem(self) -> str:
        """Why no more calls should come; empty where they may."""
        return f"audio leaves {self.p99_ms:.0f} ms late: this machine can do no more" if self.too_late else ""

    def add(self, lags: Sequence[int], *, calls: int, limit_ms: float) -> None:
        """One period: how many slots were 0, 1, 2, ... ms late; and how many calls there were."""
        if self._periods and len(lags) != len(self._periods[0]):
            raise ValueError("periods of different lengths")
        self._periods.append(lags)
        counts = [sum(column) for column in zip(*self._periods, strict=True)]
        beyond = sum(counts) / 100
        above = 0
        self.p99_ms = 0.0
        for lag in range(len(counts) - 1, -1, -1):
            above += counts[lag]
            if above > beyond:
                self.p99_ms = float(lag)
                break
        limit = limit_ms / 2 if self.too_late else limit_ms
        self.too_late = bool(limit_ms) and calls >= FEW_CALLS and self.p99_ms > limit
