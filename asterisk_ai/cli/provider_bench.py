"""``asterisk-ai provider bench``: what engines take for their work, side by side."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from statistics import median
from typing import Any

from asterisk_ai.audio.resample import Resampler
from asterisk_ai.cli.provider_engines import chains, started, with_engine
from asterisk_ai.cli.provider_trial import expectations, quiet
from asterisk_ai.config import AgentConfig, Config, load
from asterisk_ai.errors import AsteriskAIError, ProviderRejected, ProviderUnavailable
from asterisk_ai.providers.api import (
    AgentAudio,
    Hints,
    LanguageModel,
    RealtimeAgent,
    RealtimeRequest,
    ResponseDone,
    Say,
    SpeechToText,
    TextToSpeech,
    TurnRequest,
    ignore,
)

TEXT = "Hello. I would like to know when you are open on Saturday, and whether I have to make an appointment."
TRY_SECONDS = 60.0
LINE_RATE = 8000
NOTES = """\
first: stt from the end of speech to the words, llm to the first sentence, tts and realtime to the first sound.
real-time factor: time for a second of speech, all of it given at once; below 1 is faster than it is spoken."""


@dataclass(frozen=True, slots=True)
class Took:
    """Of one try, in seconds. ``factor`` is None where there is no speech to compare with."""

    first: float
    whole: float
    factor: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One engine's tries. ``problem`` says why there are none."""

    stage: str
    engine: str
    tries: tuple[Took, ...] = ()
    problem: str = ""

    def cells(self) -> tuple[str, ...]:
        if not self.tries:
            return self.stage, self.engine, "-", "-", "-", self.problem
        factors = [took.factor for took in self.tries if took.factor is not None]
        return (
            self.stage,
            self.engine,
            f"{median(took.first for took in self.tries) * 1000:.0f}",
            f"{median(took.whole for took in self.tries) * 1000:.0f}",
            f"{median(factors):.2f}" if factors else "-",
            self.problem,
        )


def run_bench(arguments: argparse.Namespace) -> int:
    config = load(arguments.config)
    quiet()
    rows = asyncio.run(_rows(config, arguments.names or [config.pipeline], arguments.say or TEXT, arguments.tries))
    print(table([("stage", "engine", "first ms", "whole ms", "real-time factor", ""), *(row.cells() for row in rows)]))
    print(NOTES)
    return 1 if any(row.problem for row in rows) else 0


async def _rows(config: Config, names: list[str], text: str, tries: int) -> list[Row]:
    found: dict[tuple[str, str], Row] = {}
    for name in names:
        own = name in config.pipelines
        async for row in bench(config if own else with_engine(config, name), name if own else "test", text, tries):
            if own or row.engine == name:
                found.setdefault((row.stage, row.engine), row)
    return list(found.values())


async def bench(config: Config, pipeline: str, text: str = TEXT, tries: int = 5) -> AsyncIterator[Row]:
    """Every engine of a pipeline, one after the other. Voices come first: what they say is what recognisers hear."""
    async with started(config, pipeline) as agent_set:
        (agent,) = agent_set.agents.values()
        line = sorted(chains(agent), key=lambda one: one[0] != "tts")
        heard = b""
        for stage, chain in line:
            for member in chain.members:
                if stage not in _WORK:
                    continue
                state = member.readiness()
                if not state.ready:
                    yield Row(stage, member.name, problem=state.reason)
                    continue
                trial = Trial(member.engine, agent.config, text, heard)
                yield await _row(stage, member.name, trial, tries)
                heard = heard or trial.spoken


async def _row(stage: str, name: str, trial: Trial, tries: int) -> Row:
    done: list[Took] = []
    try:
        for number in range(1, max(1, tries) + 1):
            trial.number = number
            async with asyncio.timeout(TRY_SECONDS):
                done.append(await _WORK[stage](trial))
    except TimeoutError:
        return Row(stage, name, tuple(done), f"no answer within {TRY_SECONDS:g} s")
    except AsteriskAIError as error:
        return Row(stage, name, tuple(done), str(error).removeprefix(f"{name}: "))
    return Row(stage, name, tuple(done))


@dataclass(slots=True)
class Trial:
    """An engine at its work.

    :param heard: speech at the line's rate, for recognisers.
    """

    engine: Any
    agent: AgentConfig
    text: str
    heard: bytes = b""
    spoken: bytes = b""
    """What a voice said, at the line's rate."""
    number: int = 1


async def _speaks(trial: Trial) -> Took:
    engine: TextToSpeech = trial.engine
    try:
        return await _spoken(trial, engine, trial.agent.voice)
    except ProviderRejected:
        if not trial.agent.voice:
            raise
        return await _spoken(trial, engine, "")


async def _spoken(trial: Trial, engine: TextToSpeech, voice: str) -> Took:
    text = f"Number {trial.number}, {trial.text}"  # voices keep what they have said before
    began, first, pcm = time.monotonic(), 0.0, bytearray()
    async with engine.open(text, voice=voice) as pieces:
        async for piece in pieces:
            first = first or time.monotonic()
            pcm += piece
    ended = time.monotonic()
    if not pcm:
        raise ProviderUnavailable("tts", "made no audio")
    line = Resampler(engine.sample_rate, LINE_RATE)
    trial.spoken = line.push(bytes(pcm)) + line.flush()
    return Took(first - began, ended - began, (ended - began) / (len(pcm) / 2 / engine.sample_rate))


async def _answers(trial: Trial) -> Took:
    engine: LanguageModel = trial.engine
    expectations(engine)
    began, first = time.monotonic(), 0.0
    async with engine.reply(TurnRequest(trial.text)) as parts:
        async for part in parts:
            if isinstance(part, Say):
                first = first or time.monotonic()
    if not first:
        raise ProviderUnavailable("llm", "gave no answer")
    return Took(first - began, time.monotonic() - began)


async def _listens(trial: Trial) -> Took:
    if not trial.heard:
        raise ProviderUnavailable("stt", "no voice of the pipeline spoke, so there was nothing to hear")
    _, at_once = await _heard(trial, pace=0.0)
    after, whole = await _heard(trial, pace=1.0)
    return Took(after, whole, at_once / (len(trial.heard) / 2 / LINE_RATE))


async def _heard(trial: Trial, pace: float) -> tuple[float, float]:
    """Seconds from the end of speech, and from its beginning, to the words. ``pace``: of real time; 0: at once."""
    engine: SpeechToText = trial.engine
    rates = list(engine.sample_rates)
    rate = LINE_RATE if LINE_RATE in rates else rates[0]
    line = Resampler(LINE_RATE, rate)
    pcm = line.push(trial.heard) + line.flush()
    frame = rate // 50 * 2
    hints = Hints.of("hello", "goodbye", language=trial.agent.language)
    began = time.monotonic()
    async with engine.open(rate=rate, hints=hints, partial=ignore) as stream:
        for number, start in enumerate(range(0, len(pcm), frame), 1):
            stream.feed(pcm[start : start + frame])
            await asyncio.sleep(max(0.0, began + number / 50 * pace - time.monotonic()))
        ended = time.monotonic()
        await stream.finish()
    return time.monotonic() - ended, time.monotonic() - began


async def _converses(trial: Trial) -> Took:
    engine: RealtimeAgent = trial.engine
    rate, began, first, length = engine.sample_rates[0], time.monotonic(), 0.0, 0
    async with engine.open(RealtimeRequest(rate, trial.text)) as session, aclosing(session.events()) as events:
        async for event in events:
            if isinstance(event, AgentAudio):
                first, length = first or time.monotonic(), length + len(event.pcm)
            elif isinstance(event, ResponseDone):
                if event.problem or not length:
                    raise ProviderUnavailable("realtime", event.problem or "made no audio")
                break
    ended = time.monotonic()
    return Took(first - began, ended - began, (ended - began) / (length / 2 / rate))


_WORK: Mapping[str, Callable[[Trial], Awaitable[Took]]] = {
    "tts": _speaks,
    "llm": _answers,
    "stt": _listens,
    "realtime": _converses,
}


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns as wide as what stands in them; numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if cell[:1].isdigit() or cell == "-" else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
