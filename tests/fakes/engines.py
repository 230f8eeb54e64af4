"""Engines for tests of the call path: they stand in for recognition only, by what the test tells them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.models.store import Store
from asterisk_ai.providers.api import Hints, Readiness, Remember, ReplyPart, Say, Transcript, TurnRequest, ignore


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


class ToneStream:
    """Hears what the caller's tone stands for."""

    def __init__(self, rate: int, words: Mapping[str, Any]) -> None:
        self._rate, self._words, self._pcm = rate, words, b""

    def feed(self, pcm: bytes) -> None:
        self._pcm += pcm

    async def finish(self) -> Transcript:
        samples = np.frombuffer(self._pcm, "<i2")
        hertz = float(np.argmax(np.abs(np.fft.rfft(samples))) * self._rate / len(samples)) if len(samples) else 0.0
        tone = min(self._words, key=lambda name: abs(float(name) - hertz))
        match words := str(self._words[tone]):
            case "RAISE":
                raise RuntimeError("a mistake in somebody's engine")
            case "UNAVAILABLE":
                raise ProviderUnavailable("tones", "out of order")
            case "HANG":
                await asyncio.sleep(3600)
        return Transcript(words, accepted=bool(words))


class ToneSpeechToText(ScriptedSpeechToText):
    """Hears by the tone's frequency. Settings: ``words``, from hertz to words or RAISE, UNAVAILABLE, HANG."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__({})
        self._tones = dict(settings["words"])

    @asynccontextmanager
    async def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AsyncIterator[Any]:
        yield ToneStream(rate, self._tones)


class ImpossibleSpeechToText(ScriptedSpeechToText):
    """Cannot be made, and says so in no way that anybody expects."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        raise KeyError("somebody's mistake")


class UnstartableSpeechToText(ScriptedSpeechToText):
    """Cannot be started."""

    async def start(self) -> None:
        raise ValueError("somebody's mistake")


class RudeStream(ScriptedStream):
    """Raises where nobody may."""

    def feed(self, pcm: bytes) -> None:
        raise OSError("a mistake in somebody's feed")


class RudeSpeechToText(ScriptedSpeechToText):
    """Opens streams that raise when they are fed."""

    @asynccontextmanager
    async def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AsyncIterator[ScriptedStream]:
        yield RudeStream("", 0.0)


class RudeLanguageModel:
    """Fails where it may not: asked how many digits it wants, once it has answered."""

    def __init__(self, settings: Mapping[str, Any], agent: Mapping[str, Any]) -> None: ...

    @asynccontextmanager
    async def reply(self, request: TurnRequest) -> AsyncIterator[AsyncIterator[ReplyPart]]:
        async def parts() -> AsyncIterator[ReplyPart]:
            yield Remember({("no", "JSON"): object()})  # type: ignore[dict-item]
            yield Say("Yes.")

        yield parts()

    def hints(self, memory: Mapping[str, Any]) -> Hints:
        return Hints()

    def digits_wanted(self, memory: Mapping[str, Any]) -> int:
        if memory:
            raise LookupError("a mistake in somebody's digits")
        return 0

    def complete(self, text: str, memory: Mapping[str, Any]) -> bool:
        return True

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def readiness(self) -> Readiness:
        return Readiness(True)


class HastySpeechToText(ScriptedSpeechToText):
    """Has a view of the words with the first audio, told from outside of any task as a worker's connection tells it."""

    @asynccontextmanager
    async def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AsyncIterator[ScriptedStream]:
        asyncio.get_running_loop().call_soon(partial, Transcript(self._words))
        yield ScriptedStream(self._words, 0.0)


class RudestLanguageModel(RudeLanguageModel):
    """Fails where it may not: asked whether the words are complete."""

    def complete(self, text: str, memory: Mapping[str, Any]) -> bool:
        raise LookupError("a mistake in somebody's judgement")


class NeedsModel:
    """An engine that finds its model as all do."""

    sample_rate = 16000
    sample_rates = (16000,)

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._store, self._ready = Store(Path(settings["directory"])), False

    async def start(self) -> None:
        self._store.path("voice")
        self._ready = True

    async def stop(self) -> None: ...

    def readiness(self) -> Readiness:
        return Readiness(self._ready)

    @asynccontextmanager
    async def open(self, text: str, **_: Any) -> AsyncIterator[AsyncIterator[bytes]]:
        async def silence() -> AsyncIterator[bytes]:
            yield bytes(3200)

        yield silence()
