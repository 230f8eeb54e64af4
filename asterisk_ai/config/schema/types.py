"""Types that the schema's fields are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True)
class Range:
    """Both ends belong to it."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a text must be like, from its beginning to its end."""

    text: str


class Secret(str):
    """A string that :func:`repr` does not show: a configuration can be logged, its keys not.

    It is the string itself for everything else (``str()`` and formatting
    give the value), because an engine has to send it.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Names(tuple[str, ...]):
    """One name, or several in their order: ``a`` and ``[a, b]`` in the file."""

    __slots__ = ()

    def __str__(self) -> str:
        return ", ".join(self)


Network = Annotated[str, Pattern(r"[0-9A-Fa-f.:]+(/[0-9]{1,3})?")]
"""An address, or a network as in ``192.0.2.0/24``."""
Port = Annotated[int, Range(1, 65_535)]
AnyPort = Annotated[int, Range(0, 65_535)]
Seconds = Annotated[float, Range(0.1, 86_400)]
Workers = Annotated[int, Range(1, 64)]
Count = Annotated[int, Range(1, 100_000)]
