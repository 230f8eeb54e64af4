"""The end of a turn."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol

from asterisk_ai.providers.api.common import Engine


class TurnEnd(Engine, Protocol):
    """Tells by the sound of a turn whether it is over, shared by all calls."""

    @abstractmethod
    async def likelihood(self, pcm: bytes, rate: int) -> float:
        """Probability, 0 to 1, that a caller who pauses after ``pcm`` has finished; its last 8 s count."""
