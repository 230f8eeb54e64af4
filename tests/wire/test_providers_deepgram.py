"""Deepgram's engines against a server that speaks the published protocol over real sockets, well and badly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aside import aside
from deepgram_server import FakeDeepgram
from openai_server import KEY
from whole_calls import calls, records

from asterisk_ai.errors import ConfigError, ProviderError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers import testing
from asterisk_ai.providers.api import Hints, Transcript, Word
from asterisk_ai.providers.vendors.deepgram import DeepgramSpeechToText, DeepgramTextToSpeech, client
from asterisk_ai.providers.vendors.deepgram.listen import _transcript


@pytest.fixture
def fake() -> Iterator[FakeDeepgram]:
    with aside(FakeDeepgram().running()) as (server,):
        yield server


def settings(fake: FakeDeepgram, **more: Any) -> dict[str, Any]:
    return {"base_url": fake.base_url, "api_key": KEY, "seconds": 2, **more}


def dead() -> dict[str, Any]:
    return {"base_url": "http://127.0.0.1:9/v1", "api_key": KEY}


def speech(seconds: float = 0.6, rate: int = 8000) -> bytes:
    times = np.arange(round(seconds * rate)) / rate
    return (np.cos(2 * np.pi * 400 * times) * 6000).astype("<i2").tobytes()


def test_conformance(fake: FakeDeepgram) -> None:
    testing.check_speech_to_text(
        lambda: DeepgramSpeechToText(settings(fake)),
        speech=speech(),
        text="opening hours",
        broken=lambda: DeepgramSpeechToText(dead()),
    )
    testing.check_text_to_speech(
        lambda: DeepgramTextToSpeech(settings(fake)), broken=lambda: DeepgramTextToSpeech(dead())
    )


def test_the_words_come_while_they_are_spoken_with_their_times(fake: FakeDeepgram) -> None:
    async def main() -> None:
        engine = DeepgramSpeechToText(settings(fake, listen={"keyterms": ["Asterisk", "PBX"]}))
        await engine.start()
        heard: list[Transcript] = []
        async with engine.open(rate=8000, hints=Hints(language="de-DE"), partial=heard.append) as stream:
            pcm = speech(0.8)
            for start in range(0, len(pcm), 320):
                stream.feed(pcm[start : start + 320])
                await asyncio.sleep(0.004)
            words = await stream.finish()
        assert [item.text for item in heard] == ["opening", "opening hours"]
        assert words.text == "opening hours"
        assert words.confidence == pytest.approx(0.9)
        assert words.words == (Word("opening", 0.0, 0.2), Word("hours", 0.2, 0.4))
        assert fake.audio == len(pcm), "what comes from the line is sent as it is"
        last = fake.queries[-1]
        assert (last["sample_rate"], last["encoding"], last["interim_results"]) == ("8000", "linear16", "true")
        assert last["language"] == "de", "the service knows no German of one country"
        assert last["keyterm"] == "PBX"
        await engine.stop()

    asyncio.run(main())


def test_a_connection_waits_for_the_next_caller_and_is_kept(
    fake: FakeDeepgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "KEEP", replace(client.KEEP, seconds=0.1))
    fake.idle_seconds = 0.5

    async def main() -> None:
        engine = DeepgramSpeechToText(settings(fake))
        await engine.start()
        assert fake.connections == 1
        await asyncio.sleep(0.8)
        assert fake.connections == 1, "kept, for longer than the service keeps an idle one"
        assert fake.messages.count("KeepAlive") >= 4
        began = time.perf_counter()
        async with engine.open(rate=8000, hints=Hints()):
            assert time.perf_counter() - began < 0.005, "nobody waits for a handshake"
            await asyncio.sleep(0.2)
            assert fake.connections == 2, "and the next one is there already"
        await engine.stop()

    asyncio.run(main())


def test_a_lost_connection_is_opened_again_and_a_lost_service_found(
    fake: FakeDeepgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "KEEP", replace(client.KEEP, seconds=0.3))
    fake.idle_seconds = 0.1  # it closes every idle connection

    async def hear(engine: DeepgramSpeechToText) -> str:
        async with engine.open(rate=8000, hints=Hints()) as stream:
            stream.feed(speech())
            return (await stream.finish()).text

    async def main() -> None:
        engine = DeepgramSpeechToText(settings(fake))
        await engine.start()
        await asyncio.sleep(0.25)
        assert await hear(engine) == "opening hours", "the dead one is not handed out"
        await engine.stop()

        later = FakeDeepgram()
        async with later.running():
            pass  # a port that is free now
        engine = DeepgramSpeechToText(settings(later))
        await engine.start()
        assert "no connection" in engine.readiness().reason
        async with later.running():
            end = time.monotonic() + 5
            while not engine.readiness().ready:
                assert time.monotonic() < end
                await asyncio.sleep(0.05)
            assert await hear(engine) == "opening hours"
            await engine.stop()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("mute", ProviderUnavailable),
        ("silent", ProviderUnavailable),
        ("hang", ProviderUnavailable),
        ("close", ProviderUnavailable),
        ("reset", ProviderUnavailable),
        ("500", ProviderUnavailable),
        ("429", ProviderUnavailable),
        ("429-after", ProviderUnavailable),
        ("401", ProviderRejected),
        ("403", ProviderRejected),
        ("404", ProviderRejected),
        ("malformed", ProviderUnavailable),
        ("odd", ProviderUnavailable),
        ("error", ProviderUnavailable),
    ],
)
def test_every_fault_is_one_of_the_two_errors(fake: FakeDeepgram, fault: str, error: type[ProviderError]) -> None:
    own = {"model": fault}
    common = {**settings(fake), "seconds": 0.3, "connect_seconds": 0.3}

    async def main() -> None:
        ears = DeepgramSpeechToText({**common, "listen": own})
        voice = DeepgramTextToSpeech({**common, "speak": own})
        await ears.start()
        await voice.start()

        async def hear() -> None:
            async with ears.open(rate=8000, hints=Hints()) as stream:
                stream.feed(speech(0.4))
                await asyncio.sleep(0.05)
                await stream.finish()

        began = time.monotonic()
        with pytest.raises(error):
            await hear()
        async with voice.open("one two") as pieces:
            with pytest.raises(error):
                _ = [piece async for piece in pieces]
        assert time.monotonic() - began < 2.0
        if fault == "429-after":
            asked = len(fake.queries)
            with pytest.raises(ProviderUnavailable, match="left alone"):
                await hear()
            assert len(fake.queries) == asked, "it is left alone"
            assert "left alone for 30 s" in ears.readiness().reason
            assert "left alone for 30 s" in voice.readiness().reason
        if fault == "401":
            assert "401" in ears.readiness().reason
        await ears.stop()
        await voice.stop()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_speech_comes_at_the_lines_rate(fake: FakeDeepgram) -> None:
    async def main() -> None:
        for own in ({}, {"model": "wav16"}, {"rate": 16_000}):
            engine = DeepgramTextToSpeech(settings(fake, speak=own))
            await engine.start()
            async with engine.open("one two three four") as pieces:
                pcm = b"".join([piece async for piece in pieces])
            assert len(pcm) / 2 / engine.sample_rate == pytest.approx(1.0, abs=0.01)
            await engine.stop()

    asyncio.run(main())


@pytest.mark.parametrize(
    "wrong",
    [{"modle": 1}, {"listen": {"modle": 1}}, {"base_url": "ftp://x"}, {"listen": {"endpointing": "x"}}],
)
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="providers"):
        DeepgramSpeechToText(wrong)
    with pytest.raises(ConfigError, match=r"providers.deepgram.speak.rate"):
        DeepgramTextToSpeech({"speak": {"rate": 12_345}})


def test_a_whole_call(fake: FakeDeepgram, tmp_path: Path) -> None:
    config = f"""
pipeline: cloud
pipelines: {{cloud: {{stt: deepgram, llm: rules, tts: deepgram}}}}
audiosocket: {{port: 0}}
vad: {{engine: energy}}  # callers whistle
fastagi: {{port: 0}}
http: {{port: 0}}
server: {{max_lateness_ms: 0}}
store: {{path: {tmp_path}/sessions.db}}
providers: {{deepgram: {{base_url: "{fake.base_url}", api_key: {KEY}}}}}
agents:
  desk:
    greeting: Hello
    turn: {{endpoint_ms: 200, no_input_seconds: 60}}
    rules: {{intents: {{hours: {{say: opening hours, answer: Nine to five.}}}}}}
"""
    results, _ = asyncio.run(calls(config, ["desk"]))
    assert results["desk"].next == "caller hung up"
    record = records(tmp_path)["desk"]
    assert [turn.text for turn in record.history] == ["Hello", *["opening hours", "Nine to five."] * 2]
    assert record.troubles == []
    assert fake.texts == ["Hello", "Nine to five.", "Nine to five."]


def test_results_without_an_alternative_are_no_words() -> None:
    message = {"type": "Results", "channel": {"alternatives": []}, "is_final": True}
    assert _transcript(message) == Transcript("", accepted=False, confidence=0.0)
