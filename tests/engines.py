"""Engines for tests of the call path: they stand in for recognition only, by what the test tells them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from asterisk_ai.providers.base import Hints, Readiness, Transcript, ignore


class ScriptedStream:
    def __init__(self, text: str, delay: float) -> None:
        self._text, self._delay, self.received = text, delay, 0

    def feed(self, pcm: bytes) -> None:
        self.received += len(pcm)

    async def finish(self) -> Transcript:
        await asyncio.sleep(self._delay)
        return Transcript(self._text, accepted=bool(self._text))


class ScriptedSpeechToText:
    """Hears ``words`` in every utterance, after ``delay`` seconds. Settings: words, delay."""

    sample_rates = (8000,)

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._words = str(settings.get("words", "what are your opening hours"))
        self._delay = float(settings.get("delay", 0.0))
        self.open_streams = 0

    @asynccontextmanager
    async def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AsyncIterator[ScriptedStream]:
        self.open_streams += 1
        try:
            yield ScriptedStream(self._words, self._delay)
        finally:
            self.open_streams -= 1

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def readiness(self) -> Readiness:
        return Readiness(True)
