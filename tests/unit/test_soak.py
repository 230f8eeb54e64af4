"""What a soak's figures are taken for: growth, remains and lost frames, and nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from asterisk_ai.bench.soak import Sample, Totals, judge

IDLE = Sample(50_000, 40, 9, 4, 0, 0, 0, 1.0, 0.0)
BUSY = replace(IDLE, memory_kb=60_000, descriptors=300, tasks=250, calls=200)


def test_calls_that_come_and_go_are_no_growth() -> None:
    samples = [replace(BUSY, descriptors=300 + number % 3, memory_kb=60_000 + number % 5) for number in range(40)]
    assert judge(IDLE, samples, replace(IDLE, memory_kb=58_000), Totals(calls=5000)) == []


@pytest.mark.parametrize("name", ["memory_kb", "descriptors", "threads", "tasks"])
def test_growth(name: str) -> None:
    samples = [replace(BUSY, **{name: getattr(BUSY, name) + 2 * number}) for number in range(2000)]
    (problem,) = judge(IDLE, samples, IDLE, Totals())
    assert problem.startswith(f"{name} grew from ")


@pytest.mark.parametrize("name", ["descriptors", "tasks", "calls"])
def test_remains(name: str) -> None:
    (problem,) = judge(IDLE, [], replace(IDLE, **{name: getattr(IDLE, name) + 2}), Totals())
    assert problem.startswith(f"{name}: ")


def test_losses_and_errors() -> None:
    after = replace(IDLE, dropped=1, skipped=2)
    totals = Totals(lost=3, early=1, failed=2, errors=Counter({"OSError('no')": 2}))
    assert judge(IDLE, [], after, totals) == [
        "2 times OSError('no')",
        "3 frames lost, 3 calls failed",
        "the server dropped 1 frames: a caller took none",
        "the server skipped 2 frames: it came too late to send them",
    ]
