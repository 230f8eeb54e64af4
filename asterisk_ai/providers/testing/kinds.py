"""The trials of recognisers, language models, synthesisers, and of what tells the end of a turn."""

from __future__ import annotations

import array
import asyncio
import contextlib
import json
import time
from collections.abc import Sequence
from typing import Any

from asterisk_ai.dialog.dialplan import ACTIONS
from asterisk_ai.errors import ProviderRejected
from asterisk_ai.providers.api import (
    AskDigits,
    DialplanAction,
    Hints,
    Message,
    Remember,
    Say,
    Transcript,
    TurnEnd,
    TurnRequest,
)
from asterisk_ai.providers.testing.life import (
    Check,
    Trial,
    body_error,
    expect,
    left_soon,
    refused,
    stopping_under,
)


class SpeechToTextTrial(Trial):
    def __init__(self, speech: bytes, rate: int, hints: Hints, text: str | None) -> None:
        super().__init__(rate)
        self.speech, self.hints, self.text = speech, hints, text

    def checks(self) -> dict[str, Check]:
        return {
            "sample_rates": self.rates,
            "an utterance": self.use,
            "an utterance without audio": self.empty,
            "feeding": self.feeding,
            "leaving early": self.leaving,
            "being cancelled": self.cancelled,
            "three utterances at once": self.together,
            "a rate that is not offered": self.wrong_rate,
            "stopping with a stream open": self.stopping,
        }

    def open(self, engine: Any) -> Any:
        return engine.open(rate=self.rate, hints=self.hints, partial=self.judge)

    async def use(self, engine: Any) -> None:
        async with self.open(engine) as stream:
            self.feed(stream)
            words = await stream.finish()
        self.judge(words)
        if self.text is not None:
            expect(_plain(words.text) == _plain(self.text), f"understood {words.text!r}, not {self.text!r}")

    def feed(self, stream: Any) -> None:
        size = self.rate // 50 * 2
        for start in range(0, len(self.speech), size):
            stream.feed(self.speech[start : start + size])

    @staticmethod
    def judge(words: object) -> None:
        expect(isinstance(words, Transcript), f"finish() must give a Transcript, gave {words!r}")
        assert isinstance(words, Transcript)  # noqa: S101 - for the type checker
        expect((type(words.text), type(words.accepted)) == (str, bool), f"wrong types in {words!r}")
        expect(0.0 <= words.confidence <= 1.0, f"confidence is {words.confidence}, not 0 to 1")

    async def empty(self, engine: Any) -> None:
        async with self.open(engine) as stream:
            words = await stream.finish()
        self.judge(words)
        expect(not words.accepted or not words.text, f"understood {words.text!r} without any audio")

    async def feeding(self, engine: Any) -> None:
        """Also when the stream was left."""
        async with self.open(engine) as stream:
            await self.feed_much(stream)
            stream.feed(bytes(10 * self.rate))
        stream.feed(bytes(320))  # one more frame was on its way

    async def leaving(self, engine: Any) -> None:
        await left_soon(self.open(engine))
        await body_error(self.open(engine))
        await self.use(engine)

    async def wrong_rate(self, engine: Any) -> None:
        await refused(engine.open(rate=12_345, hints=self.hints), lambda stream: stream.finish())

    async def stopping(self, engine: Any) -> None:
        await stopping_under(engine, self.open(engine), lambda stream: stream.finish())


class LanguageModelTrial(Trial):
    def __init__(self, requests: Sequence[TurnRequest]) -> None:
        super().__init__()
        history = [Message("agent", "Hello."), Message("caller", "what time is it")]
        self.requests = [
            *requests,
            TurnRequest("what are your opening hours", history=history, caller={"number": "200", "name": "Ann"}),
            TurnRequest("", understood=False),
            TurnRequest("12#", dialled=True),
            TurnRequest("x" * 5000),
            TurnRequest("hello", memory={"of": ["another", {"version": 1}]}),
        ]

    def checks(self) -> dict[str, Check]:
        return {
            "answering": self.answering,
            "hints and digits": self.hints,
            "leaving early": self.leaving,
            "being cancelled": self.cancelled,
            "three turns at once": self.together,
        }

    async def use(self, engine: Any) -> None:
        await self.answer(engine, self.requests[0])

    async def answer(self, engine: Any, request: TurnRequest) -> None:
        parts = []
        async with engine.reply(request) as reply:
            async for part in reply:
                self.judge(part)
                parts.append(part)
        actions = [part for part in parts if isinstance(part, DialplanAction)]
        expect(len(actions) <= 1, f"more than one action in a reply: {actions}")
        expect(
            any(isinstance(part, (Say, DialplanAction)) for part in parts),
            f"neither words nor an action for {request.text!r}",
        )

    @staticmethod
    def judge(part: object) -> None:
        match part:
            case Say(text=text):
                expect(text.strip(), "an empty Say")
            case DialplanAction(kind=kind, arguments=arguments):
                expect(kind in ACTIONS, f"no conversation may ask for {str(kind)!r}; known: {', '.join(ACTIONS)}")
                expect(all(isinstance(value, str) for value in arguments.values()), f"arguments are texts: {part!r}")
            case AskDigits(count=count):
                expect(type(count) is int and count > 0, f"asks for {count!r} digits")
            case Remember(memory=memory):
                json.dumps(dict(memory))
            case _:
                raise AssertionError(f"a reply is made of the parts in providers.api.ReplyPart, not of {part!r}")

    async def answering(self, engine: Any) -> None:
        for request in self.requests:
            await self.answer(engine, request)

    async def hints(self, engine: Any) -> None:
        for memory in ({}, {"of": ["another", {"version": 1}]}):
            began = time.monotonic()
            for _ in range(10):
                found, digits = engine.hints(memory), engine.digits_wanted(memory)
                complete = engine.complete("hello", memory)
            took = (time.monotonic() - began) / 10
            expect(isinstance(found, Hints) and found == engine.hints(memory), "hints() must give equal Hints")
            expect(type(digits) is int and digits >= 0, f"digits_wanted() gave {digits!r}")
            complete = engine.complete("hello", memory)
            expect(complete is None or type(complete) is bool, f"complete() gave {complete!r}")
            expect(took < 0.01, f"hints() took {took * 1000:.0f} ms: it is called in every turn")

    async def leaving(self, engine: Any) -> None:
        await left_soon(engine.reply(self.requests[0]))
        await body_error(engine.reply(self.requests[0]))
        async with engine.reply(self.requests[0]) as reply:
            async for _ in reply:
                break
        await self.use(engine)

    async def together(self, engine: Any) -> None:
        await asyncio.gather(*(self.answer(engine, request) for request in self.requests[:3]))


class TextToSpeechTrial(Trial):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def checks(self) -> dict[str, Check]:
        return {
            "sample_rate": self.own_rate,
            "speaking": self.speaking,
            "nothing to say": self.nothing,
            "odd texts": self.odd,
            "leaving early": self.leaving,
            "being cancelled": self.cancelled,
            "three texts at once": self.together,
            "a voice that does not exist": self.wrong_voice,
            "stopping with a stream open": self.stopping,
        }

    async def own_rate(self, engine: Any) -> None:
        rate = engine.sample_rate
        expect(isinstance(rate, int) and 8000 <= rate <= 192_000, f"sample_rate is {rate!r}")

    async def use(self, engine: Any) -> None:
        await self.speak(engine, self.text)

    async def speak(self, engine: Any, text: str, **options: Any) -> bytes:
        audio = bytearray()
        async with engine.open(text, **options) as pieces:
            async for pcm in pieces:
                expect(isinstance(pcm, bytes), f"audio must be bytes, not {type(pcm).__name__}")
                expect(len(pcm) % 2 == 0, "a piece holds half a sample")
                expect(len(pcm) <= 4 * engine.sample_rate, "a piece of more than two seconds")
                audio += pcm
        return bytes(audio)

    async def speaking(self, engine: Any) -> None:
        pcm = await self.speak(engine, self.text)
        seconds = len(pcm) / 2 / engine.sample_rate
        expect(seconds > 0.2, f"{seconds:.2f} s of audio for {self.text!r}")
        expect(seconds < len(self.text) * 1.0 + 5, f"{seconds:.0f} s of audio for {self.text!r}")
        expect(max(map(abs, array.array("h", pcm))) > 200, "nothing but silence")

    async def nothing(self, engine: Any) -> None:
        for text in ("", "  \n"):
            expect(not await self.speak(engine, text), f"audio for {text!r}")

    async def odd(self, engine: Any) -> None:
        for text in ("7", "...", "a\x00b\x07", "[[x]] <speak> & 100 %", "Grüße, 世界 🙂", "no end"):
            with contextlib.suppress(ProviderRejected):
                await self.speak(engine, text)

    async def leaving(self, engine: Any) -> None:
        await left_soon(engine.open(self.text * 20))
        await body_error(engine.open(self.text))
        async with engine.open(self.text * 20) as pieces:
            async for _ in pieces:
                break
        began = time.monotonic()
        async with engine.open(self.text) as pieces:
            async for _ in pieces:
                break
        took = time.monotonic() - began
        expect(took < 5.0, f"after a text that was given up the next one's first sound took {took:.1f} s")

    async def wrong_voice(self, engine: Any) -> None:
        with contextlib.suppress(ProviderRejected):  # or it has one voice only, and speaks with that
            await self.speak(engine, "Hello.", voice="no such voice")

    async def stopping(self, engine: Any) -> None:
        async def first(pieces: Any) -> None:
            async for _ in pieces:
                pass

        await stopping_under(engine, engine.open(self.text * 20), first)


class TurnEndTrial(Trial):
    def __init__(self, speech: bytes, rate: int) -> None:
        super().__init__(rate)
        self.speech = speech

    def checks(self) -> dict[str, Check]:
        return {
            "a turn": self.use,
            "odd audio": self.odd,
            "being cancelled": self.cancelled,
            "three turns at once": self.together,
        }

    async def use(self, engine: TurnEnd) -> None:
        await self.judge(engine, self.speech, self.rate)

    @staticmethod
    async def judge(engine: TurnEnd, pcm: bytes, rate: int) -> None:
        found = await engine.likelihood(pcm, rate)
        expect(0 <= found <= 1, f"likelihood() gave {found!r}, not 0.0 to 1.0")

    async def odd(self, engine: TurnEnd) -> None:
        """Nothing at all, a minute, and other rates."""
        for pcm, rate in ((b"", 8000), (bytes(2 * 8000 * 60), 8000), (bytes(32_000), 16_000), (bytes(96_000), 48_000)):
            with contextlib.suppress(ProviderRejected):
                await self.judge(engine, pcm, rate)


def _plain(text: str) -> str:
    return " ".join("".join(char if char.isalnum() or char == "'" else " " for char in text.lower()).split())
