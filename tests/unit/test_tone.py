"""The tone test finds what it looks for: else that it finds nothing would say nothing."""

from __future__ import annotations

import numpy as np
import pytest

from asterisk_ai.bench.tone import HERTZ, RATE, Found, look_at

FRAME = RATE // 50
AT = 2 * RATE


def heard(seconds: float = 4.0) -> np.ndarray:
    """Silence, the tone as a resampler with dither gives it, silence."""
    at = np.arange(int(seconds * RATE))
    dither = np.random.default_rng(1).integers(-1, 2, len(at))
    tone = (3000 * np.sin(2 * np.pi * HERTZ * at / RATE)).round() + dither
    return np.concatenate([np.zeros(RATE), tone, np.zeros(RATE)]).astype("<i2")


def test_a_whole_tone_is_whole() -> None:
    found = look_at(heard())
    assert found == Found(pytest.approx(3.0, abs=0.01), 0, 0)
    assert found.whole


@pytest.mark.parametrize("at", range(AT, AT + 38, 5))
@pytest.mark.parametrize(
    "spoil",
    [
        lambda tone, at: np.delete(tone, np.s_[at : at + FRAME]),
        lambda tone, at: np.insert(tone, at, tone[at : at + FRAME]),
        lambda tone, at: np.delete(tone, np.s_[at : at + 5]),
        lambda tone, at: np.insert(tone, at, np.zeros(FRAME, "<i2")),
        lambda tone, at: np.concatenate([tone[:at], tone[at : at + 1] + 300, tone[at + 1 :]]),
    ],
    ids=["frame missing", "frame repeated", "samples missing", "gap", "click"],
)
def test_what_is_wrong_with_it_is_found_wherever_it_is(spoil: object, at: int) -> None:
    found = look_at(spoil(heard(), at))  # type: ignore[operator]
    assert not found.whole
    assert found.clicks


def test_no_tone_at_all_is_not_whole() -> None:
    assert not look_at(np.zeros(RATE, "<i2")).whole
