"""The Wyoming engines against real Wyoming servers, made with the protocol's own library."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_providers_fallback import calls, records
from wyoming.asr import Transcript as Words
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.server import AsyncEventHandler, AsyncTcpServer
from wyoming.tts import Synthesize

from asterisk_ai.errors import ConfigError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers import testing
from asterisk_ai.providers.base import Hints
from asterisk_ai.providers.wyoming import WyomingSpeechToText, WyomingTextToSpeech


class Handler(AsyncEventHandler):
    """A recogniser and a voice; ``faults`` holds what it does instead: error, close, silent, odd."""

    def __init__(self, faults: list[str], *arguments: Any) -> None:
        super().__init__(*arguments)
        self.faults, self.heard = faults, 0

    async def handle_event(self, event: Event) -> bool:
        fault = self.faults[0] if self.faults else ""
        if Describe.is_type(event.type):
            await self.write_event(Info().event())
        elif AudioChunk.is_type(event.type):
            self.heard += len(AudioChunk.from_event(event).audio)
        elif AudioStop.is_type(event.type) or Synthesize.is_type(event.type):
            if fault == "error":
                await self.write_event(Error("no such model").event())
            elif fault == "close":
                return False
            elif fault == "odd":
                self.writer.write(b"this is no event\n")
                await self.writer.drain()
            elif fault == "silent":
                await asyncio.sleep(3600)
            elif AudioStop.is_type(event.type):
                await self.write_event(Words("opening hours" if self.heard else "").event())
            else:
                await self._speak(Synthesize.from_event(event).text)
        return True

    async def _speak(self, text: str) -> None:
        rate = 16_000
        word = (np.sin(2 * np.pi * 800 * np.arange(rate // 4) / rate) * 8000).astype("<i2").tobytes()
        await self.write_event(AudioStart(rate, 2, 1).event())
        for _ in text.split():
            await self.write_event(AudioChunk(rate, 2, 1, word).event())
        await self.write_event(AudioStop().event())


@pytest.fixture
def service() -> Iterator[tuple[int, list[str]]]:
    """A running server's port, and its faults."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    faults: list[str] = []
    started, ended = threading.Event(), []

    async def main() -> None:
        server = AsyncTcpServer("127.0.0.1", port)
        await server.start(partial(Handler, faults))
        stop = asyncio.Event()
        ended.append((asyncio.get_running_loop(), stop))
        started.set()
        await stop.wait()
        await server.stop()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    started.wait(5)
    yield port, faults
    loop, stop = ended[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join()


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
        async with voice.open("hello") as pieces:
            with pytest.raises(error):
                await anext(pieces)
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
