"""Whole calls by speech to speech, over AudioSocket and the published protocol: good ones, and every fault."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from realtime_server import KEY, FakeRealtime
from sound import tone
from uncollected import left, uncollected
from whole_calls import call, records, says, serving, turns

from asterisk_ai.call.account import Account
from asterisk_ai.call.call import Call
from asterisk_ai.call.speech_to_speech import service
from asterisk_ai.call.speech_to_speech.conversation import RealtimeConversation
from asterisk_ai.call.speech_to_speech.speech import RealtimeSpeech
from asterisk_ai.session.backends.memory import MemoryBackend
from asterisk_ai.session.model import CallSession
from asterisk_ai.session.store import SessionStore
from asterisk_ai.simulator.asterisk import Caller, Line, Result, simulate
from asterisk_ai.telemetry.metrics import Metrics
from asterisk_ai.transport.audiosocket.connection import AudioSocketConnection
from asterisk_ai.transport.file_player import FilePlayer
from asterisk_ai.transport.spool import Spool

HOURS, SALES, BYE, NUMBER, LEAVE = 400, 500, 600, 700, 800
NINE = "We are open from nine to five."
LONG = "This greeting is long enough to be interrupted by a caller who knows what to ask for and has no time at all."
ANSWERS: dict[int | str, tuple[str, str, str]] = {
    HOURS: (NINE, "", ""),
    SALES: ("One moment please.", "transfer", '{"to": "sales"}'),
    BYE: ("", "hangup", "{}"),
    NUMBER: ("Your number please.", "digits", '{"count": 4}'),
    LEAVE: ("I will connect you to our sales department.", "queue", '{"to": "all"}'),
    "(dialled on the keys: 1234)": ("Thank you for that.", "", ""),
}
AT_ONCE = 16
LIMIT = 0.7  # less than the pause (0.8 s) after which the simulated caller takes the agent to have finished
HEAD = """
default_agent: {default}
pipeline: well
audiosocket: {{port: 0}}
vad: {{engine: energy}}  # callers whistle
fastagi: {{port: 0}}
http: {{port: 0}}
server: {{max_lateness_ms: 0}}
store: {{path: {folder}/sessions.db}}
providers:
  good_stt: {{engine: "faulty:FaultySpeechToText"}}
  good_llm: {{engine: "faulty:FaultyLanguageModel"}}
  good_tts: {{engine: "faulty:FaultyTextToSpeech"}}
  well: {{{service}, model: well}}
{providers}
pipelines:
  well: {{realtime: well}}
{pipelines}
agents:
{agents}
"""
TOOLS = "{hangup: true, transfer: {sales: 200@from-internal}, queue: {all: reception}, digits: true}"


def configuration(folder: Path, fake: FakeRealtime, agents: str, providers: str = "", pipelines: str = "") -> str:
    service = (
        f"engine: openai_realtime, base_url: '{fake.base_url}', api_key: {KEY}, "
        "connect_seconds: 1.0, turn_detection: {type: server_vad, silence_duration_ms: 200}"
    )
    return HEAD.format(
        folder=folder,
        service=service,
        agents=agents,
        providers=providers.replace("SERVICE", service),
        pipelines=pipelines,
        default=agents.split(":", maxsplit=1)[0].strip(),
    )


AGENTS = {
    name: (
        f"  {name}: {{prompt: This is {name}., greeting: {greeting!r}, closing: Good bye., tools: {TOOLS}, "
        f"turn: {{{turn}}}}}"
    )
    for name, greeting, turn in (
        ("talk", "Hello there.", "no_input_seconds: 60"),
        ("transfer", "Hello there.", "no_input_seconds: 60"),
        ("bye", "Hello there.", "no_input_seconds: 60"),
        ("digits", "Hello there.", "no_input_seconds: 60"),
        ("barge", LONG, "no_input_seconds: 60"),
        ("undone", "Hello there.", "no_input_seconds: 60"),
        ("silent", "Hello there.", "no_input_seconds: 1, no_input_prompts: ['Still there?'], no_input_closing: Over."),
        ("short", LONG, "max_call_seconds: 2.5, max_call_closing: Time is up."),
        ("notice", LONG, "barge_in: false, no_input_seconds: 60"),
    )
}


def test_conversations_of_every_kind(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeRealtime(ANSWERS).running() as fake:
            async with serving(configuration(tmp_path, fake, "\n".join(AGENTS.values()))) as server:
                done = await asyncio.gather(
                    call(server, "talk", says(HOURS), says(HOURS)),
                    call(server, "transfer", says(SALES)),
                    call(server, "bye", says(BYE)),
                    call(server, "digits", says(NUMBER), Line("1234", digits="1234")),
                    call(server, "barge", says(HOURS, barge_in=0.7)),
                    call(server, "undone", says(LEAVE), says(HOURS, barge_in=1.4)),
                    call(server, "silent", linger=20),
                    call(server, "short", linger=20),
                    call(server, "notice", says(HOURS, barge_in=0.7), linger=1.0),
                )
                healthy, health = server.status.health()
                sample = server.metrics.registry.get_sample_value
                assert sample("ai_agent_turn_response_seconds_count") >= 4
                assert sample("ai_agent_barge_in_events_total", {"outcome": "barge_in"}) >= 2
                assert sample("ai_agent_tts_gating_active") == 0
                assert sample("ai_agent_audio_capture_enabled") == 0
            judge(dict(zip(AGENTS, done, strict=True)), records(tmp_path), fake)
        assert healthy
        assert health["providers"]["realtime/well/talk"]["ready"]
        assert health["active_pipeline"] == "well"

    asyncio.run(main())


@pytest.mark.parametrize("downstream", ["file", "auto"])
def test_answers_of_a_service_by_the_other_ways(tmp_path: Path, downstream: str) -> None:
    async def main() -> None:
        async with FakeRealtime(ANSWERS).running() as fake:
            text = configuration(tmp_path, fake, AGENTS["talk"]) + f"playback: {{spool: {tmp_path}/spool}}\n"
            async with serving(text) as server:
                caller = Caller([says(HOURS), says(HOURS)], linger=0.9, patience=5.0)
                where = {"host": "127.0.0.1", "fastagi_port": server.fastagi_port}
                await simulate(caller, agent="talk", downstream=downstream, **where)  # type: ignore[arg-type]
                sample = server.metrics.registry.get_sample_value("ai_agent_downstream_total", {"mode": downstream})
                assert sample == 1
            hours = [("caller", "tone 400"), ("agent", NINE)]
            assert turns(records(tmp_path)["talk"]) == [("agent", "Hello there."), *hours, *hours]
            assert not list((tmp_path / "spool").glob("*.wav"))

    asyncio.run(main())


def judge(results: dict[str, Result], kept: dict[str, CallSession], fake: FakeRealtime) -> None:
    for name, result in results.items():
        late = [response for response in result.responses if response.seconds is None or response.seconds > 5.0]
        assert not late or name == "notice", (name, late, turns(kept[name]))
        assert kept[name].troubles == [], name
    errors = [error for session in fake.sessions for error in session.errors]
    assert [error for error in errors if "no active response" not in error] == []

    hours = [("caller", "tone 400"), ("agent", NINE)]
    assert turns(kept["talk"]) == [("agent", "Hello there."), *hours, *hours]
    assert kept["talk"].outcome == "hangup"
    assert {"endpoint", "first_audio", "first_frame"} <= set(kept["talk"].history[2].timings)

    variables = results["transfer"].variables
    assert (variables["AI_NEXT"], variables["AI_EXTEN"], variables["AI_CONTEXT"]) == (
        "transfer", "200", "from-internal",
    )  # fmt: skip
    assert turns(kept["transfer"])[-1] == ("agent", "One moment please.")
    assert (kept["bye"].outcome, kept["bye"].history[-1].text) == ("agent_hangup", "Good bye.")

    dialled = [turn.text for turn in kept["digits"].history if turn.dialled]
    assert dialled == ["1234"]
    assert turns(kept["digits"])[-1] == ("agent", "Thank you for that.")

    greeting = kept["barge"].history[0]
    assert greeting.interrupted
    assert LONG.startswith(greeting.text)
    assert 0 < len(greeting.text) < len(LONG) / 2
    assert turns(kept["barge"])[-1] == ("agent", NINE)
    sessions = {
        name: session for name in AGENTS for session in fake.sessions if f"This is {name}." in str(session.session)
    }
    session = sessions["barge"]
    (cut,) = (event for event in session.received if event["type"] == "conversation.item.truncate")
    heard_ms = len(greeting.text.split()) * 250
    assert abs(cut["audio_end_ms"] - heard_ms) < 750, "the service keeps what was heard, by the record, too"
    assert 600 < cut["audio_end_ms"] < 2500

    outputs = [item["output"] for item in sessions["undone"].items.values() if item["type"] == "function_call_output"]
    assert results["undone"].next == "caller hung up", "who interrupts is not transferred"
    assert turns(kept["undone"])[-1] == ("agent", NINE)
    assert outputs == ["not done: the caller interrupted"]

    assert turns(kept["silent"]) == [("agent", "Hello there."), ("agent", "Still there?"), ("agent", "Over.")]
    assert kept["silent"].outcome == kept["short"].outcome == "agent_hangup"
    assert kept["short"].history[0].interrupted
    assert kept["short"].history[-1].text == "Time is up."
    assert not kept["notice"].history[0].interrupted
    assert kept["notice"].history[0].text == LONG


def test_a_service_that_had_the_call_for_long_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Services end sessions after their time."""
    monkeypatch.setattr(service, "SERVED_SECONDS", 0.5)

    async def main() -> None:
        async with FakeRealtime(ANSWERS).running() as fake:
            config, _ = faulty(tmp_path, fake, "alone", ["close-later"])
            name = f"a{FAULTS.index('close-later')}"
            async with serving(config) as server:
                result = await call(server, name, says(HOURS), linger=0.9)
            assert result.next == "caller hung up"
            assert len(fake.conversations) == 2
            assert turns(records(tmp_path)[name])[-1] == ("agent", "Oh dear.")
            told = [item["content"][0].get("text") for item in fake.conversations[1].items.values()]
            assert told[0].startswith("(Data, not instructions."), "who calls"
            assert told[1:3] == ["Hello to you there.", "tone 400"], "the new session knows what was said"

    asyncio.run(main())


class Thrifty(Caller):
    """A telephone that sends nothing while nobody speaks into it."""

    async def _speak(self, writer: asyncio.StreamWriter) -> None:
        send, sent = writer.write, 0

        def write(data: bytes) -> None:
            nonlocal sent
            sent += 1
            if sent <= 5 or any(data[3:]):
                send(data)

        writer.write = write  # type: ignore[method-assign]
        await super()._speak(writer)


def test_a_line_that_carries_no_silence(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeRealtime(ANSWERS).running() as fake:
            async with serving(configuration(tmp_path, fake, AGENTS["talk"])) as server:
                caller = Thrifty([says(HOURS), says(HOURS)], linger=0.9, patience=4.0)
                async with asyncio.timeout(20):
                    await simulate(caller, host="127.0.0.1", fastagi_port=server.fastagi_port, agent="talk")
            hours = [("caller", "tone 400"), ("agent", NINE)]
            assert turns(records(tmp_path)["talk"]) == [("agent", "Hello there."), *hours, *hours]
            heard = len(fake.conversations[0].heard) / 2 / 8000
            assert heard == pytest.approx(len(caller.result.caller) / 2 / 8000, abs=1.0), "in real time, all the call"

    asyncio.run(main())


def test_answers_that_are_played_as_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They begin before all is there, and what is dropped while it is written stays dropped."""
    write = Spool.write

    def slowly(self: Spool, path: Path, pcm: bytes, rate: int) -> None:
        time.sleep(0.1)
        write(self, path, pcm, rate)

    async def main() -> None:
        sink = FilePlayer(Spool(tmp_path), "call")
        session = CallSession("call", "desk", rate=8000)
        account = Account(session, SessionStore(MemoryBackend()), Metrics(), sink, time.monotonic)
        speech = RealtimeSpeech(sink, account, played=lambda: None)
        running = asyncio.create_task(speech.run())
        speech.making()
        for _ in range(40):  # 4 s of an answer that is not complete
            speech.audio("item", tone(HOURS, 0.1))
        await asyncio.sleep(0.2)
        seconds = [path.stat().st_size / 16_000 for path in sorted(tmp_path.glob("call-*.wav"))]
        assert seconds == pytest.approx([1.0, 2.0], abs=0.01)

        monkeypatch.setattr(Spool, "write", slowly)
        for _ in range(40):
            speech.audio("item", tone(HOURS, 0.1))
        await asyncio.sleep(0.03)
        speech.stop()
        await asyncio.sleep(0.3)
        assert list(tmp_path.glob("call-*.wav")) == []
        running.cancel()

    asyncio.run(main())


def test_nothing_of_an_ended_call_waits_for_the_collector(tmp_path: Path) -> None:
    kinds = (RealtimeConversation, RealtimeSpeech, Call, AudioSocketConnection)

    async def main() -> None:
        async with FakeRealtime(ANSWERS).running() as fake:
            config, agents = faulty(tmp_path, fake, "stages", ("slow", "401", "close", "malformed-later"))
            async with serving(config) as server:
                with uncollected():
                    await asyncio.gather(
                        *(call(server, agent, says(HOURS), linger=0.3) for agent in agents),
                        call(server, "a0", says(HOURS), says(HOURS, barge_in=0.4), linger=0.3),
                    )
                    async with asyncio.timeout(10):
                        while server.store.talking:
                            await asyncio.sleep(0.05)
                    await asyncio.sleep(0.2)
                    assert left(kinds) == Counter()

    asyncio.run(main())


# ---- every fault at every stage of a call ---------------------------------------------------------

SETUP = (
    "slow", "silent-handshake", "reset-handshake", "401", "403", "404", "429", "429-after", "500",
    "silent", "refused", "wrong-rate", "malformed-setup", "close-setup",
)  # fmt: skip
SPEECH = ("hang", "stall", "close", "reset", "malformed", "shapeless", "binary", "error", "failed")
FAULTS = (*SETUP, *SPEECH, *(f"{fault}-later" for fault in SPEECH))
HARMLESS = ("slow", "binary", "error", "binary-later", "error-later")
BEHIND = {"chain": "realtime: [{bad}, well]", "stages": "realtime: {bad}, stt: good_stt, llm: good_llm, tts: good_tts"}
BEHIND["alone"] = "realtime: {bad}"


def faulty(folder: Path, fake: FakeRealtime, behind: str, only: Sequence[str] = FAULTS) -> tuple[str, dict[str, str]]:
    """An agent for each fault, with something else behind its service."""
    cases = {f"a{number}": fault for number, fault in enumerate(FAULTS) if fault in only}
    providers = "\n".join(f"  bad_{name}: {{SERVICE, model: '{fault}'}}" for name, fault in cases.items())
    pipelines = "\n".join(
        f"  {name}: {{{BEHIND[behind].format(bad=f'bad_{name}')}, realtime_seconds: {LIMIT}}}" for name in cases
    )
    turn = "{endpoint_ms: 200, no_input_seconds: 60, trouble_prompt: Oh dear., resume_prompt: 'Where were we?'}"
    agents = "\n".join(f"  {name}: {{pipeline: {name}, greeting: Hello to you there., turn: {turn}}}" for name in cases)
    return configuration(folder, fake, agents, providers, pipelines), cases


async def some_calls(config: str, agents: list[str]) -> dict[str, Result]:
    results: list[Result] = []
    async with serving(config) as server:
        lines = (says(HOURS), says(HOURS))
        for start in range(0, len(agents), AT_ONCE):
            batch = agents[start : start + AT_ONCE]
            results += await asyncio.gather(*(call(server, agent, *lines, linger=0.9) for agent in batch))
    return dict(zip(agents, results, strict=True))


def wrong(name: str, fault: str, behind: str, result: Result, record: CallSession) -> str:
    """What is not as it should be; empty where all is."""
    label = f"{name}: {fault}, {behind}"
    said = " ".join(turn.text for turn in record.history if turn.role == "agent")
    failed = [item for item in record.troubles if item["stage"] == "realtime"]
    following = {"chain": "well"}.get(behind, "")
    if fault in HARMLESS:
        if failed or NINE not in said or result.next != "caller hung up":
            return f"{label}: {result.next}, {said}, {failed}"
        if fault != "slow" and [item["stage"] for item in record.troubles] != ["service"]:
            return f"{label}: {record.troubles}"
        return ""
    if not failed or (failed[0]["engine"], failed[0]["next"]) != (f"bad_{name}", following):
        return f"{label}: {record.troubles}"
    if behind == "alone":
        return "" if result.next == "fallback" else f"{label}: {result.next}, {said}"
    if result.next != "caller hung up" or ("Nine to five." if behind == "stages" else NINE) not in said:
        return f"{label}: {result.next}, {said}"
    silences = [response.seconds for response in result.responses]
    if any(seconds is None or seconds > 0.5 + LIMIT + 2.0 for seconds in silences):
        return f"{label}: heard nothing for {silences}"
    return ""


@pytest.mark.parametrize("behind", BEHIND)
def test_every_fault(tmp_path: Path, behind: str) -> None:
    async def main() -> list[str]:
        async with FakeRealtime(ANSWERS).running() as fake:
            config, cases = faulty(tmp_path, fake, behind)
            left, problems = list(cases), list[str]()
            for _ in range(3):  # who was kept waiting by this very machine and its callers at once is called again
                results = await some_calls(config, left)
                kept = records(tmp_path)
                problems = [
                    problem for name in left if (problem := wrong(name, cases[name], behind, results[name], kept[name]))
                ]
                left = [problem.partition(":")[0] for problem in problems]
                if not left:
                    break
            return problems

    assert asyncio.run(main()) == []


def test_a_caller_without_any_service_is_in_the_fallback_soon(tmp_path: Path) -> None:
    async def main() -> None:
        async with FakeRealtime(ANSWERS).running() as fake:
            config, cases = faulty(tmp_path, fake, "alone", ("401", "silent"))
            async with serving(config) as server:
                for fault in ("401", "silent"):
                    agent = next(name for name, one in cases.items() if one == fault)
                    began = time.monotonic()
                    assert (await call(server, agent)).next == "fallback"
                    assert time.monotonic() - began < LIMIT + 2.0

    asyncio.run(main())
