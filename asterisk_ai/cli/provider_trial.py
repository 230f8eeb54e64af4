"""A small piece of work for one engine, to see that it does any."""

from __future__ import annotations

from typing import Any

from asterisk_ai.errors import ProviderUnavailable
from asterisk_ai.providers.base import Do, Hints, Say, TurnRequest

_GRAMMAR = "#JSGF V1.0;\ngrammar trial;\npublic <trial> = hello | goodbye;\n"


async def trial(stage: str, engine: Any) -> str:
    """What came of it, in words. Raises ProviderError."""
    return await {"stt": _listens, "llm": _answers, "tts": _speaks}[stage](engine)


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
