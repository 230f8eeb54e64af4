"""Whom an agent can have rung, with the hours in which that is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from asterisk_ai.config.schema import AgentConfig, TransferConfig
from asterisk_ai.dialog.transfer import to_dial
from asterisk_ai.providers.engines.rules.hours import Hours
from asterisk_ai.providers.engines.rules.schema import read_hours


@dataclass(frozen=True, slots=True)
class Target:
    """One of an agent's ``transfers``."""

    config: TransferConfig
    hours: Hours | None = None

    def is_open(self, now: datetime) -> bool:
        """:param now: with its time zone."""
        return self.hours is None or self.hours.open_until(now) is not None

    def dial(self, tried: int) -> tuple[str, str] | None:
        """Whom to ring after so many, as :func:`~asterisk_ai.dialog.transfer.to_dial`; None where nobody is left."""
        return to_dial(self.config.to[tried]) if tried < len(self.config.to) else None


def targets_of(agent: AgentConfig) -> Mapping[str, Target]:
    """By their names. Raises ConfigError."""
    path = f"agents.{agent.name}.transfers"
    return {
        name: Target(one, read_hours(one.hours, f"{path}.{name}.hours") if one.hours else None)
        for name, one in agent.transfers.items()
    }
