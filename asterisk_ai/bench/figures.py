"""What ``asterisk-ai bench`` tells of one load: lateness, gaps, losses, turn times, the server's CPU and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from asterisk_ai.bench.load import PERIOD_NS, Arrived
from asterisk_ai.bench.process_use import ProcessUse

GAP_NS = 40_000_000
BURST_NS = 5_000_000
BUSY = 0.85
"""Share of a core from which on the generator itself makes frames late."""
SEND_LAG_MS = 5.0


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles, all in one unit; zeros where nothing was measured."""

    p50: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    worst: float = 0.0

    @classmethod
    def of(cls, values: npt.NDArray[Any], unit: float) -> Spread:
        if not values.size:
            return cls()
        return cls(*(round(float(v) / unit, 3) for v in (*np.percentile(values, (50, 99, 99.9)), values.max())))


@dataclass(frozen=True, slots=True)
class Figures:
    """One line of the table."""

    mode: str
    calls: int
    carried: int
    seconds: float
    lateness_ms: Spread
    """Echo: round trip. Else: distance from each call's own 20 ms grid, in which the first frame of what the agent
    says counts too, though it comes before its turn."""
    gaps: int
    """Pauses of more than 40 ms between two frames of a call."""
    bursts: int
    """Frames less than 5 ms after the one before."""
    frames: int
    lost: int
    cpu_ms_per_call_second: float
    engines_cpu_ms_per_call_second: float
    memory_kb_per_call: float
    turns: int
    turn_seconds: Spread
    """From the caller's last sound to the agent's first."""
    generator_busy: float
    send_lag_ms: Spread
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def even(self, limit_ms: float) -> bool:
        """Whether the server carries this many calls well."""
        return self.carried == self.calls and not self.lost and self.lateness_ms.p99 < limit_ms

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def figures(mode: str, calls: int, heard: Sequence[Arrived], before: ProcessUse) -> Figures:
    """Put together what the processes of one load heard.

    :param before: the server without the calls.
    """
    use = heard[0].use if heard else (before, before)
    seconds = min(((h.window[1] - h.window[0]) / 1e9 for h in heard), default=0.0)
    lateness, gaps, bursts, frames, lost = [], 0, 0, 0, 0
    for one in heard:
        if mode == "echo":
            inside = (one.stamped >= one.window[0]) & (one.stamped <= one.window[1])
            lateness.append(one.at[inside] - one.stamped[inside])
            frames += int(inside.sum())
            lost += one.sent - int(inside.sum())
        else:
            late, wide, narrow, missing = _grid(one)
            lateness.append(late)
            gaps, bursts, lost, frames = gaps + wide, bursts + narrow, lost + missing, frames + len(late)
    turns = np.concatenate([_turns(one) for one in heard]) if heard else np.empty(0)
    carried = sum(one.connected - one.closed_early for one in heard)
    call_seconds = max(1e-9, seconds * max(1, carried))
    closed = sum(one.closed_early for one in heard)
    # A process that has ended in the meantime takes its counts along.
    cpu = max(0.0, use[1].cpu_seconds - use[0].cpu_seconds)
    engines = max(0.0, use[1].engines_cpu_seconds - use[0].engines_cpu_seconds)
    busy = max((one.cpu_seconds / max(1e-9, one.wall_seconds) for one in heard), default=0.0)
    lag = Spread.of(np.concatenate([one.send_lag for one in heard]) if heard else np.empty(0), 1e6)
    return Figures(
        mode=mode,
        calls=calls,
        carried=carried,
        seconds=round(seconds, 2),
        lateness_ms=Spread.of(np.concatenate(lateness) if lateness else np.empty(0), 1e6),
        gaps=gaps,
        bursts=bursts,
        frames=frames,
        lost=lost,
        cpu_ms_per_call_second=round(1e3 * cpu / call_seconds, 3),
        engines_cpu_ms_per_call_second=round(1e3 * engines / call_seconds, 3),
        memory_kb_per_call=round(max(0.0, use[1].memory_kb - before.memory_kb) / max(1, carried), 1),
        turns=len(turns),
        turn_seconds=Spread.of(turns, 1e9),
        generator_busy=round(busy, 3),
        send_lag_ms=lag,
        problems=sorted({one.error for one in heard if one.error})
        + ([f"{closed} calls were closed by the server before their end"] if closed else []),
        warnings=_warnings(busy, lag),
    )


def _warnings(busy: float, lag: Spread) -> list[str]:
    found = []
    if busy > BUSY:
        found.append(f"this generator uses {busy:.0%} of its core: more --processes, or another machine")
    if lag.p99 > SEND_LAG_MS:
        found.append(
            f"this generator sends {lag.p99:.1f} ms late itself (p99): the machine has too little CPU for both"
        )
    return found


def _grid(heard: Arrived) -> tuple[npt.NDArray[np.int64], int, int, int]:
    """Distances from the 20 ms grids, gaps, bursts, and frames that never came."""
    order = np.lexsort((heard.at, heard.call))
    call, at = heard.call[order], heard.at[order]
    inside = (at >= heard.window[0]) & (at <= heard.window[1])
    call, at = call[inside], at[inside]
    bounds = np.flatnonzero(np.diff(call)) + 1
    lateness, gaps, bursts, lost = [np.empty(0, np.int64)], 0, 0, 0
    whole = (heard.window[1] - heard.window[0]) // PERIOD_NS - 1  # its phase decides about one more
    for times in np.split(at, bounds):
        if len(times) < 2:
            continue
        steps = np.diff(times)
        gaps += int((steps > GAP_NS).sum())
        bursts += int((steps < BURST_NS).sum())
        lost += max(0, int(whole) - len(times))
        # The call's own grid: the median distance from a schedule that begins with its first frame.
        distance = times - times[0] - np.arange(len(times)) * PERIOD_NS
        lateness.append(np.abs(distance - int(np.median(distance))))
    return np.concatenate(lateness), gaps, bursts, lost


def _turns(heard: Arrived) -> npt.NDArray[np.int64]:
    """Times from each caller's last sound to the first thing it heard after that, ns."""
    if not heard.loud.size:
        return np.empty(0, np.int64)
    loud_call, loud_at = heard.call[heard.loud], heard.at[heard.loud]
    ends: dict[int, list[int]] = {}
    for call, at in heard.speech_ended:
        ends.setdefault(call, []).append(at)
    found = []
    for call, times in ends.items():
        heard_at = np.sort(loud_at[loud_call == call])
        for ended, following in zip(times, [*times[1:], heard.window[1]], strict=True):
            first = int(np.searchsorted(heard_at, ended))
            if ended >= heard.window[0] and first < len(heard_at) and heard_at[first] < following:
                found.append(int(heard_at[first]) - ended)
    return np.array(found, np.int64)
