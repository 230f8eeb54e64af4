"""What a call has cost, engine by engine, for its record and the metrics."""

from __future__ import annotations

from dataclasses import asdict

from asterisk_ai.providers.api import Usage
from asterisk_ai.session.model import CallSession
from asterisk_ai.telemetry.metrics import Metrics


class Spending:
    """A :class:`~asterisk_ai.providers.chain.Purse`, to be closed: libraries keep contexts that they were called in."""

    def __init__(self, session: CallSession, metrics: Metrics) -> None:
        self._session: CallSession | None = session
        self._metrics = metrics

    def close(self) -> None:
        """The call is over; what comes late counts for the metrics alone."""
        self._session = None

    def spent(self, stage: str, engine: str, usage: Usage, cost: float) -> None:
        units = {unit: value for unit, value in asdict(usage).items() if value}
        for unit, value in units.items():
            self._metrics.provider_usage.labels(stage, engine, unit).inc(value)
        if cost:
            self._metrics.provider_cost.labels(stage, engine).inc(cost)
            units["cost"] = cost
        if self._session is None:
            return
        told = self._session.usage.setdefault(f"{stage}/{engine}", {})
        for unit, value in units.items():
            told[unit] = round(told.get(unit, 0) + value, 6)

    def cost_of(self, engine: str) -> float:
        """All its stages together; also what it has cost on another server before."""
        usage = self._session.usage if self._session is not None else {}
        return sum(told.get("cost", 0.0) for name, told in usage.items() if name.partition("/")[2] == engine)
