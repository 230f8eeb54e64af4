"""A model asks for so many digits: the last of them is the answer's end, without # and without a pause."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from engines import RudeLanguageModel
from whole_calls import serving

from asterisk_ai.providers.api import AskDigits, ReplyPart, Say, TurnRequest
from asterisk_ai.session.model import CallSession
from asterisk_ai.simulator.asterisk import Caller, Line, simulate

CONFIG = """
audiosocket: {port: 0}
fastagi: {port: 0}
http: false
store: {backend: memory}
server: {max_lateness_ms: 0}
vad: {engine: energy}
pipelines: {asks: {stt: "engines:ScriptedSpeechToText", llm: "test_asked_digits:Asks", tts: espeak}}
pipeline: asks
agents: {a: {greeting: "Hello.", turn: {digit_timeout_ms: 60000}}}
"""


class Asks(RudeLanguageModel):
    """Asks for four digits whatever is dialled first, and says of the next ones that they are there."""

    @asynccontextmanager
    async def reply(self, request: TurnRequest) -> AsyncIterator[AsyncIterator[ReplyPart]]:
        async def parts() -> AsyncIterator[ReplyPart]:
            if len(request.text) == 4:
                yield Say("Thank you.")
            else:
                yield Say("Dial your number.")
                yield AskDigits(4)

        yield parts()

    def digits_wanted(self, memory: Mapping[str, Any]) -> int:
        return 0


def test_the_fourth_digit_is_the_last() -> None:
    async def body() -> CallSession:
        async with serving(CONFIG) as server:
            sessions: list[CallSession] = []

            async def watch() -> None:
                while not sessions:
                    sessions.extend(server.store.live)
                    await asyncio.sleep(0.01)

            watching = asyncio.create_task(watch())
            caller = Caller([Line("asks", digits="1#"), Line("number", digits="4711")], linger=0.5, patience=20.0)
            await simulate(caller, host="127.0.0.1", fastagi_port=server.fastagi_port)
            await watching
            return sessions[0]

    session = asyncio.run(body())
    said = [(turn.role, turn.text) for turn in session.history[1:]]
    assert said == [("caller", "1"), ("agent", "Dial your number."), ("caller", "4711"), ("agent", "Thank you.")]
    assert session.digits_wanted == 0, "it holds for one entry"
