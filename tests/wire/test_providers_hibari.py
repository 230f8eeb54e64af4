"""hibari, the real voice in a worker process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest

from asterisk_ai.agents.agent_set import AgentSet
from asterisk_ai.agents.engines import Engines
from asterisk_ai.config import parse
from asterisk_ai.errors import ConfigError, ProviderRejected
from asterisk_ai.providers import testing
from asterisk_ai.providers.engines.hibari import Cache, Hibari
from asterisk_ai.providers.engines.hibari.sound import LEVEL_DBOV, telephone


@asynccontextmanager
async def running(**settings: object) -> AsyncIterator[Hibari]:
    engine = Hibari(settings)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def speak(engine: Hibari, text: str, voice: str = "") -> bytes:
    async with engine.open(text, voice=voice) as pieces:
        return b"".join([piece async for piece in pieces])


def levels(pcm: bytes) -> np.ndarray:
    """Of each 10 ms at 8 kHz, in dBov."""
    samples = np.frombuffer(pcm, "<i2").astype(float) / 32768
    power = (samples[: len(samples) // 80 * 80].reshape(-1, 80) ** 2).mean(axis=1)
    return np.asarray(10 * np.log10(np.maximum(power, 1e-10)))


def test_conformance() -> None:
    testing.check_text_to_speech(lambda: Hibari({}))


def test_it_speaks_at_once_evenly_and_remembers() -> None:
    async def main() -> None:
        async with running() as engine:
            for text in ("Hello, this is the reception of Example Company.", "Yes.", "How can I help you?"):
                heard = levels(await speak(engine, text))
                sounding = np.flatnonzero(heard > -50)
                assert sounding[0] <= 3, "the first sound is not waited for"
                assert len(heard) - sounding[-1] <= 30, "nor is the end"
                loud = heard[heard > heard.max() - 20]
                assert abs(10 * np.log10((10 ** (loud / 10)).mean()) - LEVEL_DBOV) < 3
            assert await speak(engine, "Hello there.") == await speak(engine, "Hello there.")
            assert await speak(engine, "") == b""
            with pytest.raises(ProviderRejected, match="no voice 'nobody'"):
                await speak(engine, "Hello.", voice="nobody")
            with pytest.raises(ProviderRejected, match="copy its file to"):  # and nothing is fetched
                await speak(engine, "Hello.", voice="emma")

    asyncio.run(main())


def test_silence_goes_and_the_edges_do_not_click() -> None:
    rate = 24_000
    tone = np.sin(np.arange(rate) * 2 * np.pi * 300 / rate).astype(np.float32) * 0.05
    padded = np.concatenate([np.zeros(rate // 3, np.float32), tone, np.zeros(rate // 2, np.float32)])
    pcm = telephone(padded, rate, 8000, 0.1)
    assert 1.0 <= len(pcm) / 16_000 <= 1.2
    samples = np.frombuffer(pcm, "<i2").astype(int)
    assert np.abs(samples[:8]).max() < 500
    assert not samples[-700:].any()
    assert telephone(np.zeros(rate, np.float32), rate, 8000, 0.1) == b""
    assert np.abs(np.frombuffer(telephone(tone * 100, rate, 8000, 0), "<i2")).max() < 30_000


def test_what_is_kept_has_a_bound() -> None:
    cache = Cache(100)
    for number in range(10):
        cache.keep((str(number), "v", 1.0), bytes(20))
    cache.keep(("long", "v", 1.0), bytes(26))
    assert [number for number in range(10) if cache.get((str(number), "v", 1.0))] == [5, 6, 7, 8, 9]
    assert cache.get(("long", "v", 1.0)) is None


@pytest.mark.parametrize("settings", [{"speed": 9}, {"workers": 0}, {"loud": 1}, {"rate": True}])
def test_settings_are_checked(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        Hibari(settings)
    assert str(caught.value.path) == f"providers.hibari.{next(iter(settings))}"


def test_each_agent_is_read_by_a_voice_of_its_language() -> None:
    intents = "rules: {intents: {a: {say: a, answer: b}}}"
    text = f"default_agent: a\nagents: {{a: {{language: en-US, {intents}}}, b: {{language: de-DE, {intents}}}}}\n"
    agent_set = AgentSet(parse(text), Engines())
    assert {label for label in agent_set.readiness() if label.startswith("tts/")} == {
        "tts/hibari",
        "tts/espeak",
        "tts/espeak/de-DE",
    }
    with pytest.raises(ConfigError, match="none of hibari knows de-DE"):
        AgentSet(parse(text + "pipelines: {offline: {tts: hibari}}\n"), Engines())
