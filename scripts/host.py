"""What a virtual machine's host did meanwhile: no figure is the server's while the host had its CPU."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Iterator
from ctypes import c_double
from pathlib import Path
from typing import Any

WAKE_SECONDS = 0.01


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


def _seconds() -> float:
    words = Path("/proc/stat").read_text("ascii").split(maxsplit=9)
    return int(words[8]) / os.sysconf("SC_CLK_TCK")


class Standstill:
    """How long a CPU ran nothing at all, whether the host tells that as stolen or not.

    It does not see a CPU that is slow, or taken for many short times. A process of real-time priority on each CPU wakes
    every :data:`WAKE_SECONDS`: it goes before all that is measured, so that where it comes late nothing else ran
    either.
    """

    def __init__(self, longest: list[Any]) -> None:
        self._longest = longest

    def take_ms(self) -> float:
        """The longest since the last call of this."""
        found = max((each.value for each in self._longest), default=0.0)
        for each in self._longest:
            each.value = 0.0
        return round(found * 1000, 1)


@contextlib.contextmanager
def watched() -> Iterator[Standstill]:
    """Watch all CPUs meanwhile. Where real-time priority is not allowed nothing is seen, and that is said."""
    context = multiprocessing.get_context("spawn")
    longest = [context.Value(c_double, 0.0, lock=False) for _ in os.sched_getaffinity(0)]
    watches = [
        context.Process(target=_watch, args=(cpu, each), daemon=True)
        for cpu, each in zip(sorted(os.sched_getaffinity(0)), longest, strict=True)
    ]
    for watch in watches:
        watch.start()
    try:
        yield Standstill(longest)
    finally:
        for watch in watches:
            watch.terminate()
            watch.join()


def _watch(cpu: int, longest: Any) -> None:
    try:
        os.sched_setaffinity(0, {cpu})
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(20))
    except OSError as error:
        print(f"CPU {cpu} is not watched for standstills: {error.strerror}", flush=True)
        return
    while True:
        before = time.monotonic()
        time.sleep(WAKE_SECONDS)
        longest.value = max(longest.value, time.monotonic() - before - WAKE_SECONDS)
