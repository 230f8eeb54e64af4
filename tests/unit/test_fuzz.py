"""What was once found by fuzzing stays mended, and a little fuzzing with the same seed each time."""

from __future__ import annotations

import random

import pytest
from fuzz import TARGETS, attempt, changed, corpus

INPUTS = {"config": 300, "record": 1000}
"""Each takes longer than a message of a protocol."""


@pytest.mark.parametrize("target", TARGETS)
def test_any_bytes_give_events_or_the_error_that_says_so(target: str) -> None:
    inputs = corpus(target)
    assert inputs
    for data in inputs:
        assert attempt(target, data) >= 1
    source = random.Random(7)
    for _ in range(INPUTS.get(target, 1500)):
        attempt(target, changed(source, inputs))
