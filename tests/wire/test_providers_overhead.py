"""What the fallback chain adds to its engines' own time, and the program that measures what the adapters add."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from faulty import FaultyLanguageModel, FaultySpeechToText, FaultyTextToSpeech

from asterisk_ai.providers.api import Hints, TurnRequest
from asterisk_ai.providers.chain import LanguageModelChain, Limits, Member, SpeechToTextChain, TextToSpeechChain

ROOT = Path(__file__).parents[2]
LIMIT = 0.005
ROUNDS = 30


async def first_sound(engine: Any, text: str = "Hello there.") -> float:
    began = time.perf_counter()
    async with engine.open(text) as pieces:
        await anext(pieces)
        return time.perf_counter() - began


async def first_part(engine: Any) -> float:
    began = time.perf_counter()
    async with engine.reply(TurnRequest("hello")) as parts:
        await anext(parts)
        took = time.perf_counter() - began
        async for _ in parts:
            pass
    return took


async def words(engine: Any, pcm: bytes, settle: float = 0.0) -> float:
    async with engine.open(rate=16_000, hints=Hints()) as stream:
        for start in range(0, len(pcm), 640):
            stream.feed(pcm[start : start + 640])
        await asyncio.sleep(settle)  # what was fed is decoded while the caller pauses
        began = time.perf_counter()
        await stream.finish()
        return time.perf_counter() - began


def median(values: list[float]) -> float:
    return statistics.median(values)


def test_the_chain() -> None:
    async def main() -> None:
        ears = SpeechToTextChain([Member("a", FaultySpeechToText({}))], Limits())
        mind = LanguageModelChain([Member("a", FaultyLanguageModel({}))], Limits())
        voice = TextToSpeechChain([Member("a", FaultyTextToSpeech({}))], Limits())
        assert median([await words(ears, bytes(3200)) for _ in range(ROUNDS)]) < LIMIT
        assert median([await first_part(mind) for _ in range(ROUNDS)]) < LIMIT
        assert median([await first_sound(voice) for _ in range(ROUNDS)]) < LIMIT

    asyncio.run(main())


@pytest.mark.slow
def test_every_engine_can_be_measured() -> None:
    """The figures themselves are for a quiet machine; what they were is in docs/providers.rst."""
    for library in ("vosk", "gpt4all", "piper", "onnx", "gguf"):
        pytest.importorskip(library)
    program = [sys.executable, str(ROOT / "scripts" / "measure_adapters.py"), "--rounds", "3"]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode in (0, 1), done.stderr
    for engine in (
        *("vosk", "gpt4all", "piper", "openai chat", "openai transcription", "openai speech"),
        *("deepgram recognition", "deepgram speech", "wyoming recognition", "wyoming speech"),
    ):
        assert f"{engine:24} directly " in done.stdout
