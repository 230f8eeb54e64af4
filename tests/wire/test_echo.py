"""The agent's own voice comes back from the line, and does not interrupt it; a caller who speaks over it does."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from echoed import RATE, Echo, Listening, at_level, interrupting, over_the_line

from asterisk_ai.simulator.caller_speech import speech_of
from asterisk_ai.vad.silero import SileroModel

TEXT = "Hello, this is the reception of Example Company. How can I help you?"


@pytest.fixture(scope="module")
def model() -> SileroModel:
    return SileroModel()


@pytest.fixture(scope="module")
def played() -> bytes:
    return over_the_line(at_level(asyncio.run(speech_of(TEXT)), -20))


@pytest.mark.parametrize("level", [-6, -14, -24])
@pytest.mark.parametrize("delay", [0.02, 0.12, 0.3])
def test_the_agent_does_not_interrupt_itself(model: SileroModel, played: bytes, delay: float, level: float) -> None:
    heard = over_the_line(Echo(delay, level).of(played))
    assert Listening(model).run(played, heard) == []
    if level == -6:
        assert Listening(model).run(played, heard, cancel=False), "loud enough to be taken for a caller"


@pytest.mark.parametrize("caller", interrupting())
@pytest.mark.parametrize(("delay", "level"), [(0.02, -18), (0.12, -6), (0.3, -12)])
def test_a_caller_who_speaks_over_the_echo_interrupts(
    model: SileroModel, played: bytes, caller: bytes, delay: float, level: float
) -> None:
    line = Echo(delay, level).of(played)
    samples = at_level(caller, -20)
    line[RATE : RATE + len(samples)] += samples[: len(line) - RATE]
    began = 1.0 + np.flatnonzero(np.abs(samples) > 700)[0] / RATE
    holds = Listening(model).run(played, over_the_line(line))
    assert holds
    assert began <= holds[0] <= began + 0.4
