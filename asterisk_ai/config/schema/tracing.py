"""Traces for OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from asterisk_ai.config.schema.types import Range, Seconds


@dataclass(frozen=True, slots=True)
class TracingConfig:
    """Each call as a trace of OpenTelemetry, by OTLP over HTTP. Not there: no traces. ``{}`` is enough. What is changed
    here holds from the server's next start on."""

    endpoint: str = "http://127.0.0.1:4318"
    """Where the collector takes OTLP over HTTP; ``/v1/traces`` is added."""
    headers: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Sent with it; keys best as ``${NAME}`` from the environment."""
    words: bool = False
    """True puts what callers and agents say into the traces."""
    share: Annotated[float, Range(0, 1)] = 1.0
    """The part of the calls that is traced."""
    timeout_seconds: Seconds = 10.0
    """The collector has so long to answer."""

    def __post_init__(self) -> None:
        """:raises ValueError: nothing can be sent there."""
        if not self.endpoint.startswith(("http://", "https://")):
            raise ValueError("endpoint: must begin with http:// or https://")
