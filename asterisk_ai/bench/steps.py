"""One load after the other, and the search for the most calls that are carried well."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from asterisk_ai.bench.figures import Figures, figures
from asterisk_ai.bench.load import Arrived, Load, generate
from asterisk_ai.bench.process_use import ProcessUse
from asterisk_ai.bench.target import Target, address, end_calls, register_calls
from asterisk_ai.errors import AsteriskAIError

LIMIT_MS = 5.0
"""Frames that are later are heard."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What all steps have in common."""

    mode: str
    seconds: float
    """Of a step."""
    limit: float
    """Seconds after which no step begins."""
    speech: bytes = b""
    """What each caller says, 8 kHz 16-bit; empty: what is to be echoed."""
    speech_ends: int = 0
    """Where in it the last sound is, in bytes."""
    processes: int = 1
    cpus: tuple[int, ...] = ()


class Steps:
    """Loads a server with more or fewer calls. ``tell`` is given each load's figures."""

    def __init__(self, target: Target, plan: Plan, tell: Callable[[Figures], None]) -> None:
        self._target, self._plan, self._tell = target, plan, tell
        self._until = time.monotonic() + plan.limit
        self.results: list[Figures] = []
        """Of the steps that were measured to their end."""

    def measure_all(self, counts: Sequence[int]) -> None:
        for count in counts:
            if time.monotonic() < self._until:
                self._measure(count)

    def search(self, most: int) -> None:
        """Double until it breaks, then halve the distance. What fails is tried a second time before it is believed."""
        good, bad, count = 0, most + 1, min(50, most)
        while time.monotonic() < self._until:
            result = self._measure(count)
            if not result.even(LIMIT_MS) and time.monotonic() < self._until:
                result = self._measure(count)
            if result.even(LIMIT_MS):
                good = count
            else:
                bad = count
            if bad - good <= max(1, good // 20):
                break
            count = min(2 * good, most) if bad > most else (good + bad) // 2

    def _measure(self, count: int) -> Figures:
        before = ProcessUse.of(self._target.pid)
        taken, refusal = asyncio.run(register_calls(self._target, count))
        heard: list[Arrived] = []
        try:
            if taken:
                heard = self._generate([(*address(each["AI_AUDIOSOCKET"]), each["AI_CALL_ID"]) for each in taken])
        finally:
            asyncio.run(end_calls(self._target, taken))
        result = figures(self._plan.mode, count, heard, before)
        if refusal:
            result.problems.append(refusal)
        self.results.append(result)
        self._tell(result)
        return result

    def _generate(self, calls: Sequence[tuple[str, int, str]]) -> list[Arrived]:
        plan = self._plan
        size = -(-len(calls) // plan.processes)
        loads = [
            Load(
                calls[first : first + size], plan.seconds, speech=plan.speech, speech_ends=plan.speech_ends,
                first=first, server_pid=self._target.pid, cpus=plan.cpus,
            )
            for first in range(0, len(calls), size)
        ]  # fmt: skip
        # Spawned: what this process has loaded and opened stays out of the measurement.
        with ProcessPoolExecutor(len(loads), multiprocessing.get_context("spawn")) as pool:
            try:
                return list(pool.map(generate, loads))
            except BrokenProcessPool as error:
                raise AsteriskAIError("a process of the load ended before its time (out of memory?)") from error
            except BaseException:  # interrupted: nobody waits for the window's end
                for process in multiprocessing.active_children():
                    process.terminate()
                raise
