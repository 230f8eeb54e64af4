"""The Wyoming engines against real Wyoming servers, made with the protocol's own library."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aside import aside
from whole_calls import calls, records
from wyoming_server import serving

from asterisk_ai.errors import ConfigError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers import testing
from asterisk_ai.providers.api import Hints
from asterisk_ai.providers.vendors.wyoming import WyomingSpeechToText, WyomingTextToSpeech


@pytest.fixture
def service() -> Iterator[tuple[int, list[str]]]:
    """A running server's port, and its faults."""
    faults: list[str] = []
    with aside(serving(faults)) as (port,):
        yield port, faults


def test_conformance(service: tuple[int, list[str]]) -> None:
    port, _ = service
    testing.check_speech_to_text(
        lambda: WyomingSpeechToText({"port": port}),
        text="opening hours",
        broken=lambda: WyomingSpeechToText({"port": 9}),
    )
    testing.check_text_to_speech(
        lambda: WyomingTextToSpeech({"port": port}), broken=lambda: WyomingTextToSpeech({"port": 9})
    )


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("error", ProviderRejected),
        ("close", ProviderUnavailable),
        ("silent", ProviderUnavailable),
        ("odd", ProviderUnavailable),
    ],
)
def test_faults(service: tuple[int, list[str]], fault: str, error: type[Exception]) -> None:
    port, faults = service

    async def main() -> None:
        ears = WyomingSpeechToText({"port": port, "seconds": 0.3})
        voice = WyomingTextToSpeech({"port": port, "seconds": 0.3})
        await ears.start()
        await voice.start()
        faults.append(fault)
        async with ears.open(rate=8000, hints=Hints()) as stream:
            stream.feed(bytes(8000))
            with pytest.raises(error):
                await stream.finish()
        async with voice.open("hello there") as pieces:
            with pytest.raises(error):
                _ = [pcm async for pcm in pieces]
        await ears.stop()
        await voice.stop()

    asyncio.run(main())


def test_the_next_connection_is_open_before_it_is_needed(service: tuple[int, list[str]]) -> None:
    port, _ = service

    async def main() -> None:
        ears = WyomingSpeechToText({"port": port})
        await ears.start()
        for _ in range(3):
            spare = ears._service._spare
            assert spare is not None
            async with ears.open(rate=8000, hints=Hints()) as stream:
                assert stream._client is spare
                stream.feed(bytes(8000))
                assert (await stream.finish()).text == "opening hours"
            await asyncio.sleep(0.1)
        spare = ears._service._spare
        assert spare is not None
        await spare.disconnect()  # as where the server has closed it
        async with ears.open(rate=8000, hints=Hints()) as stream:
            stream.feed(bytes(8000))
            assert (await stream.finish()).text == "opening hours"
        await ears.stop()

    asyncio.run(main())


def test_what_the_server_says_it_has_decides_whether_it_is_ready(service: tuple[int, list[str]]) -> None:
    port, _ = service

    async def main() -> None:
        for engine, problem in (
            (WyomingSpeechToText({"port": port, "model": "large"}), "the server has no model 'large'; it has: tiny"),
            (WyomingTextToSpeech({"port": port, "voice": "bob"}), "the server has no voice 'bob'; it has: ann"),
            (WyomingSpeechToText({"port": port, "model": "tiny"}), ""),
            (WyomingTextToSpeech({"port": port, "voice": "ann"}), ""),
        ):
            await engine.start()
            assert engine.readiness().reason == problem
            await engine.stop()
        ears, voice = WyomingSpeechToText({"port": port}), WyomingTextToSpeech({"port": port})
        await ears.start()
        await voice.start()
        with pytest.raises(ProviderRejected, match="does not know the language fr-FR, but de, en"):
            async with ears.open(rate=8000, hints=Hints(language="fr-FR")):
                pass
        with pytest.raises(ProviderRejected, match="no voice 'bob'"):
            async with voice.open("hello", voice="bob"):
                pass
        await ears.stop()
        await voice.stop()

    asyncio.run(main())


def test_nothing_is_sent_where_there_is_nothing_to_hear_or_to_say(service: tuple[int, list[str]]) -> None:
    port, faults = service

    async def main() -> None:
        ears, voice = WyomingSpeechToText({"port": port, "seconds": 1}), WyomingTextToSpeech({"port": port})
        await ears.start()
        await voice.start()
        faults.append("error")  # to whatever is asked
        async with ears.open(rate=8000, hints=Hints()) as stream:
            stream.feed(b"")
            assert not (await stream.finish()).accepted
        for text in ("", "...", "\N{SLIGHTLY SMILING FACE}"):
            async with voice.open(text) as pieces:
                assert [pcm async for pcm in pieces] == []
        await ears.stop()
        await voice.stop()

    asyncio.run(main())


def test_settings_that_cannot_be() -> None:
    for wrong in ({"hots": "x"}, {"port": "x"}, {"port": 0}):
        with pytest.raises(ConfigError, match="providers"):
            WyomingSpeechToText(wrong)


def test_a_whole_call(service: tuple[int, list[str]], tmp_path: Path) -> None:
    port, _ = service
    config = f"""
pipeline: home
pipelines: {{home: {{stt: wyoming, llm: rules, tts: wyoming}}}}
audiosocket: {{port: 0}}
vad: {{engine: energy}}  # callers whistle
fastagi: {{port: 0}}
http: {{port: 0}}
server: {{max_lateness_ms: 0}}
store: {{path: {tmp_path}/sessions.db}}
providers: {{wyoming: {{port: {port}}}}}
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
