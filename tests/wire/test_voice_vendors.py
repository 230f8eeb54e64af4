"""Voices that are asked over HTTP: as the vendors' types have it, and whatever they answer."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from aside import aside
from cartesia.types.tts_generate_params import TTSGenerateParams
from elevenlabs.text_to_speech.client import TextToSpeechClient
from speech_servers import KEY, FakeAzureSpeech, FakeCartesia, FakeElevenLabs, FakeVoice
from vendor_types import parameters, problems

from asterisk_ai.errors import ConfigError, ProviderError, ProviderRejected, ProviderUnavailable, QuotaExceeded
from asterisk_ai.providers import catalog, testing

FAKES: Mapping[str, type[FakeVoice]] = {
    "elevenlabs": FakeElevenLabs, "cartesia": FakeCartesia, "azure_speech": FakeAzureSpeech,
}  # fmt: skip


@pytest.fixture(params=FAKES)
def vendor(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fake(vendor: str) -> Iterator[FakeVoice]:
    with aside(FAKES[vendor]().running()) as (server,):
        yield server


def made(
    vendor: str, fake: FakeVoice | None = None, *, voice: str = "en-US-Ava", seconds: float = 5, **more: Any
) -> Any:
    settings = {"base_url": fake.base_url if fake else "http://127.0.0.1:9", "api_key": KEY, "seconds": seconds}
    own = {"voice": voice, **more}
    return catalog.TTS.load(vendor)(settings | ({"speech": own} if vendor == "elevenlabs" else own))


def spoken(engine: Any, text: str = "one two three four", voice: str = "", speed: float = 1.0) -> bytes:
    async def main() -> bytes:
        await engine.start()
        try:
            async with engine.open(text, voice=voice, speed=speed) as pieces:
                return b"".join([pcm async for pcm in pieces])
        finally:
            await engine.stop()

    return asyncio.run(asyncio.wait_for(main(), 20))


def test_conformance(vendor: str, fake: FakeVoice) -> None:
    testing.check_text_to_speech(lambda: made(vendor, fake), broken=lambda: made(vendor))


@pytest.mark.parametrize("rate", [8000, 24_000])
def test_audio_comes_at_the_rate_that_was_asked_for(vendor: str, fake: FakeVoice, rate: int) -> None:
    engine = made(vendor, fake, rate=rate)
    assert engine.sample_rate == rate
    assert len(spoken(engine)) == 2 * rate


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        *((fault, ProviderUnavailable) for fault in "silent hang close reset 500 429 429-after json".split()),
        ("401", ProviderRejected),
        ("404", ProviderRejected),
    ],
)
def test_every_fault_is_one_of_the_two_errors(
    vendor: str, fake: FakeVoice, fault: str, error: type[ProviderError]
) -> None:
    engine = made(vendor, fake, seconds=0.3 if fault in ("silent", "hang") else 5)
    with pytest.raises(error) as found:
        spoken(engine, voice=fault)
    assert isinstance(found.value, ProviderRejected) == (error is ProviderRejected)
    if fault[0].isdigit():
        assert fault in str(found.value), "what the service says is told"


def test_leaving_in_the_middle_closes_everything_at_once(vendor: str, fake: FakeVoice) -> None:
    problems: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        engine = made(vendor, fake)
        await engine.start()
        for _ in range(5):
            async with engine.open("one two three") as pieces:
                async for pcm in pieces:
                    assert pcm
                    break
            gc.collect()
            await asyncio.sleep(0)
        await engine.stop()

    asyncio.run(asyncio.wait_for(main(), 20))
    assert problems == []


def test_a_plan_that_is_used_up_is_told_apart(vendor: str, fake: FakeVoice) -> None:
    with pytest.raises(QuotaExceeded):
        spoken(made(vendor, fake), voice="quota")


def test_an_answer_without_sound_is_none(vendor: str, fake: FakeVoice) -> None:
    assert spoken(made(vendor, fake), voice="empty") == b""


@pytest.mark.parametrize("speed", [1.0, 1.1, 5.0, 0.1])
def test_every_request_is_what_the_vendors_types_know(vendor: str, fake: FakeVoice, speed: float) -> None:
    more: Mapping[str, dict[str, Any]] = {
        "elevenlabs": {"language": "en", "settings": {"stability": 0.5}},
        "cartesia": {"language": "en"},
        "azure_speech": {"language": "en-GB"},
    }
    text = 'Tom & Jerry\'s <b>"x"</b>\x07'
    spoken(made(vendor, fake, **more[vendor]), text, "en-US-Ben", speed)
    (body,) = fake.requests
    if vendor == "cartesia":
        assert problems(TTSGenerateParams, body) == []
    if vendor == "elevenlabs":
        known = parameters(TextToSpeechClient.stream)
        assert set(body) <= set(known)
        assert problems(known["voice_settings"][0], body["voice_settings"]) == []
    if vendor == "azure_speech":
        assert body["text"] == text.replace("\x07", " ")
        assert body["language"] == "en-GB"
        assert body["rates"] == ([] if speed == 1.0 else [f"{(speed - 1) * 100:+.0f}%"])


@pytest.mark.parametrize(
    ("name", "path"), [("cartesia", "providers.cartesia.voice"), ("azure_speech", "providers.azure_speech.region")]
)
def test_what_has_to_be_said(name: str, path: str) -> None:
    with pytest.raises(ConfigError) as found:
        catalog.TTS.load(name)({"api_key": KEY})
    assert found.value.path == path
