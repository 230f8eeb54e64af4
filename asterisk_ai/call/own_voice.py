"""What a call hears without the agent's own voice; where that cannot be taken away, what came is heard as it is."""

from __future__ import annotations

import logging
from collections.abc import Callable

from asterisk_ai.audio.echo import EchoCanceller
from asterisk_ai.audio.levels import dbov

logger = logging.getLogger(__name__)


class OwnVoice:
    """Of one line. A canceller that fails is left out for the rest of the call: the caller is worth more than it.

    :param cancels: False hears everything as it comes (``turn.echo_cancelling``).
    :param clock: as of :class:`~asterisk_ai.audio.echo.EchoCanceller`.
    """

    def __init__(self, rate: int, clock: Callable[[], float], *, cancels: bool) -> None:
        self._canceller = EchoCanceller(rate, clock) if cancels else None

    def played(self, pcm: bytes) -> None:
        """A frame goes to the caller now."""
        if self._canceller is not None:
            self._canceller.played(pcm)

    def without(self, pcm: bytes, now: float) -> tuple[bytes, float]:
        """A frame that was heard at ``now``, and its level in dBov, without what of it is the agent's voice."""
        level = dbov(pcm)
        if self._canceller is None:
            return pcm, level
        try:
            return self._canceller.cancel(pcm, level, now)
        except Exception:  # numbers that nobody foresaw; what the caller says is understood all the same
            logger.exception("the agent's echo cannot be taken away and is heard for the rest of the call")
            self._canceller = None
            return pcm, level
