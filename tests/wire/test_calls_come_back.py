"""A call whose audio is lost comes back: what was not heard is said, what was not answered is answered."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

from in_process import DELAY, serving, started

from asterisk_ai.protocol import audiosocket
from asterisk_ai.server.server import Server
from asterisk_ai.session.model import CallSession
from asterisk_ai.simulator.agi_client import run_agi

BRIDGE = "Wo waren wir?"
CONFIG = f"""
audiosocket: {{port: 0}}
fastagi: {{port: 0}}
http: false
store: {{backend: memory}}
server: {{max_lateness_ms: 0, drain_seconds: 0}}
vad: {{engine: energy}}
providers:
  slow: {{engine: "{DELAY}LanguageModel", seconds: 1}}
  hum: {{engine: "{DELAY}TextToSpeech", seconds: 0, speaking: 0.6}}
pipelines:
  rules: {{stt: "{DELAY}SpeechToText", llm: rules, tts: hum}}
  slow: {{stt: "{DELAY}SpeechToText", llm: slow, tts: hum}}
pipeline: rules
default_agent: a
agents:
  a: &a
    greeting: Hello.
    turn: {{resume_prompt: "{BRIDGE}"}}
    rules:
      intents:
        long: {{say: long, answer: "This is the first of it. This is the second. And this is the third."}}
        bye: {{say: bye, answer: "It was a pleasure. Do call again some day.", do: hangup}}
      dtmf: {{"1": long, "2": bye}}
  slow: {{<<: *a, pipeline: slow}}
"""


class Line:
    """A caller's audio connection, silent but for what it dials."""

    def __init__(self, server: Server, call: dict[str, str]) -> None:
        self._call, self.session = call, found(server, call)

    @asynccontextmanager
    async def connected(self) -> Any:
        host, _, port = self._call["AI_AUDIOSOCKET"].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(audiosocket.uuid_message(uuid.UUID(self._call["AI_CALL_ID"])))
        hearing = asyncio.create_task(reader.read(-1))
        try:
            await self.until(lambda session: session.history and not (session.connects == 1 and session.cut))
            yield writer
        finally:
            writer.close()
            await hearing

    async def until(self, condition: Callable[[CallSession], Any]) -> None:
        async with asyncio.timeout(20):
            while not condition(self.session):
                await asyncio.sleep(0.01)


def found(server: Server, call: dict[str, str]) -> CallSession:
    session = server.store.get(call["AI_CALL_ID"])
    assert session is not None
    return session


async def back(server: Server, call: dict[str, str]) -> str:
    """What the dialplan asks when it has the call again."""
    answer = await run_agi("127.0.0.1", server.fastagi_port, "call/next", arguments=[call["AI_CALL_ID"]], timeout=5)
    return answer.variables["AI_NEXT"]


def said(session: CallSession) -> list[str]:
    return [turn.text for turn in session.history]


def test_only_what_was_not_heard_is_said_again() -> None:
    async def body() -> None:
        async with serving(CONFIG) as server:
            call = await started(server)
            line = Line(server, call)
            async with line.connected() as writer:
                writer.write(audiosocket.dtmf_message("1") + audiosocket.dtmf_message("#"))
                await line.until(lambda session: session.unheard.startswith("This is the second."))
            assert await back(server, call) == "talk"
            assert line.session.history[-1].interrupted
            async with line.connected():
                await line.until(lambda session: not session.cut and len(session.history) == 4)
            assert said(line.session)[-1] == f"{BRIDGE} This is the second. And this is the third."

    asyncio.run(body())


def test_what_was_to_follow_follows() -> None:
    async def body() -> None:
        async with serving(CONFIG) as server:
            call = await started(server)
            line = Line(server, call)
            async with line.connected() as writer:
                writer.write(audiosocket.dtmf_message("2") + audiosocket.dtmf_message("#"))
                await line.until(lambda session: session.then is not None and session.unheard.startswith("Do call"))
            assert await back(server, call) == "talk"
            async with line.connected():
                await line.until(lambda session: session.pending is not None)
            assert said(line.session)[-1] == f"{BRIDGE} Do call again some day."
            assert await back(server, call) == "hangup"

    asyncio.run(body())


def test_a_question_that_was_not_answered_is_answered_once() -> None:
    async def body() -> None:
        async with serving(CONFIG) as server:
            call = await started(server, "slow")
            line = Line(server, call)
            async with line.connected() as writer:
                writer.write(audiosocket.dtmf_message("5"))
                writer.write(audiosocket.dtmf_message("#"))
                await line.until(lambda session: said(session) == ["Hello.", "5"])
            assert await back(server, call) == "talk"
            async with line.connected():
                await line.until(lambda session: not session.cut and len(session.history) == 3)
            assert said(line.session) == ["Hello.", "5", f"{BRIDGE} An answer."]
            assert line.session.history[1].dialled

    asyncio.run(body())


def test_where_nobody_was_cut_off_nothing_is_said() -> None:
    async def body() -> None:
        async with serving(CONFIG) as server:
            call = await started(server)
            line = Line(server, call)
            async with line.connected() as writer:
                writer.write(audiosocket.dtmf_message("1") + audiosocket.dtmf_message("#"))
                await line.until(lambda session: len(session.history) == 3 and not session.cut)
            assert await back(server, call) == "talk"
            async with line.connected() as writer:
                await line.until(lambda _: b'state{state="listening"} 1.0' in server.metrics.render())
                writer.write(audiosocket.dtmf_message("1") + audiosocket.dtmf_message("#"))
                await line.until(lambda session: len(session.history) == 5)
            assert BRIDGE not in " ".join(said(line.session))

    asyncio.run(body())
