"""A caller who was cut off goes on: both halves are one turn for the model and in the record, on a real server."""

from __future__ import annotations

import asyncio

from sound import tone
from whole_calls import serving

from asterisk_ai.session.model import CallSession
from asterisk_ai.simulator.asterisk import RATE, Caller, Line, simulate

WHERE, LOCATED, ASKS, DIGITS = 300, 600, 1200, 2000
CONFIG = f"""
audiosocket: {{port: 0}}
fastagi: {{port: 0}}
http: false
store: {{backend: memory}}
server: {{max_lateness_ms: 0}}
vad: {{engine: energy}}  # the caller is a tone
providers:
  engines:ToneSpeechToText:
    words: {{"{WHERE}": where are you, "{LOCATED}": located, "{ASKS}": my account number is, "{DIGITS}": 5 5 1 2}}
pipelines: {{tones: {{stt: "engines:ToneSpeechToText", llm: rules, tts: espeak}}}}
pipeline: tones
agents:
  a:
    greeting: "Hello."
    turn: {{endpoint_ms: 400}}
    rules:
      slots:
        account: {{digits: 4, ask: "Which account?"}}
      intents:
        place: {{say: where are you located, answer: "We are in Hamburg, next to the station."}}
        balance: {{say: "my account number is {{account}}", answer: "Account {{account}} is empty."}}
"""


def halves(first: int, second: int, pause: float) -> bytes:
    return tone(first) + bytes(2 * int(pause * RATE)) + tone(second)


def called(pcm: bytes) -> CallSession:
    async def body() -> CallSession:
        async with serving(CONFIG) as server:
            sessions: list[CallSession] = []

            async def watch() -> None:
                while not sessions:
                    sessions.extend(server.store.live)
                    await asyncio.sleep(0.01)

            watching = asyncio.create_task(watch())
            caller = Caller([Line("both halves", pcm=pcm)], linger=1.5, patience=20.0)
            await simulate(caller, host="127.0.0.1", fastagi_port=server.fastagi_port)
            await watching
            return sessions[0]

    return asyncio.run(body())


def test_two_halves_of_a_question_are_answered_as_one() -> None:
    session = called(halves(WHERE, LOCATED, 0.8))
    said = [(turn.role, turn.text) for turn in session.history[1:]]
    assert said[0] == ("caller", "where are you located")
    assert [role for role, _ in said] == ["caller", "agent"]
    assert "We are in Hamburg".startswith(said[1][1][:17])


def test_a_number_that_comes_after_a_pause_belongs_to_its_sentence() -> None:
    session = called(halves(ASKS, DIGITS, 0.8))
    said = [(turn.role, turn.text) for turn in session.history[1:]]
    assert said[0] == ("caller", "my account number is 5 5 1 2")
    assert not session.memory.get("unknown"), "nothing was not understood"
