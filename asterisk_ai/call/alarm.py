"""The one timer of a call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Calls ``ring`` at the time that it was set to last, or somewhat sooner: it is to be set anew then.

    :param clock: seconds, as the times are told in.
    """

    def __init__(self, clock: Callable[[], float], ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._at = 0.0

    def set(self, due: float | None) -> None:
        """Ring at ``due``; None: not at all."""
        if self._timer is not None:
            if due is not None and self._at <= due:
                return  # it rings early and is set anew then: cheaper than one timer a step
            self.cancel()
        if due is not None:
            self._at = due
            self._timer = asyncio.get_running_loop().call_later(max(0.0, due - self._clock()), self._fired)

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """The call is over: it is not known here any more."""
        self.cancel()
        self._ring = _nobody

    def _fired(self) -> None:
        self._timer = None
        self._ring()


def _nobody() -> None: ...
