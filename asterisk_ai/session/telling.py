"""Calls and their turns in words that an administrator knows."""

from __future__ import annotations

from asterisk_ai.session.model import STEPS, TurnRecord


def told_steps(timings: dict[str, float]) -> str:
    """``caller stopped -> end of turn 300 ms -> words known 2 ms``: what each step added."""
    steps, before = ["caller stopped"], 0.0
    for name, at in sorted(timings.items(), key=lambda item: item[1]):
        steps.append(f"{STEPS.get(name, name)} {max(0.0, at - before) * 1000:.0f} ms")
        before = max(at, before)
    return " -> ".join(steps) + f" (together {before * 1000:.0f} ms)"


def told_marks(record: TurnRecord) -> list[str]:
    """What was with a turn besides its words."""
    marks = {"interrupted": record.interrupted, "dialled": record.dialled, "not understood": not record.understood}
    return [mark for mark, there in marks.items() if there]
