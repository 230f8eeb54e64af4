"""The end of a turn told by its sound, on a real server over sockets: what the model says moves the endpoint."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines import RudeLanguageModel, ToneSpeechToText, ToneStream
from tiny_models import turn_model

from asterisk_ai import config
from asterisk_ai.agents.agent import Agent
from asterisk_ai.audio.levels import dbov
from asterisk_ai.providers.api import Hints, ReplyPart, Say, Transcript, TurnRequest, ignore
from asterisk_ai.providers.chain import TurnEndChain
from asterisk_ai.providers.engines.smart_turn import SmartTurn
from asterisk_ai.providers.engines.smart_turn.features import BANDS, FRAMES, _filters
from asterisk_ai.server.server import Server
from asterisk_ai.session.model import CallSession
from asterisk_ai.simulator.asterisk import RATE, Caller, Line, simulate

LOW, HIGH = 300, 1200
"""Hz of a caller who sounds as if they had finished, whose words do not tell; and of one the other way about."""
SHORT, LONG = 0.6, 1.4
WORDS = {str(LOW): "the usual", str(HIGH): "nothing else"}
CONFIG = f"""
audiosocket: {{port: 0}}
fastagi: {{port: 0}}
http: false
store: {{backend: memory}}
server: {{max_lateness_ms: 0}}
vad: {{engine: energy}}  # the caller is a tone
providers:
  "asterisk_ai.providers.engines.delay:DelayTextToSpeech": {{seconds: 0.05, speaking: 1}}
  smart-turn: {{model: MODEL}}
  test_turn_end:Tones: {{words: {{"{LOW}": the usual, "{HIGH}": nothing else}}}}
pipelines:
  words: &words
    stt: "test_turn_end:Tones"
    llm: "test_turn_end:Short"
    tts: "asterisk_ai.providers.engines.delay:DelayTextToSpeech"
  sound: {{<<: *words, turn: smart-turn}}
pipeline: words
default_agent: words
agents:
  words: &agent
    greeting: "Hi."
    turn:
      endpoint_complete_ms: {1000 * SHORT:.0f}
      endpoint_ms: {1000 * LONG:.0f}
      endpoint_doubtful_ms: {1000 * LONG:.0f}
  sound: {{<<: *agent, pipeline: sound}}
"""


class TonesStream(ToneStream):
    """Has a view of the words in every pause."""

    def __init__(self, rate: int, words: Mapping[str, Any], partial: Callable[[Transcript], None]) -> None:
        super().__init__(rate, words)
        self._partial, self._quiet = partial, 0

    def feed(self, pcm: bytes) -> None:
        super().feed(pcm)
        self._quiet = self._quiet + 1 if dbov(pcm) < -40 else 0
        if self._quiet == 10:
            self._partial(Transcript(self.words()))

    def words(self) -> str:
        spectrum = np.abs(np.fft.rfft(np.frombuffer(self._pcm, "<i2"), self._rate))
        return WORDS[str(LOW if spectrum[LOW] > spectrum[HIGH] else HIGH)]


class Tones(ToneSpeechToText):
    @asynccontextmanager
    async def open(
        self, *, rate: int, hints: Hints, partial: Callable[[Transcript], None] = ignore
    ) -> AsyncIterator[Any]:
        yield TonesStream(rate, self._tones, partial)


class Short(RudeLanguageModel):
    """Answers in a word, and knows of some words that they are all."""

    @asynccontextmanager
    async def reply(self, request: TurnRequest) -> AsyncIterator[AsyncIterator[ReplyPart]]:
        async def parts() -> AsyncIterator[ReplyPart]:
            yield Say("Yes.")

        yield parts()

    def digits_wanted(self, memory: Mapping[str, Any]) -> int:
        return 0

    def complete(self, text: str, memory: Mapping[str, Any]) -> bool | None:
        return text == WORDS[str(HIGH)] or None


def pitch_model(folder: Path) -> Path:
    """The turn is over where the last second has the low tone, and goes on where it has the high one."""
    weights = np.zeros((BANDS, FRAMES))
    for hertz, weight in ((LOW, 0.2), (HIGH, -0.2)):
        weights[int(np.argmax(_filters()[:, hertz // 40])), -100:] = weight
    return turn_model(folder, weights)


def line(hertz: int) -> Line:
    times = np.arange(int(0.4 * RATE)) / RATE
    return Line(f"{hertz} Hz", pcm=(8000 * np.sin(2 * np.pi * hertz * times)).astype("<i2").tobytes())


def endpoints(session: CallSession) -> list[float]:
    """Seconds from the caller's last sound to the decision, of each turn that was answered."""
    return [turn.timings["endpoint"] for turn in session.history if turn.role == "agent" and turn.timings]


async def called(server: Server, agent: str, lines: list[Line]) -> CallSession:
    sessions: list[CallSession] = []

    async def watch() -> None:
        while not any(session.agent == agent for session in server.store.live):
            await asyncio.sleep(0.01)
        sessions.extend(session for session in server.store.live if session.agent == agent)

    watching = asyncio.create_task(watch())
    caller = Caller(lines, linger=0.3)
    await simulate(caller, host="127.0.0.1", fastagi_port=server.fastagi_port, agent=agent)
    await watching
    return sessions[0]


def served(folder: Path, body: Callable[[Server, Any], Awaitable[None]]) -> None:
    """``body`` with a running server and its engine."""

    async def run() -> None:
        server = Server(config.parse(CONFIG.replace("MODEL", str(pitch_model(folder))), environ={}))
        ready = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(server.run(lambda _: ready.set()))
            await ready.wait()
            agent = server.in_use.agent_set.agents["sound"]
            assert isinstance(agent, Agent)
            assert isinstance(agent.turn_end, TurnEndChain)
            engine = agent.turn_end.first().engine
            assert isinstance(engine, SmartTurn)
            try:
                await body(server, engine)
            finally:
                server.stop()

    asyncio.run(run())


def test_what_the_model_hears_makes_the_turn_end_sooner_or_later_than_its_words(tmp_path: Path) -> None:
    async def body(server: Server, engine: SmartTurn) -> None:
        lines = [line(LOW), line(HIGH)]
        sessions = await asyncio.gather(*(called(server, agent, lines) for agent in ("words", "sound")))
        for session in sessions:
            assert [turn.text for turn in session.history if turn.role == "caller"] == list(WORDS.values())
        (unknown, complete), (over, going_on) = map(endpoints, sessions)
        assert over < unknown * 0.6, "it is over, which the words do not tell"
        assert going_on > complete * 1.6, "the caller goes on, though the words could be all"
        assert min(over, complete) >= SHORT
        assert min(unknown, going_on) >= LONG

    served(tmp_path, body)


def test_a_worker_that_dies_in_a_pause_leaves_that_turn_to_its_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def kill(server: Server, engine: SmartTurn) -> None:
        """Once the first turn is answered, let the process die over the second one's judgement."""
        while not any(endpoints(session) for session in server.store.live):
            await asyncio.sleep(0.01)
        (worker,), (pid,) = engine._pool._slots, engine._pool.pids
        assert worker is not None
        os.kill(pid, signal.SIGSTOP)
        while not worker.load:
            await asyncio.sleep(0.01)
        os.kill(pid, signal.SIGKILL)

    async def body(server: Server, engine: SmartTurn) -> None:
        before = engine._pool.pids
        killing = asyncio.create_task(kill(server, engine))
        session = await called(server, "sound", [line(LOW), line(LOW)])
        await killing
        judged, alone = endpoints(session)
        while not engine.readiness().ready:  # a new process may take seconds
            await asyncio.sleep(0.05)
        (judged_again,) = endpoints(await called(server, "sound", [line(LOW)]))
        assert max(judged, judged_again) < alone * 0.6
        assert alone >= LONG
        assert engine._pool.pids != before
        assert engine.readiness().ready

    served(tmp_path, body)
    told = [record.getMessage() for record in caplog.records if "end of the turn" in record.getMessage()]
    assert told == ["the end of the turn is told by its words: smart-turn: its worker process died"]
