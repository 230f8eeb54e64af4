"""What engines take for their work, in the units that vendors charge by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Usage:
    """Of one piece of work, or of many together."""

    input_tokens: int = 0
    """All that a model was told."""
    cached_tokens: int = 0
    """So many of these the service had kept from before."""
    output_tokens: int = 0
    """What it wrote, thoughts included."""
    characters: int = 0
    """Of text that was spoken."""
    seconds: float = 0.0
    """Of audio that was heard, or that a conversation by speech to speech took."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    def __bool__(self) -> bool:
        return self != Usage()


Spend = Callable[[Usage], None]


def unmetered(usage: Usage) -> None:
    """For who counts nothing."""
