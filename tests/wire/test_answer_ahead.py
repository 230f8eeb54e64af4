"""Answers that are begun before the turn is certain, on a real server over sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from engines import RudeLanguageModel, ScriptedSpeechToText
from whole_calls import call, serving

from asterisk_ai import config
from asterisk_ai.audio.levels import dbov
from asterisk_ai.providers.api import Hints, Remember, ReplyPart, Say, Transcript, TurnRequest, ignore
from asterisk_ai.server.server import Server
from asterisk_ai.session.model import CallSession
from asterisk_ai.simulator.asterisk import RATE, Caller, Line, Result, simulate

CONFIG = """
audiosocket: {port: 0}
fastagi: {port: 0}
http: false
store: {backend: memory}
server: {max_lateness_ms: 0}
vad: {engine: energy}  # the caller is a tone
pipelines: {ahead: {stt: "test_answer_ahead:Counting", llm: "test_answer_ahead:Slow", tts: espeak}}
pipeline: ahead
agents: {a: {greeting: "Hello.", turn: {answer_ahead: %s}}}
"""
THINKING_SECONDS = 0.4
PAUSE = np.zeros(int(0.45 * RATE), "<i2").tobytes()  # shorter than the endpoint's silence
TONE = (8000 * np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE)).astype("<i2").tobytes()


class CountingStream:
    """Hears how many times the caller spoke, and has a view of it in every pause."""

    def __init__(self, partial: Callable[[Transcript], None]) -> None:
        self._partial, self._words, self._quiet = partial, 0, 99

    def feed(self, pcm: bytes) -> None:
        if dbov(pcm) > -40:
            self._words += self._quiet > 5
            self._quiet = 0
            return
        self._quiet += 1
        if self._quiet == 10:
            self._partial(Transcript(self._text()))

    def _text(self) -> str:
        return " ".join(["word"] * self._words)

    async def finish(self) -> Transcript:
        return Transcript(self._text())


class Counting(ScriptedSpeechToText):
    @asynccontextmanager
    async def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AsyncIterator[Any]:
        yield CountingStream(partial)


class Doubting(Counting):
    """May have heard something else as well."""

    @asynccontextmanager
    async def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AsyncIterator[Any]:
        yield DoubtingStream(partial)


class DoubtingStream(CountingStream):
    def __init__(self, partial: Callable[[Transcript], None]) -> None:
        super().__init__(lambda words: partial(self._doubted(words)))

    async def finish(self) -> Transcript:
        return self._doubted(await super().finish())

    @staticmethod
    def _doubted(words: Transcript) -> Transcript:
        return replace(words, readings=((words.text, -0.1), (f"{words.text} indeed", -0.3)))


class Slow(RudeLanguageModel):
    """Takes its time, remembers what it was asked, and does what cannot be undone only when it is certain."""

    log: list[str]

    def __init__(self, settings: Mapping[str, Any], agent: Mapping[str, Any]) -> None:
        self.log = []

    @asynccontextmanager
    async def reply(self, request: TurnRequest) -> AsyncIterator[AsyncIterator[ReplyPart]]:
        self.log.append(f"begun: {request.text}")
        try:
            yield self._parts(request)
        finally:
            self.log.append(f"left: {request.text}")

    async def _parts(self, request: TurnRequest) -> AsyncIterator[ReplyPart]:
        await asyncio.sleep(THINKING_SECONDS)
        yield Say(f"You said {request.text}.")
        await request.certain()
        self.log.append(f"done: {request.text}")
        yield Remember({"answered": request.text})

    def digits_wanted(self, memory: Mapping[str, Any]) -> int:
        return 0

    def likeliest(self, readings: Sequence[tuple[str, float]], memory: Mapping[str, Any]) -> str:
        return readings[-1][0]

    def complete(self, text: str, memory: Mapping[str, Any]) -> bool:
        return False


def called(pcm: bytes, *, ahead: bool, stt: str = "Counting") -> tuple[Result, CallSession, list[str]]:
    """One call in which the caller says ``pcm``; its record and what the model was asked to do."""

    async def body() -> tuple[Result, CallSession, list[str]]:
        text = (CONFIG % str(ahead).lower()).replace("Counting", stt)
        server = Server(config.parse(text, environ={}))
        ready = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(server.run(lambda _: ready.set()))
            await ready.wait()
            sessions: list[CallSession] = []

            async def watch() -> None:
                while not sessions:
                    sessions.extend(server.store.live)
                    await asyncio.sleep(0.01)

            watching = group.create_task(watch())
            caller = Caller([Line("tone", pcm=pcm)], linger=0.5)
            result = await simulate(caller, host="127.0.0.1", fastagi_port=server.fastagi_port)
            await watching
            engine: Any = server.in_use.agent_set.agents["a"].llm
            log = list(engine.members[0].engine.log)
            server.stop()
        return result, sessions[0], log

    return asyncio.run(body())


def test_the_answer_is_there_when_the_endpoint_is_decided() -> None:
    seconds = {}
    for ahead in (True, False):
        result, session, log = called(TONE, ahead=ahead)
        assert log == ["begun: word", "done: word", "left: word"], "asked once"
        said = [(turn.role, turn.text) for turn in session.history[1:]]
        assert said == [("caller", "word"), ("agent", "You said word.")]
        assert session.memory == {"answered": "word"}
        timings = session.history[2].timings
        order = [timings[part] for part in ("endpoint", "words", "first_token", "first_audio", "first_frame")]
        assert order == sorted(order)
        assert result.responses[0].seconds is not None
        seconds[ahead] = timings["first_token"] - timings["words"]
    assert seconds[True] < THINKING_SECONDS / 2, "it was made in the endpoint's silence"
    assert seconds[False] >= THINKING_SECONDS * 0.9


def test_of_what_may_have_been_heard_the_language_model_chooses() -> None:
    _, session, log = called(TONE, ahead=True, stt="Doubting")
    assert log == ["begun: word indeed", "done: word indeed", "left: word indeed"], "in the pause and at the end"
    assert [turn.text for turn in session.history[1:]] == ["word indeed", "You said word indeed."]


def test_a_caller_who_goes_on_hears_and_causes_nothing_of_the_first_answer() -> None:
    result, session, log = called(TONE + PAUSE + TONE, ahead=True)
    assert log == ["begun: word", "left: word", "begun: word word", "done: word word", "left: word word"]
    said = [(turn.role, turn.text) for turn in session.history[1:]]
    assert said == [("caller", "word word"), ("agent", "You said word word.")]
    assert session.memory == {"answered": "word word"}
    began = next(at for at in range(0, len(result.caller), 320) if dbov(bytes(result.caller[at : at + 320])) > -40)
    while_speaking = result.agent[began : began + len(TONE + PAUSE + TONE)]
    assert dbov(bytes(while_speaking)) < -80, "silence in the caller's pause"


def test_words_that_come_late_are_told_of_once_a_call(caplog: pytest.LogCaptureFixture) -> None:
    late = CONFIG.replace("test_answer_ahead:Counting", "engines:ScriptedSpeechToText")
    late += "\nproviders: {engines:ScriptedSpeechToText: {words: hello, delay: 0.9}}\n"

    async def body() -> None:
        async with serving(late % "false") as server:
            await call(server, "a", Line("one", pcm=TONE), Line("two", pcm=TONE), patience=20.0)

    asyncio.run(body())
    told = [record.getMessage() for record in caplog.records if "words came" in record.getMessage()]
    assert len(told) == 1
    assert "server.max_calls" in told[0]
