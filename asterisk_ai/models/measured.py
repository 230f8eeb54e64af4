"""What a measurement of the machine says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measured:
    """``bytes_per_second`` read from memory and ``flops`` of single precision, by all cores that we may use."""

    bytes_per_second: float
    flops: float
    seconds: float
