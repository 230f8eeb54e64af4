"""A small piece of work for one engine, and one turn of a conversation for all of a pipeline."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from asterisk_ai.agents.agent import Agent
from asterisk_ai.audio.resample import Resampler
from asterisk_ai.cli.findings import Finding
from asterisk_ai.config import AgentConfig
from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.api import (
    AgentAudio,
    AgentText,
    DialplanAction,
    Hints,
    LanguageModel,
    RealtimeAgent,
    RealtimeRequest,
    ResponseDone,
    Say,
    SpeechToText,
    TextToSpeech,
    Transcript,
    TurnEnd,
    TurnRequest,
    ignore,
)

_LINE_RATE = 8000


def quiet() -> None:
    """What engines log is told as a finding already."""
    logging.getLogger("asterisk_ai").addHandler(logging.NullHandler())


_Trial = Callable[[Any, AgentConfig], Awaitable[str]]


async def trial(stage: str, engine: Any, agent: AgentConfig) -> str:
    """What came of it, in words: the engine is called as it is in a call of ``agent``. Raises ProviderError."""
    trials: Mapping[str, _Trial] = {
        "stt": _listens,
        "llm": _answers,
        "tts": _speaks,
        "turn": _judges,
        "realtime": _converses,
    }
    return await trials[stage](engine, agent)


async def _listens(engine: SpeechToText, agent: AgentConfig) -> str:
    rate = engine.sample_rates[0]
    hints = Hints.of("hello", "goodbye", language=agent.language)
    async with engine.open(rate=rate, hints=hints, partial=ignore) as stream:
        for _ in range(50):
            stream.feed(bytes(rate // 50 * 2))
        words = await stream.finish()
    return f"listened to a second of silence and heard {words.text!r}"


async def _judges(engine: TurnEnd, agent: AgentConfig) -> str:
    found = await engine.likelihood(bytes(2 * _LINE_RATE), _LINE_RATE)
    if not 0 <= found <= 1:
        raise ProviderUnavailable("turn", f"told {found}, which is no probability")
    return f"listened to a second of silence and told a turn's end with a probability of {found:.2f}"


async def _answers(engine: LanguageModel, agent: AgentConfig) -> str:
    said = []
    expectations(engine)
    async with engine.reply(TurnRequest("hello")) as parts:
        async for part in parts:
            if isinstance(part, Say):
                said.append(part.text)
            elif isinstance(part, DialplanAction):
                said.append(f"[{part.kind}]")
    if not said:
        raise ProviderUnavailable("llm", "gave no answer to 'hello'")
    return f"answered 'hello' with {' '.join(said)!r}"


def expectations(engine: LanguageModel) -> Hints:
    """All that a call asks the engine in a turn beside the answer."""
    engine.digits_wanted({})
    engine.complete("hello", {})
    return engine.hints({})


async def _speaks(engine: TextToSpeech, agent: AgentConfig) -> str:
    length = 0
    async with engine.open("Hello.", voice=agent.voice) as audio:
        async for pcm in audio:
            length += len(pcm)
    if not length:
        raise ProviderUnavailable("tts", "made no audio of 'Hello.'")
    return f"made {length / 2 / engine.sample_rate:.1f} s of speech"


async def _converses(engine: RealtimeAgent, agent: AgentConfig) -> str:
    rate, length, words = engine.sample_rates[0], 0, ""
    async with engine.open(RealtimeRequest(rate, "Hello.")) as session, aclosing(session.events()) as events:
        async for event in events:
            match event:
                case AgentAudio(pcm=pcm):
                    length += len(pcm)
                case AgentText(text=text):
                    words += text
                case ResponseDone(problem=problem):
                    if problem or not length:
                        raise ProviderUnavailable("realtime", problem or "made no audio of 'Hello.'")
                    break
                case _:
                    pass
    return f"greeted with {words.strip()!r}, {length / 2 / rate:.1f} s of speech"


# ---- a turn of all three ----------------------------------------------------------------


async def rehearse(agent: Agent, text: str = "") -> AsyncIterator[Finding]:
    """One turn of a conversation, at the pace of a call: ``text`` is spoken, heard, answered, and the answer spoken.

    Without ``text`` it is something that the language model says it understands. Raises ProviderError.
    """
    text = text or _sample(agent)
    audio = await _spoken(agent, text)
    yield Finding(True, f"sample: {text!r}, {audio.seconds:.1f} s of the pipeline's own voice")
    words, heard_ms = await _heard(agent, audio)
    right = words.accepted and _plain(words.text) == _plain(text)
    if right:
        yield Finding(True, f"stt: heard that, {heard_ms:.0f} ms after its end")
    else:
        what = f"heard {words.text!r}" if words.text else "heard nothing"
        hint = "an artificial voice is no caller: asterisk-ai call --wav FILE tries a recording"
        yield Finding(None, f"stt: {what}, {heard_ms:.0f} ms after its end", hint)
    began = time.monotonic()
    answer, first_ms, done = [], 0.0, ""
    async with agent.llm.reply(TurnRequest(text)) as parts:
        async for part in parts:
            first_ms = first_ms or (time.monotonic() - began) * 1000
            if isinstance(part, Say):
                answer.append(part.text)
            elif isinstance(part, DialplanAction):
                done = f" [{part.kind}]"
    whole_ms = (time.monotonic() - began) * 1000
    said = f"{' '.join(answer)!r}{done}"
    yield Finding(True, f"llm: {said}, begun after {first_ms:.0f} ms, whole after {whole_ms:.0f} ms")
    reply = await _spoken(agent, (answer or ["Hello."])[0])
    yield Finding(
        True,
        f"tts: first sound after {reply.first_ms:.0f} ms, {reply.seconds:.1f} s of speech in {reply.whole_ms:.0f} ms",
    )
    turn = agent.config.turn
    total = heard_ms + first_ms + reply.first_ms
    yield Finding(
        True,
        f"a caller hears the answer {total:.0f} ms after the turn is known to have ended "
        f"(by {turn.endpoint_complete_ms:g} to {turn.endpoint_incomplete_ms:g} ms of silence)",
    )


async def hearing(agent: Agent) -> Finding:
    """Whether the recogniser hears anything of what the agent's own voice says. Raises ProviderError."""
    text = _sample(agent)
    words, _ = await _heard(agent, await _spoken(agent, text))
    if words.text:
        return Finding(True, f"agent {agent.config.name}: its own voice said {text!r}, heard was {words.text!r}")
    return Finding(
        None,
        f"agent {agent.config.name}: its own voice said {text!r} ({agent.config.language}), and nothing was heard",
        "an artificial voice is no caller: asterisk-ai call --wav FILE tries a recording",
    )


def _sample(agent: Agent) -> str:
    """Something that the language model says it understands."""
    sample = getattr(_first(agent.llm), "sample", None)
    return (sample() if sample else "") or agent.config.greeting or "Hello."


@dataclass(frozen=True, slots=True)
class _Speech:
    """Samples of 16 bits at ``rate``, and how long they took."""

    pcm: bytes
    rate: int
    first_ms: float
    whole_ms: float

    @property
    def seconds(self) -> float:
        return len(self.pcm) / 2 / self.rate


async def _spoken(agent: Agent, text: str) -> _Speech:
    tts = agent.tts
    began, first, pcm = time.monotonic(), 0.0, bytearray()
    async with tts.open(text, voice=agent.config.voice) as audio:
        async for piece in audio:
            first = first or time.monotonic()
            pcm += piece
    ended = time.monotonic()
    if not pcm:
        raise ProviderUnavailable("tts", f"made no audio of {text!r}")
    return _Speech(bytes(pcm), int(tts.sample_rate), (first - began) * 1000, (ended - began) * 1000)


async def _heard(agent: Agent, speech: _Speech) -> tuple[Transcript, float]:
    """The words of it as of a caller on a telephone line, and milliseconds from its end until they were there."""
    line = Resampler(speech.rate, _LINE_RATE)
    pcm = line.push(speech.pcm) + line.flush()
    frame = _LINE_RATE // 50 * 2
    async with agent.stt.open(rate=_LINE_RATE, hints=expectations(agent.llm), partial=ignore) as stream:
        began = time.monotonic()
        for number, start in enumerate(range(0, len(pcm), frame), 1):
            stream.feed(pcm[start : start + frame])
            await asyncio.sleep(max(0.0, began + number / 50 - time.monotonic()))
        for _ in range(10):  # the silence by which the end is known
            stream.feed(bytes(frame))
        ended = time.monotonic()
        words = await stream.finish()
    return words, (time.monotonic() - ended) * 1000


def _first(chain: Any) -> Any:
    return chain.first().engine


def _plain(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())
