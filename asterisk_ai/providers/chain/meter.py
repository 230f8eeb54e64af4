"""What engines cost, and when they have cost enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from asterisk_ai.config.schema import Range
from asterisk_ai.config.settings import read_settings
from asterisk_ai.providers.api import Usage

MILLION = 1_000_000
KEYS = ("price", "limits")
"""Of an engine below ``providers``; the engine itself is not told of them."""


@dataclass(frozen=True, slots=True)
class Price:
    """``providers.NAME.price``, in the administrator's currency."""

    input_tokens: Annotated[float, Range(0, 1e9)] = 0.0
    """Of a million."""
    cached_tokens: Annotated[float, Range(0, 1e9)] | None = None
    """Of a million that the service had kept; as others where nothing is said."""
    output_tokens: Annotated[float, Range(0, 1e9)] = 0.0
    """Of a million."""
    characters: Annotated[float, Range(0, 1e9)] = 0.0
    """Of a million."""
    minute: Annotated[float, Range(0, 1e9)] = 0.0
    """Of audio."""

    def of(self, usage: Usage) -> float:
        cached = self.input_tokens if self.cached_tokens is None else self.cached_tokens
        tokens = (
            (usage.input_tokens - usage.cached_tokens) * self.input_tokens
            + usage.cached_tokens * cached
            + usage.output_tokens * self.output_tokens
        )
        return (tokens + usage.characters * self.characters) / MILLION + usage.seconds / 60 * self.minute


@dataclass(frozen=True, slots=True)
class CostLimits:
    """``providers.NAME.limits``, in the currency of the prices; 0: there is none."""

    call: Annotated[float, Range(0, 1e9)] = 0.0
    day: Annotated[float, Range(0, 1e9)] = 0.0


class Purse(Protocol):
    """What a call has spent."""

    def spent(self, stage: str, engine: str, usage: Usage, cost: float) -> None:
        """An engine has done something for the call."""

    def cost_of(self, engine: str) -> float:
        """What the engine has cost the call so far."""
        ...


class Meter:
    """One engine's, by the administrator's name for it; shared by all who use it. A day begins at midnight."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._price, self._limits = Price(), CostLimits()
        self._date, self._today = "", 0.0

    def set(self, settings: Mapping[str, Any], name: str) -> None:
        """:raises ConfigError: what is said about price and limits cannot be."""
        price = read_settings(Price, settings.get("price") or {}, f"providers.{name}.price")
        limits = read_settings(CostLimits, settings.get("limits") or {}, f"providers.{name}.limits")
        self._price, self._limits = price, limits

    def add(self, usage: Usage) -> float:
        """What it costs; it counts for today."""
        self._roll()
        cost = self._price.of(usage)
        self._today += cost
        return cost

    def problem(self, of_call: float = 0.0) -> str:
        """Why others are to be asked first; empty where there is no reason.

        :param of_call: what the engine has cost the call so far.
        """
        self._roll()
        if 0 < self._limits.day <= self._today:
            return f"its limit of {self._limits.day:g} a day is reached"
        if 0 < self._limits.call <= of_call:
            return f"its limit of {self._limits.call:g} a call is reached"
        return ""

    def _roll(self) -> None:
        date = time.strftime("%Y-%m-%d", time.localtime(self._clock()))
        if date != self._date:
            self._date, self._today = date, 0.0
