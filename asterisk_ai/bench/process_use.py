"""What a process and its children use, from Linux's ``/proc``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_ENGINE = b"asterisk_ai.providers.workers.child"


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """CPU seconds and resident KiB of a process and its children."""

    cpu_seconds: float = 0.0
    memory_kb: float = 0.0
    engines_cpu_seconds: float = 0.0
    """Of the engines' processes alone."""

    @classmethod
    def of(cls, pid: int) -> ProcessUse:
        """Now; zeros where the process cannot be seen. Source: proc_pid_stat(5)."""
        own, memory = _process(pid)
        engines = 0.0
        for child in _children(pid):
            cpu, kb = _process(child)
            own, memory = own + cpu, memory + kb
            engines += cpu * _is_engine(child)
        return cls(own, memory, engines)


def _process(pid: int) -> tuple[float, float]:
    try:
        words = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0, 0.0
    cpu = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return cpu, int(words[21]) * os.sysconf("SC_PAGE_SIZE") / 1024


def _is_engine(pid: int) -> bool:
    try:
        return _ENGINE in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _children(pid: int) -> list[int]:
    found, unseen = [], [pid]
    while unseen:
        try:
            tasks = list(Path(f"/proc/{unseen.pop()}/task").iterdir())
            unseen += (new := [int(child) for task in tasks for child in (task / "children").read_text().split()])
            found += new
        except OSError:
            continue
    return found
