"""Engines that only take their time: what is left of a call's cost and delay is the server's own.

For ``asterisk-ai bench`` and for measuring by hand. In the configuration::

    pipelines:
      delay:
        stt: "asterisk_ai.providers.engines.delay:DelaySpeechToText"
        llm: "asterisk_ai.providers.engines.delay:DelayLanguageModel"
        tts: "asterisk_ai.providers.engines.delay:DelayTextToSpeech"
    providers:
      "asterisk_ai.providers.engines.delay:DelaySpeechToText": {seconds: 0.2}
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from asterisk_ai.config.schema import Range
from asterisk_ai.config.settings import read_settings
from asterisk_ai.providers.api import Hints, Readiness, ReplyPart, Say, Transcript, TurnRequest, ignore

_PIECE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class DelaySettings:
    """Of each of the three."""

    seconds: Annotated[float, Range(0, 600)] = 0.2
    """Until the engine has its (first) result."""
    speaking: Annotated[float, Range(0, 600)] = 3.0
    """How long the voice speaks."""
    rate: Annotated[int, Range(8000, 48_000)] = 8000
    """Of what the voice makes, in Hz."""
    hertz: Annotated[int, Range(50, 3000)] = 200
    """Of its hum."""


class _Delay:
    """What the three have in common."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._own = read_settings(DelaySettings, settings, "providers.delay")
        self._seconds = self._own.seconds

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def readiness(self) -> Readiness:
        return Readiness(True)


class _DelayStream:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def feed(self, pcm: bytes) -> None: ...

    async def finish(self) -> Transcript:
        await asyncio.sleep(self._seconds)
        return Transcript("something")


class DelaySpeechToText(_Delay):
    """Understands the same thing in every utterance, ``seconds`` after its end."""

    sample_rates: Sequence[int] = (8000, 16000)

    @asynccontextmanager
    async def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AsyncIterator[_DelayStream]:
        yield _DelayStream(self._seconds)


class DelayLanguageModel(_Delay):
    """Gives the same answer to everything, after ``seconds``."""

    uses_tools = False

    def __init__(self, settings: Mapping[str, Any], agent: Mapping[str, Any]) -> None:
        super().__init__(settings)

    @asynccontextmanager
    async def reply(self, request: TurnRequest) -> AsyncIterator[AsyncIterator[ReplyPart]]:
        yield self._parts()

    async def _parts(self) -> AsyncIterator[ReplyPart]:
        await asyncio.sleep(self._seconds)
        yield Say("An answer.")

    def hints(self, memory: Mapping[str, Any]) -> Hints:
        return Hints()

    def digits_wanted(self, memory: Mapping[str, Any]) -> int:
        return 0

    def complete(self, text: str, memory: Mapping[str, Any]) -> bool:
        return True


class DelayTextToSpeech(_Delay):
    """Hums for ``speaking`` seconds whatever the text is, from ``seconds`` on."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self._pieces = max(1, round(self._own.speaking / _PIECE_SECONDS))
        self.sample_rate = self._own.rate
        # Five times a second the hum is where it was, if its Hz are a multiple of 5: pieces follow without a seam.
        samples = np.arange(int(self.sample_rate * _PIECE_SECONDS))
        hum = 3000 * np.sin(2 * np.pi * self._own.hertz * samples / self.sample_rate)
        self._piece: bytes = hum.round().astype("<i2").tobytes()

    @asynccontextmanager
    async def open(self, text: str, *, voice: str = "", speed: float = 1.0) -> AsyncIterator[AsyncIterator[bytes]]:
        yield self._audio(bool(text))

    async def _audio(self, anything: bool) -> AsyncIterator[bytes]:
        if anything:
            await asyncio.sleep(self._seconds)
            for _ in range(self._pieces):
                yield self._piece
