"""How a server is, as ``/health`` tells it: of one process, or of several as if they were one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


def _first(values: Sequence[Any]) -> Any:
    return next((value for value in values if value), values[0])


def _sum_by_key(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    keys = dict.fromkeys(key for value in values for key in value)
    return {key: sum(value.get(key, 0) for value in values) for key in keys}


def _worst_by_key(values: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Each engine's readiness; not ready where one process's is not."""
    found: dict[str, Any] = {}
    for value in values:
        for name, state in value.items():
            if name not in found or not state.get("ready"):
                found[name] = state
    return found


def _frames(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Counts added up; of the clocks' lags the worst."""
    lags = [value[LAG] for value in values if LAG in value]
    return _sum_by_key(values) | ({LAG: max(lags)} if lags else {})


LAG = "clock_lag_p99_ms"


def _joined(values: Sequence[Sequence[str]]) -> list[str]:
    return [item for value in values for item in value]


def _by(rule: Callable[[Sequence[Any]], Any]) -> dict[str, Any]:
    return {"merge": rule}


@dataclass(frozen=True, slots=True)
class Health:
    """The fields of ``/health``, each with the rule by which those of several processes become one."""

    problems: list[str] = field(default_factory=list, metadata=_by(_joined))
    """Why calls are not served well; empty where they are."""
    draining: bool = field(default=False, metadata=_by(any))
    stuck: bool = field(default=False, metadata=_by(any))
    """The event loop stands still."""
    active_calls: int = field(default=0, metadata=_by(sum))
    talking: int = field(default=0, metadata=_by(sum))
    max_calls: int = field(default=0, metadata=_by(sum))
    providers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, metadata=_by(_worst_by_key))
    active_pipeline: str = field(default="", metadata=_by(_first))
    vad: Any = field(default="", metadata=_by(_first))
    ari: str = field(default="", metadata=_by(_first))
    """``connected``, or why not; empty where the configuration has none."""
    shared: str = field(default="", metadata=_by(_first))
    """``connected`` to what several hosts share, or why not; empty where there is none."""
    config: str = field(default="", metadata=_by(_first))
    """The file that the server runs with."""
    reloads: int = field(default=0, metadata=_by(min))
    """How often the configuration was read again; of several processes as often as all have."""
    reload_problem: str = field(default="", metadata=_by(_first))
    """Why the last reload was refused; empty where it was not."""
    upgrade_problem: str = field(default="", metadata=_by(_first))
    """Why no other server could take over; empty where none was to, or one has."""
    conversation: Mapping[str, int] = field(default_factory=dict, metadata=_by(_sum_by_key))
    frames: Mapping[str, float] = field(default_factory=dict, metadata=_by(_frames))
    refused_connections: Mapping[str, int] = field(default_factory=dict, metadata=_by(_sum_by_key))
    tasks: int = field(default=0, metadata=_by(sum))
    uptime_seconds: float = field(default=0.0, metadata=_by(max))
    pid: int = field(default=0, metadata=_by(_first))
    version: str = field(default="", metadata=_by(_first))

    @property
    def well(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """What ``/health`` shows."""
        status = "unhealthy" if self.problems else "draining" if self.draining else "healthy"
        return {"status": status, **{item.name: getattr(self, item.name) for item in dataclasses.fields(self)}}

    @classmethod
    def from_json(cls, shown: Mapping[str, Any]) -> Health:
        """What another process of this version has shown."""
        known = {item.name for item in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in shown.items() if name in known})

    @classmethod
    def merge(cls, parts: Iterable[Health]) -> Health:
        """Those of several processes as if they were one."""
        known = list(parts)
        if not known:
            return cls()
        return cls(
            **{
                item.name: item.metadata["merge"]([getattr(part, item.name) for part in known])
                for item in dataclasses.fields(cls)
            }
        )
