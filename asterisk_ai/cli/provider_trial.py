"""A small piece of work for one engine, to see that it does any."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.base import (
    AgentAudio,
    AgentText,
    Do,
    Hints,
    RealtimeRequest,
    ResponseDone,
    Say,
    TurnRequest,
)

_GRAMMAR = "#JSGF V1.0;\ngrammar trial;\npublic <trial> = hello | goodbye;\n"


async def trial(stage: str, engine: Any) -> str:
    """What came of it, in words. Raises ProviderError."""
    return await {"stt": _listens, "llm": _answers, "tts": _speaks, "realtime": _converses}[stage](engine)


async def _listens(engine: Any) -> str:
    rate = engine.sample_rates[0]
    async with engine.open(rate=rate, hints=Hints(_GRAMMAR)) as stream:
        for _ in range(50):
            stream.feed(bytes(rate // 50 * 2))
        words = await stream.finish()
    return f"listened to a second of silence and heard {words.text!r}"


async def _answers(engine: Any) -> str:
    said = []
    async with engine.reply(TurnRequest("hello")) as parts:
        async for part in parts:
            if isinstance(part, Say):
                said.append(part.text)
            elif isinstance(part, Do):
                said.append(f"[{part.kind}]")
    if not said:
        raise ProviderUnavailable("llm", "gave no answer to 'hello'")
    return f"answered 'hello' with {' '.join(said)!r}"


async def _speaks(engine: Any) -> str:
    length = 0
    async with engine.open("Hello.") as audio:
        async for pcm in audio:
            length += len(pcm)
    if not length:
        raise ProviderUnavailable("tts", "made no audio of 'Hello.'")
    return f"made {length / 2 / engine.sample_rate:.1f} s of speech"


async def _converses(engine: Any) -> str:
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
