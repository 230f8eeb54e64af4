"""Services that speak OpenAI's API: each is asked as it wants to be, and what servers send is read by the engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest
from completion_streams import STREAMS
from http_server import Answer, FakeHttp, Request

from asterisk_ai.errors import ConfigError
from asterisk_ai.providers import catalog
from asterisk_ai.providers.api import DialplanAction, Hints, Say, TurnRequest
from asterisk_ai.providers.presets import PRESETS

KEY = "sk-test"
MODELS = [name for name, preset in PRESETS.items() if "llm" in preset.kinds]
AGENT = {"name": "a", "tools": {"hangup": True, "transfer": {"sales": "200@from-internal"}}}


class Service(FakeHttp):
    """Answers each request for a completion with one stream."""

    def __init__(self) -> None:
        super().__init__(idle_seconds=30)
        self.stream = STREAMS["OpenAI"][0]
        self.requests: list[Request] = []

    async def answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, out: Answer
    ) -> bool:
        self.requests.append(request)
        if request.method == "GET":
            return await out.json({"data": []})
        if request.target.endswith("transcriptions"):
            return await out.json({"text": "opening hours"})
        if request.target.endswith("speech"):
            await out.begin("audio/pcm")
            await out.chunk(bytes(4800))
            await out.end()
            return True
        await out.begin("text/event-stream")
        for start in range(0, len(self.stream), 7):
            await out.chunk(self.stream[start : start + 7])
        await out.end()
        return True


@contextlib.asynccontextmanager
async def asked(name: str) -> AsyncIterator[tuple[Service, Callable[[], Awaitable[list[Any]]]]]:
    """The service, and what asks it."""
    async with Service().running() as service:
        settings = {"base_url": service.base_url, "api_key": KEY, "chat": {"model": "m", "max_tokens": 90}}
        model = catalog.LLM.load(name)(settings, AGENT)
        await model.start()

        async def ask() -> list[Any]:
            async with model.reply(TurnRequest("sales")) as parts:
                return [part async for part in parts]

        yield service, ask
        await model.stop()


@pytest.mark.parametrize("name", MODELS)
def test_a_service_is_asked_as_it_wants_to_be(name: str) -> None:
    preset = PRESETS[name]

    async def main() -> list[Request]:
        async with asked(name) as (service, ask):
            assert await ask()
            return service.requests

    probe, request = asyncio.run(asyncio.wait_for(main(), 20))
    assert probe.target == f"/v1/{preset.probe}"
    assert request.target == "/v1/chat/completions"
    key = {"authorization": f"Bearer {KEY}"} if name != "azure" else {"api-key": KEY}
    assert {header: request.headers.get(header) for header in ("authorization", "api-key")} == {
        "authorization": None, "api-key": None, **key,
    }  # fmt: skip
    body = json.loads(request.body)
    limits = {limit: body.get(limit) for limit in ("max_tokens", "max_completion_tokens")}
    assert limits == {"max_tokens": None, "max_completion_tokens": None, preset.limit: 90}


@pytest.mark.parametrize("name", MODELS)
def test_every_stream_is_read_whoever_sends_it(name: str) -> None:
    async def main() -> None:
        async with asked(name) as (service, ask):
            for told, (service.stream, text, calls) in STREAMS.items():
                parts = await ask()
                said = " ".join(part.text for part in parts if isinstance(part, Say))
                done = [part.kind for part in parts if isinstance(part, DialplanAction)]
                assert "".join(said.split()) == "".join(text.split()), told
                assert done == [str(call[0]) for call in calls[:1]], told

    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if "stt" in preset.kinds])
def test_services_that_hear(name: str) -> None:
    async def main() -> str:
        async with Service().running() as service:
            hearing = catalog.STT.load(name)({"base_url": service.base_url, "transcription": {"model": "whisper"}})
            await hearing.start()
            async with hearing.open(rate=16_000, hints=Hints()) as stream:
                stream.feed(bytes(32_000))
                words = await stream.finish()
            await hearing.stop()
        return words.text

    assert asyncio.run(asyncio.wait_for(main(), 20)) == "opening hours"


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if "tts" in preset.kinds])
def test_services_that_speak(name: str) -> None:
    async def main() -> tuple[bytes, Request]:
        async with Service().running() as service:
            settings = {"base_url": service.base_url, "speech": {"model": "m", "voice": "af_heart"}}
            voice = catalog.TTS.load(name)(settings)
            await voice.start()
            async with voice.open("Hello.") as pieces:
                pcm = b"".join([piece async for piece in pieces])
            await voice.stop()
            return pcm, service.requests[-1]

    pcm, request = asyncio.run(asyncio.wait_for(main(), 20))
    assert (pcm, json.loads(request.body)["voice"]) == (bytes(4800), "af_heart")


@pytest.mark.parametrize(
    ("name", "settings", "path"),
    [
        ("groq", {"api_key": KEY}, "providers.groq.chat.model"),
        ("azure", {"chat": {"model": "m"}}, "providers.azure.base_url"),
        ("ollama", {"chat": {"modle": "m"}}, "providers.ollama.chat.modle"),
    ],
)
def test_what_has_to_be_said(name: str, settings: Mapping[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as found:
        catalog.LLM.load(name)(settings, AGENT)
    assert found.value.path == path


def test_addresses() -> None:
    assert all(preset.base_url or preset.example for preset in PRESETS.values())
