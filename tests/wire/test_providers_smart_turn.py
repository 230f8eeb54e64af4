"""The end of a turn by its sound: the features' properties, and a tiny model of the real one's shape in its worker."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import turn_model

from asterisk_ai.agents.agent_set import AgentSet
from asterisk_ai.agents.engines import Engines
from asterisk_ai.config import parse
from asterisk_ai.errors import ConfigError, ProviderError, ProviderRejected
from asterisk_ai.providers import testing
from asterisk_ai.providers.engines import smart_turn
from asterisk_ai.providers.engines.smart_turn import MAX_WAITING, SmartTurn
from asterisk_ai.providers.engines.smart_turn.features import BANDS, FRAMES, RATE, _filters, features


def model(folder: Path) -> Path:
    """The end is probable where the last second is quieter than the one before."""
    weights = np.zeros((BANDS, FRAMES))
    weights[:, -100:], weights[:, -200:-100] = -0.01, 0.01
    return turn_model(folder, weights)


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


def test_more_pauses_than_can_be_judged_in_time_are_refused_and_the_rest_are_judged(tmp_path: Path) -> None:
    pcm = bytes(2 * 48_000 * 8)  # a rate and a length at which nothing may be dropped either

    async def run() -> tuple[list[float | BaseException], bool]:
        engine = SmartTurn({"model": str(model(tmp_path))})
        await engine.start()
        try:
            worker = engine._pool.pids
            asked = (engine.likelihood(pcm, 48_000) for _ in range(3 * MAX_WAITING))
            return await asyncio.gather(*asked, return_exceptions=True), engine._pool.pids == worker
        finally:
            await engine.stop()

    found, same = asyncio.run(run())
    assert sum(isinstance(one, float) for one in found) == MAX_WAITING
    refused = {str(one) for one in found if not isinstance(one, float)}
    assert all("all workers are full" in text for text in refused), refused
    assert same, "a worker that has much to do is not taken to hang"


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


def test_the_model_in_an_installed_wheel_is_used_without_a_word_in_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
pipelines: {offline: {stt: pocketsphinx, llm: rules, tts: espeak}}
agents: {a: {rules: {intents: {hours: {say: opening hours, answer: "Nine."}}}}}
"""
    folder = tmp_path / "pipecat" / Path(smart_turn._WEIGHTS).parent
    folder.mkdir(parents=True)
    (tmp_path / "pipecat" / "__init__.py").write_text("raise ImportError('it is looked up, never imported')")
    model(tmp_path).rename(tmp_path / "pipecat" / smart_turn._WEIGHTS)
    if smart_turn.packaged() is None:
        assert AgentSet(parse(text, environ={}), Engines()).agents["a"].turn_end is None
    monkeypatch.syspath_prepend(str(tmp_path))

    async def run() -> float:
        agent_set = AgentSet(parse(text, environ={}), Engines())
        await agent_set.start()
        try:
            ends = agent_set.agents["a"].turn_end
            assert ends is not None
            return await ends.likelihood(bytes(3200), 8000)
        finally:
            await agent_set.close()

    assert 0 <= asyncio.run(run()) <= 1


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
        agent_set = AgentSet(parse(text, environ={}), Engines())
        await agent_set.start()
        try:
            ends = agent_set.agents["a"].turn_end
            assert ends is not None
            with pytest.raises(ProviderError):
                await ends.likelihood(bytes(320), 8000)
            return agent_set.readiness()["turn/smart-turn"].reason, agent_set.problems()
        finally:
            await agent_set.close()

    reason, problems = asyncio.run(run())
    assert "asterisk-ai models fetch" in reason
    assert problems == [], "an agent without it still is a good one"


def test_another_model_is_refused(tmp_path: Path) -> None:
    from asterisk_ai.providers.engines.smart_turn.engine import SmartTurnEngine
    from asterisk_ai.vad.silero import model_path

    with pytest.raises(ProviderRejected, match="cannot use"):
        SmartTurnEngine({"model": str(model_path())})


def test_it_keeps_every_promise_of_what_tells_the_end_of_a_turn(tmp_path: Path) -> None:
    good = str(model(tmp_path))
    missing = str(tmp_path / "nothing.onnx")
    testing.check_turn_end(lambda: SmartTurn({"model": good}), broken=lambda: SmartTurn({"model": missing}))
