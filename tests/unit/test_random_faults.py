"""500 turns through engines that fail at random: everybody gets an answer or the fallback, and nothing twice.

Time is virtual: an engine that hangs costs the caller its stage's limit, and the test nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
import virtual_time
from virtual_time import VirtualClock

from asterisk_ai.dialog.heard import SECONDS_PER_LETTER
from asterisk_ai.errors import ProviderError, ProviderRejected, ProviderUnavailable, QuotaExceeded, RateLimited
from asterisk_ai.providers.api import (
    DialplanAction,
    Hints,
    LanguageModel,
    Say,
    SpeechToText,
    TextToSpeech,
    Transcript,
    TurnRequest,
    Usage,
    ignore,
)
from asterisk_ai.providers.chain import (
    Breaker,
    LanguageModelChain,
    Limits,
    Member,
    SpeechToTextChain,
    TextToSpeechChain,
    Trouble,
    listening,
)

TURNS = 500
LIMIT = 2.0
RATE = 8000
SENTENCES = ("We are open today.", "From nine to five.", "What else can I do?")
FAULTS = ("", "refuse", "limited", "quota", "hang", "reset", "garbage", "silent")
WORDS = "one two three four five six seven eight"


class Dice:
    """How one engine fails at one piece of work, and after how much of it."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.thrown: Counter[str] = Counter()

    def throw(self, parts: int) -> tuple[str, int]:
        fault, after = self._random.choice(FAULTS), self._random.randint(0, parts)
        self.thrown[fault] += 1
        return fault, after


async def fail(fault: str) -> None:
    match fault:
        case "refuse":
            raise ProviderRejected("dice", "no")
        case "limited":
            raise RateLimited("dice", "too often")
        case "quota":
            raise QuotaExceeded("dice", "all is used up")
        case "hang":
            await asyncio.sleep(3600)
        case "reset":
            raise ConnectionResetError("gone")
        case "garbage":
            raise KeyError("choices")


class Model(LanguageModel):
    def __init__(self, dice: Dice) -> None:
        self.dice, self.done = dice, 0

    @asynccontextmanager
    async def reply(self, request: TurnRequest) -> AsyncIterator[Any]:
        fault, after = self.dice.throw(len(SENTENCES) + 1)
        if fault and not after:
            await fail(fault)
        yield self.parts(request, fault, after)

    async def parts(self, request: TurnRequest, fault: str, after: int) -> AsyncIterator[Any]:
        for number, sentence in enumerate(SENTENCES):
            if fault == "garbage":
                yield Say("...")
            if fault and number == after - 1:
                await fail(fault)
                return
            await asyncio.sleep(0.3)
            yield Say(sentence)
        request.spent(Usage(100, 0, 10))
        yield DialplanAction("hangup", {})
        self.done += 1


class Ears(SpeechToText):
    sample_rates = (RATE,)

    def __init__(self, dice: Dice) -> None:
        self.dice = dice

    @asynccontextmanager
    async def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AsyncIterator[Any]:
        fault, after = self.dice.throw(1)
        if not after:
            await fail(fault)

        class Stream:
            heard = 0

            def feed(self, pcm: bytes) -> None:
                self.heard += len(pcm)
                if fault == "garbage" and after:
                    raise ValueError("what is this")

            async def finish(self) -> Transcript:
                await asyncio.sleep(0.1)
                await fail(fault)
                return Transcript(f"{self.heard}")

        yield Stream()


class Voice(TextToSpeech):
    """Each word is its number among WORDS, for as long as it would take."""

    sample_rate = RATE

    def __init__(self, dice: Dice) -> None:
        self.dice = dice

    @asynccontextmanager
    async def open(self, text: str, *, voice: str = "", speed: float = 1.0) -> AsyncIterator[Any]:
        words = text.split()
        fault, after = self.dice.throw(len(words))
        if fault and not after:
            await fail(fault)
        yield self.pieces(words, fault, after)

    async def pieces(self, words: list[str], fault: str, after: int) -> AsyncIterator[bytes]:
        for number, word in enumerate(words):
            if fault and number == after:
                await fail(fault)
                return  # silent: it ends as if that were all
            await asyncio.sleep(0.05)
            level = 1000 * (1 + WORDS.split().index(word))
            yield np.full(round((len(word) + 1) * SECONDS_PER_LETTER * RATE), level, "<i2").tobytes()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def dice() -> list[Dice]:
    return [Dice(seed) for seed in (1, 2, 3)]


def members(kind: Any, dice: list[Dice], clock: VirtualClock) -> list[Member[Any]]:
    return [Member(f"engine{number}", kind(one), Breaker(clock=clock)) for number, one in enumerate(dice)]


def together(main: Any, clock: VirtualClock, dice: list[Dice]) -> list[Trouble]:
    troubles: list[Trouble] = []
    with listening(troubles.append):
        virtual_time.run(main, clock)
    thrown = sum((one.thrown for one in dice), Counter[str]())
    assert all(thrown[fault] > 10 for fault in FAULTS), "all faults were there"
    assert troubles
    return troubles


def test_language_models(clock: VirtualClock, dice: list[Dice]) -> None:
    ends: Counter[str] = Counter()

    async def main() -> None:
        chain = LanguageModelChain(members(Model, dice, clock), Limits(LIMIT), switching="One moment.")
        for _ in range(TURNS):
            began, said, actions = clock.now, list[str](), 0
            try:
                async with chain.reply(TurnRequest("when are you open")) as parts:
                    async for part in parts:
                        said += [part.text] if isinstance(part, Say) else []
                        actions += isinstance(part, DialplanAction)
                ends["answer"] += 1
                assert [one for one in said if one != "One moment."], "an answer"
            except ProviderError:
                ends["fallback"] += 1
                assert not actions
            assert clock.now - began <= 3 * (LIMIT * (len(SENTENCES) + 2)) + 1
            assert actions <= 1
            told = [one for one in said if one != "One moment."]
            assert len(told) == len(set(told)), f"said twice: {said}"
            assert told == [one for one in SENTENCES if one in told], "in their order"
            await asyncio.sleep(20)

    together(main(), clock, dice)
    assert sum(ends.values()) == TURNS
    assert ends["answer"] > TURNS / 3
    assert ends["fallback"] > 10


def test_recognisers(clock: VirtualClock, dice: list[Dice]) -> None:
    ends: Counter[str] = Counter()

    async def main() -> None:
        chain = SpeechToTextChain(members(Ears, dice, clock), Limits(LIMIT))
        for _ in range(TURNS):
            began = clock.now
            try:
                async with chain.open(rate=RATE, hints=Hints()) as stream:
                    for _ in range(10):
                        stream.feed(bytes(320))
                    assert (await stream.finish()).text == "3200", "whoever hears it hears all of it, once"
                ends["words"] += 1
            except ProviderError:
                ends["fallback"] += 1
            assert clock.now - began <= 3 * 2 * LIMIT + 1
            await asyncio.sleep(20)

    together(main(), clock, dice)
    assert sum(ends.values()) == TURNS
    assert ends["words"] > TURNS / 3


def test_voices(clock: VirtualClock, dice: list[Dice]) -> None:
    ends: Counter[str] = Counter()
    words = WORDS.split()

    async def main() -> None:
        chain = TextToSpeechChain(members(Voice, dice, clock), Limits(LIMIT))
        for _ in range(TURNS):
            began, heard = clock.now, bytearray()
            try:
                async with chain.open(WORDS) as pieces:
                    async for pcm in pieces:
                        heard += pcm
                ends["spoken"] += 1
            except (ProviderUnavailable, ProviderRejected):
                ends["fallback"] += 1
            levels = np.frombuffer(bytes(heard), "<i2")
            changes = levels[np.flatnonzero(np.diff(levels, prepend=0))] // 1000
            spoken = [words[level - 1] for level in changes]
            assert spoken == words[: len(spoken)], f"twice, or left out: {spoken}"
            assert clock.now - began <= 3 * (len(words) + 2) * LIMIT
            await asyncio.sleep(20)

    together(main(), clock, dice)
    assert sum(ends.values()) == TURNS
    assert ends["spoken"] > TURNS / 3
