"""Every engine of this package passes the conformance test; and the test finds what it is there to find."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from asterisk_ai.config import load, share_path
from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers import testing
from asterisk_ai.providers.api import Hints, Readiness, TurnRequest
from asterisk_ai.providers.engines.espeak import Espeak
from asterisk_ai.providers.engines.pocketsphinx import PocketSphinx
from asterisk_ai.providers.engines.rules import Rules

GRAMMAR = Hints.of("hello", "goodbye")


def rules() -> Rules:
    agent = load(str(share_path("etc-asterisk") / "asterisk_ai.yaml")).agent()
    return Rules({}, agent.as_mapping())


def test_pocketsphinx() -> None:
    testing.check_speech_to_text(lambda: PocketSphinx({}), hints=GRAMMAR)


def test_rules() -> None:
    testing.check_language_model(rules, requests=[TurnRequest("i want to speak to sales"), TurnRequest("goodbye")])


def test_espeak() -> None:
    testing.check_text_to_speech(lambda: Espeak({}), broken=lambda: Espeak({"voice": "none"}))


class Tone:
    """A synthesiser that keeps every promise; the ones below break one each."""

    sample_rate = 8000

    def __init__(self) -> None:
        self.running = False

    async def start(self) -> None:
        self.running = True

    async def stop(self) -> None:
        self.running = False

    def readiness(self) -> Readiness:
        return Readiness(self.running, "" if self.running else "not started")

    @asynccontextmanager
    async def open(self, text: str, *, voice: str = "", speed: float = 1.0) -> AsyncIterator[AsyncIterator[bytes]]:
        yield self.pieces(text)

    async def pieces(self, text: str) -> AsyncIterator[bytes]:
        for _ in text.split():
            await asyncio.sleep(0)
            if not self.running:
                raise ProviderUnavailable("tone", "stopped")
            yield b"\0\x10" * 800


class Blocking(Tone):
    async def pieces(self, text: str) -> AsyncIterator[bytes]:
        time.sleep(0.15 if len(text) > 100 else 0)
        async for pcm in super().pieces(text):
            yield pcm


class HalfSamples(Tone):
    async def pieces(self, text: str) -> AsyncIterator[bytes]:
        yield b"\0\x10\0"


class Raising(Tone):
    async def pieces(self, text: str) -> AsyncIterator[bytes]:
        if text:
            raise OSError("the vendor's socket")
        yield b""


class Lingering(Tone):
    @asynccontextmanager
    async def open(self, text: str, *, voice: str = "", speed: float = 1.0) -> AsyncIterator[AsyncIterator[bytes]]:
        try:
            yield self.pieces(text)
        finally:
            await asyncio.sleep(1.1 if len(text) > 100 else 0)


class Swallowing(Tone):
    @asynccontextmanager
    async def open(self, text: str, *, voice: str = "", speed: float = 1.0) -> AsyncIterator[AsyncIterator[bytes]]:
        with suppress(LookupError):
            yield self.pieces(text)


class Leaking(Tone):
    async def start(self) -> None:
        await super().start()
        self.task = asyncio.create_task(asyncio.sleep(60), name="keepalive")


class Silent(Tone):
    async def pieces(self, text: str) -> AsyncIterator[bytes]:
        async for pcm in super().pieces(text):
            yield bytes(len(pcm))


class NeverReady(Tone):
    def readiness(self) -> Readiness:
        return Readiness(False, "just so")


@pytest.mark.parametrize(
    ("engine", "problem"),
    [
        (Blocking, "held up the event loop"),
        (HalfSamples, "half a sample"),
        (Raising, "only ProviderUnavailable and ProviderRejected may come out"),
        (Lingering, "leaving the stream took"),
        (Swallowing, "must come out of it"),
        (Leaking, "tasks are left behind: ['keepalive'"),
        (Silent, "nothing but silence"),
        (NeverReady, "not ready after start: just so"),
    ],
)
def test_it_finds(engine: Any, problem: str) -> None:
    with pytest.raises(testing.NotConforming) as found:
        testing.check_text_to_speech(engine)
    assert problem in str(found.value)


def test_it_has_nothing_against_a_good_one() -> None:
    testing.check_text_to_speech(Tone)


def test_a_broken_engine_must_say_so() -> None:
    with pytest.raises(testing.NotConforming, match="neither start"):
        testing.check_text_to_speech(Tone, broken=Tone)
