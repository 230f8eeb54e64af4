"""Engines that fail in every way, at every point of their work. Setting ``fault``: see the classes; "" works well."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from asterisk_ai.errors import ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.api import (
    DialplanAction,
    Hints,
    Readiness,
    Remember,
    ReplyPart,
    Say,
    Transcript,
    TurnRequest,
    ignore,
)


class _Faulty:
    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.fault = str(settings.get("fault", ""))
        self.used = 0

    async def start(self) -> None:
        if self.fault == "start":
            raise ProviderUnavailable("faulty", "its service is down")

    async def stop(self) -> None: ...

    def readiness(self) -> Readiness:
        return Readiness(self.fault != "start", "its service is down" if self.fault == "start" else "")

    async def fail(self, point: str) -> None:
        """Do what the fault says if it is this point's: open, middle, end or leave."""
        where, _, how = self.fault.partition("-")
        if where != point:
            return
        match how:
            case "hang":
                await asyncio.sleep(3600)
            case "unavailable":
                raise ProviderUnavailable("faulty", "overloaded")
            case "rejected":
                raise ProviderRejected("faulty", "wrong key")
            case "raise":
                raise KeyError("somebody's mistake")
            case "oserror":
                raise ConnectionResetError("the peer went away")


class FaultySpeechToText(_Faulty):
    """Points: open, end (finish), leave, feed-raise. Setting ``words``."""

    sample_rates = (16_000,)

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self.words = str(settings.get("words", "opening hours"))
        self.heard_seconds: list[float] = []

    @asynccontextmanager
    async def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AsyncIterator[Any]:
        self.used += 1
        await self.fail("open")
        yield _FaultyStream(self, rate)
        await self.fail("leave")


class _FaultyStream:
    def __init__(self, engine: FaultySpeechToText, rate: int) -> None:
        self.engine, self.rate, self.bytes = engine, rate, 0

    def feed(self, pcm: bytes) -> None:
        self.bytes += len(pcm)
        if self.engine.fault == "feed-raise":
            raise KeyError("somebody's mistake")

    async def finish(self) -> Transcript:
        self.engine.heard_seconds.append(self.bytes / 2 / self.rate)
        await self.engine.fail("end")
        return Transcript(self.engine.words)


class FaultyLanguageModel(_Faulty):
    """Points: open, first, middle (after the first sentence), end, leave; "empty"."""

    def __init__(self, settings: Mapping[str, Any], agent: Mapping[str, Any] | None = None) -> None:
        super().__init__(settings)
        self.answer = str(settings.get("answer", "Nine to five."))
        self.late = float(settings.get("late", 0))
        self.do = settings.get("do")

    def hints(self, memory: Mapping[str, Any]) -> Hints:
        return Hints()

    def digits_wanted(self, memory: Mapping[str, Any]) -> int:
        return 0

    def complete(self, text: str, memory: Mapping[str, Any]) -> bool:
        return True

    @asynccontextmanager
    async def reply(self, request: TurnRequest) -> AsyncIterator[AsyncIterator[ReplyPart]]:
        self.used += 1
        await self.fail("open")
        yield self.parts()
        await self.fail("leave")

    async def parts(self) -> AsyncIterator[ReplyPart]:
        await self.fail("first")
        await asyncio.sleep(self.late)
        yield Remember({"turns": 1})
        if self.fault == "empty":
            return
        yield Say(self.answer)
        await self.fail("middle")
        if self.do:
            yield DialplanAction(str(self.do))
        await self.fail("end")


class FaultyTextToSpeech(_Faulty):
    """Points: open, first, middle, end, leave; "empty". A tone of 250 ms a word, at ``hertz``, each after ``late`` s.

    ``times``: how often it fails; after that it works well.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self.sample_rate = int(settings.get("rate", 8000))
        self.hertz = float(settings.get("hertz", 500))
        self.late = float(settings.get("late", 0))
        self.times = int(settings.get("times", 1_000_000))
        self.texts: list[str] = []

    @asynccontextmanager
    async def open(self, text: str, *, voice: str = "", speed: float = 1.0) -> AsyncIterator[AsyncIterator[bytes]]:
        self.used += 1
        self.texts.append(text)
        await self.fail("open")
        if voice and self.fault == "voice":
            raise ProviderRejected("faulty", f"no voice {voice}")
        yield self.pieces(text)
        await self.fail("leave")

    async def pieces(self, text: str) -> AsyncIterator[bytes]:
        await self.fail("first")
        if self.fault == "empty":
            return
        times = np.arange(self.sample_rate // 4) / self.sample_rate
        word = (np.sin(2 * np.pi * self.hertz * times) * 8000).astype("<i2").tobytes()
        for number, _ in enumerate(text.split()):
            if number == 2:
                self.times -= 1
                if self.times >= 0:
                    await self.fail("middle")
            await asyncio.sleep(self.late)
            yield word
        await self.fail("end")
