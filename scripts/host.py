"""CPU time that a virtual machine's host gave to others while something was measured: no figure is ours then."""

from __future__ import annotations

import os
import time
from pathlib import Path


class Stolen:
    """From its making on. Source: proc_stat(5), "steal"."""

    def __init__(self) -> None:
        self._stolen, self._at = _seconds(), time.monotonic()

    def percent(self) -> float:
        """Of the time of all CPUs, since the beginning or the last call of this."""
        stolen, at = _seconds(), time.monotonic()
        share = (stolen - self._stolen) / max(1e-9, (at - self._at) * (os.cpu_count() or 1))
        self._stolen, self._at = stolen, at
        return round(100 * share, 2)

    def __str__(self) -> str:
        return f"the host took {self.percent():.1f} % of the CPU time meanwhile"


def _seconds() -> float:
    words = Path("/proc/stat").read_text("ascii").split(maxsplit=9)
    return int(words[8]) / os.sysconf("SC_CLK_TCK")
