"""The end of a turn by its sound: the features' properties, and a tiny model of the real one's shape in its worker."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asterisk_ai.config import parse
from asterisk_ai.errors import ConfigError, ProviderError, ProviderRejected
from asterisk_ai.lineup import Engines, Lineup
from asterisk_ai.providers.smart_turn import SmartTurn
from asterisk_ai.providers.smart_turn.features import BANDS, FRAMES, RATE, _filters, features


def model(folder: Path) -> Path:
    """Input and output as smart-turn v3 has them; probable where the last second is quieter than the one before."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((BANDS * FRAMES, 1), np.float32).reshape(BANDS, FRAMES)
    weights[:, -100:], weights[:, -200:-100] = -0.01, 0.01
    nodes = [
        helper.make_node("Flatten", ["input_features"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "turn",
        [helper.make_tensor_value_info("input_features", TensorProto.FLOAT, ["batch", BANDS, FRAMES])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(weights.reshape(-1, 1), "weights")],
    )
    path = folder / "smart-turn-tiny.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def tone(hertz: float, seconds: float, rate: int = RATE) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10 * RATE), st.floats(0.001, 1.0), st.integers(0, 2**32 - 1))
def test_features_have_the_models_shape_and_range(length: int, scale: float, seed: int) -> None:
    found = features(np.random.default_rng(seed).normal(0, scale, length))
    assert (found.shape, found.dtype) == ((BANDS, FRAMES), np.float32)
    assert np.isfinite(found).all()
    assert found.max() - found.min() <= 2.0 + 1e-5, "eight decades, by four"


def test_loudness_does_not_matter_and_the_last_eight_seconds_count() -> None:
    sound = np.random.default_rng(1).normal(0, 0.1, 9 * RATE)
    assert features(sound * 0.1) == pytest.approx(features(sound), abs=0.01)
    assert np.array_equal(features(sound), features(sound[-8 * RATE :]))


def test_what_is_short_stands_at_the_end() -> None:
    found = features(np.random.default_rng(1).normal(0, 0.1, RATE))[5:]  # below is what its mean makes of silence
    assert found[:, :690].max() == found.min()
    assert found[:, 710:].mean() > found.min() + 1


def test_a_tone_is_in_its_band_and_bands_are_slaneys() -> None:
    edges = np.argmax(_filters(), axis=1) * 40.0
    assert np.all(np.diff(edges) >= 0)
    for hertz in (300.0, 1000.0, 3000.0, 6000.0):
        band = int(np.argmax(features(tone(hertz, 8)).mean(axis=1)))
        assert edges[band] == pytest.approx(hertz, rel=0.06, abs=45)
    area = _filters().sum(axis=1) * 40
    assert area[30:] == pytest.approx(np.ones(50), abs=0.12), "each band has the same area"


def test_a_pause_is_told_from_speech_that_goes_on(tmp_path: Path) -> None:
    async def run() -> tuple[float, float, float]:
        engine = SmartTurn({"model": str(model(tmp_path))})
        await engine.start()
        try:
            going_on = (tone(300, 3, 8000) * 8000).astype("<i2").tobytes()
            return (
                await engine.likelihood(going_on[: -8000 * 2] + bytes(8000 * 2), 8000),
                await engine.likelihood(going_on, 8000),
                await engine.likelihood(b"", 8000),
            )
        finally:
            await engine.stop()

    over, going_on, nothing = asyncio.run(run())
    assert over > 0.9
    assert going_on == pytest.approx(0.5, abs=0.1)
    assert 0 <= nothing <= 1


def test_a_model_that_is_missing_or_damaged_names_the_command(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"no model")

    async def start(path: Path) -> None:
        engine = SmartTurn({"model": str(path)})
        try:
            await engine.start()
        finally:
            await engine.stop()

    for path in (damaged, tmp_path / "missing.onnx"):
        with pytest.raises(ProviderError, match=r"asterisk-ai models fetch smart-turn-v3\.1-cpu"):
            asyncio.run(start(path))


def test_settings_are_checked() -> None:
    for settings_, words in (({}, "name a model"), ({"model": "x", "speed": 1}, "unknown key")):
        with pytest.raises(ConfigError, match=words):
            SmartTurn(settings_)


def test_calls_go_on_with_the_words_where_the_model_is_missing(tmp_path: Path) -> None:
    text = f"""
models: {{directory: {tmp_path}}}
pipelines: {{offline: {{turn: smart-turn}}}}
providers: {{smart-turn: {{model: smart-turn-v3.1-cpu}}}}
agents: {{a: {{rules: {{intents: {{hours: {{say: opening hours, answer: "Nine."}}}}}}}}}}
"""

    async def run() -> tuple[str, list[str]]:
        lineup = Lineup(parse(text, environ={}), Engines())
        await lineup.start()
        try:
            ends = lineup.agents["a"].turn_end
            assert ends is not None
            with pytest.raises(ProviderError):
                await ends.likelihood(bytes(320), 8000)
            return lineup.readiness()["turn/smart-turn"].reason, lineup.problems()
        finally:
            await lineup.close()

    reason, problems = asyncio.run(run())
    assert "asterisk-ai models fetch" in reason
    assert problems == [], "an agent without it still is a good one"


def test_another_model_is_refused(tmp_path: Path) -> None:
    from asterisk_ai.providers.silero import model_path
    from asterisk_ai.providers.smart_turn.engine import SmartTurnEngine

    with pytest.raises(ProviderRejected, match="cannot use"):
        SmartTurnEngine({"model": str(model_path())})
