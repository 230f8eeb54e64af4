"""What tests of recognisers that run here have in common: recorded speech, and an engine for the length of a test."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from asterisk_ai.providers.api import Hints, Transcript

PHRASES = (
    "what are your opening hours",
    "connect me to sales",
    "i would like to speak to an operator",
    "one two three four",
    "leave a message",
    "goodbye",
    "yes",
    "no",
)
HINTS = Hints.of(*PHRASES)
Case = Callable[[Any], Coroutine[Any, Any, None]]


def with_engine(make: Callable[[dict[str, Any]], Any], case: Case, **settings: Any) -> None:
    """Run ``case`` with a started engine; its workers are gone afterwards."""

    async def main() -> None:
        engine = make(settings)
        await engine.start()
        try:
            await case(engine)
        finally:
            await engine.stop()
        assert engine.worker_pids == ()

    asyncio.run(main())


async def hear(engine: Any, pcm: bytes, hints: Hints = HINTS, rate: int = 8000) -> Transcript:
    async with engine.open(rate=rate, hints=hints) as stream:
        for start in range(0, len(pcm), rate // 25):
            stream.feed(pcm[start : start + rate // 25])
        words: Transcript = await stream.finish()
        return words


def recorded(phrase: str, folder: str = "speech") -> bytes:
    """A phrase as espeak-ng once said it: it never says anything twice in the same way."""
    path = Path(__file__).parents[1] / "data" / folder / f"{phrase.replace(' ', '_')}.wav"
    with wave.open(str(path)) as file:
        return file.readframes(file.getnframes())


def wide(pcm: bytes) -> bytes:
    """At 16 kHz."""
    narrow = np.frombuffer(pcm, np.int16).astype(np.float32)
    return bytes(soxr.resample(narrow, 8000, 16_000).astype(np.int16).tobytes())
