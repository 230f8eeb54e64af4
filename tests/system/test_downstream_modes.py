"""The ways of a reply: streamed, as a file that the dialplan plays, and from one to the other in the middle of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from in_process import serving
from whole_calls import records, says, turns

from asterisk_ai.audio.levels import dbov
from asterisk_ai.call.staged import synthesis
from asterisk_ai.server.server import Server
from asterisk_ai.session.model import CallSession
from asterisk_ai.simulator.agi_client import run_agi
from asterisk_ai.simulator.asterisk import RATE, Caller, Line, Result, simulate
from asterisk_ai.transport import switched

GREETING = "Hello and welcome to this company."
ANSWER = "We are open from nine to five today."
CONFIG = """
default_agent: stream
pipeline: well
audiosocket: {{port: 0}}
vad: {{engine: energy}}  # callers whistle
fastagi: {{port: 0}}
http: {{port: 0}}
server: {{max_lateness_ms: 0}}
store: {{path: {folder}/sessions.db}}
providers:
  good_stt: {{engine: "faulty:FaultySpeechToText"}}
  good_llm: {{engine: "faulty:FaultyLanguageModel", answer: "{answer}"}}
  good_tts: {{engine: "faulty:FaultyTextToSpeech"}}
  slow_llm: {{engine: "faulty:FaultyLanguageModel", answer: "{answer}", late: 0.4}}
  slow_tts: {{engine: "faulty:FaultyTextToSpeech", late: 0.3}}
  once_tts: {{engine: "faulty:FaultyTextToSpeech", fault: middle-unavailable, times: 1}}
pipelines:
  well: {{stt: good_stt, llm: good_llm, tts: good_tts}}
  thoughtful: {{stt: good_stt, llm: slow_llm, tts: good_tts}}
  slow: {{stt: good_stt, llm: good_llm, tts: slow_tts}}
  once: {{stt: good_stt, llm: good_llm, tts: once_tts}}
agents:
  stream: {{greeting: "{greeting}", turn: {{no_input_seconds: 60}}}}
  file: {{greeting: "{greeting}", downstream_mode: file, turn: {{no_input_seconds: 60}}}}
  auto: {{greeting: "{greeting}", downstream_mode: auto, turn: {{no_input_seconds: 60}}}}
  slow: {{greeting: "{greeting}", downstream_mode: auto, pipeline: slow, turn: {{no_input_seconds: 60}}}}
  once: {{greeting: "{greeting}", downstream_mode: auto, pipeline: once, turn: {{no_input_seconds: 60}}}}
  sounds:
    greeting: sound:welcome Hello there. sound:missing
    ambience: sea
    ambience_dbov: -60
    turn: {{no_input_seconds: 60}}
  patient:
    greeting: "{greeting}"
    downstream_mode: file
    pipeline: thoughtful
    turn: {{no_input_seconds: 60, part_seconds: 1, filler_ms: 100}}
playback: {{sounds: {folder}/sounds}}
"""


def whole(folder: Path, test: Callable[[Server], Awaitable[None]]) -> None:
    async def main() -> None:
        text = CONFIG.format(folder=folder, greeting=GREETING, answer=ANSWER)
        async with asyncio.timeout(60), serving(text, folder / "asterisk_ai.yaml") as server:
            await test(server)
            assert not list((folder / "spool").glob("*.wav")), "a reply's file lives as long as it plays"

    asyncio.run(main())


async def call(server: Server, agent: str, *lines: Line, downstream: str = "") -> Result:
    caller = Caller(lines, linger=1.2, patience=5.0)
    where = {"host": "127.0.0.1", "fastagi_port": server.fastagi_port}
    return await simulate(caller, agent=agent, downstream=downstream, **where)  # type: ignore[arg-type]


async def ended(folder: Path, agent: str) -> CallSession:
    """The call's record, once it is closed; a thread writes it."""
    while True:
        found = records(folder).get(agent)
        if found is not None and found.ended:
            return found
        await asyncio.sleep(0.02)


def heard_seconds(result: Result) -> float:
    """Of the agent's tone."""
    samples = np.frombuffer(bytes(result.agent), "<i2")
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160).astype(float)
    return float((np.abs(frames).max(axis=1) > 1000).sum()) * 160 / RATE


def fallbacks(server: Server, reason: str) -> float:
    return server.metrics.registry.get_sample_value("ai_agent_streaming_fallbacks_total", {"reason": reason}) or 0.0


@pytest.mark.parametrize(
    ("agent", "downstream"), [("stream", ""), ("file", ""), ("stream", "file"), ("file", "stream")]
)
def test_one_conversation_by_either_way(
    tmp_path: Path, agent: str, downstream: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(server: Server) -> None:
        with caplog.at_level(logging.INFO):
            result = await call(server, agent, says(400), says(600), downstream=downstream)
        assert [response.seconds is not None for response in result.responses] == [True, True]
        record = await ended(tmp_path, agent)
        answer = [("caller", "opening hours"), ("agent", ANSWER)]
        assert turns(record) == [("agent", GREETING), *answer, *answer]
        assert heard_seconds(result) == pytest.approx((6 + 8 + 8) / 4, abs=0.1), "every sound once"
        assert [set(turn.timings) for turn in record.history if turn.role == "agent"][1] >= {"first_frame", "endpoint"}
        assert (record.outcome, record.troubles) == ("hangup", [])
        mode = downstream or agent
        assert server.metrics.registry.get_sample_value("ai_agent_downstream_total", {"mode": mode}) == 1
        assert f"replies: {mode}" in caplog.messages
        assert sum(line.startswith("playback finished") for line in caplog.messages) == 3

    whole(tmp_path, test)


def test_a_key_cuts_a_file_short(tmp_path: Path) -> None:
    async def test(server: Server) -> None:
        result = await call(server, "file", Line("5", digits="5", barge_in=0.6), says(400))
        greeting = (await ended(tmp_path, "file")).history[0]
        assert (greeting.text, greeting.interrupted) == ("Hello and", True), "two words of 0.25 s, and a part of one"
        assert heard_seconds(result) < 8
        assert result.next == "caller hung up"

    whole(tmp_path, test)


def test_who_hangs_up_while_a_file_plays(tmp_path: Path) -> None:
    async def test(server: Server) -> None:
        class Rude(Caller):
            async def listen_to(self, file: Path, offset_ms: int) -> str:
                await asyncio.sleep(0.6)
                self.hung_up = True
                raise ConnectionError

        with pytest.raises(ConnectionError):
            await simulate(Rude([]), host="127.0.0.1", fastagi_port=server.fastagi_port, agent="file")
        call_id = server.store.live[0].call_id
        await run_agi("127.0.0.1", server.fastagi_port, "call/end", arguments=[call_id], timeout=5)
        record = await ended(tmp_path, "file")
        assert record.outcome == "hangup"
        assert record.history[0].text == "Hello and"

    whole(tmp_path, test)


def test_too_many_gaps_lead_to_files_for_the_rest_of_the_call(tmp_path: Path) -> None:
    async def test(server: Server) -> None:
        result = await call(server, "slow", says(400))
        record = await ended(tmp_path, "slow")
        assert turns(record) == [("agent", GREETING), ("caller", "opening hours"), ("agent", ANSWER)]
        assert heard_seconds(result) == pytest.approx((6 + 8) / 4, abs=0.1)
        assert fallbacks(server, "underruns") == 1
        assert [trouble["engine"] for trouble in record.troubles] == ["underruns"]
        assert record.downstream == "file"

    whole(tmp_path, test)


def test_a_voice_that_fails_in_the_middle_is_heard_to_the_end(tmp_path: Path) -> None:
    async def test(server: Server) -> None:
        result = await call(server, "once", says(400))
        record = await ended(tmp_path, "once")
        assert turns(record) == [("agent", GREETING), ("caller", "opening hours"), ("agent", ANSWER)]
        assert heard_seconds(result) == pytest.approx((6 + 8) / 4, abs=0.1)
        assert fallbacks(server, "engine") == 1

    whole(tmp_path, test)


def test_a_line_that_breaks_in_mid_reply(tmp_path: Path) -> None:
    """The caller hears the rest from a file."""

    async def test(server: Server) -> None:
        broken = asyncio.get_running_loop().create_task(_break(server, 0.7))
        result = await call(server, "auto", says(400))
        await broken
        record = await ended(tmp_path, "auto")
        assert turns(record) == [("agent", GREETING), ("caller", "opening hours"), ("agent", ANSWER)]
        assert [turn.interrupted for turn in record.history] == [False] * 3
        assert heard_seconds(result) == pytest.approx((6 + 8) / 4, abs=0.15)
        assert fallbacks(server, "transport") == 1
        assert record.outcome == "hangup"

    whole(tmp_path, test)


async def _break(server: Server, seconds: float) -> None:
    """Reset the first call's connection when it has played for so long."""
    while not (calls := [found for found in server.transports.audiosocket._connections if getattr(found, "played", 0)]):
        await asyncio.sleep(0.01)
    while calls[0].played < seconds * RATE:  # type: ignore[union-attr]
        await asyncio.sleep(0.01)
    calls[0].abort("broken by the test")


def test_readiness_is_told_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test(server: Server) -> None:
        assert "agent stream: streaming is ready (downstream_mode stream)" in caplog.messages
        assert f"agent file: replies as files are ready, in {tmp_path / 'spool'}" in caplog.messages
        caplog.clear()
        file = tmp_path / "asterisk_ai.yaml"
        file.write_text(file.read_text().replace("downstream_mode: file", "downstream_mode: stream"))
        assert await server.reload()
        assert "agent file: streaming is ready (downstream_mode stream)" in caplog.messages

    with caplog.at_level(logging.INFO):
        whole(tmp_path, test)


@pytest.mark.parametrize("downstream", ["stream", "file"])
def test_sounds_beside_speech_and_ambience_behind_it(
    tmp_path: Path, downstream: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "sounds/en").mkdir(parents=True)
    at = np.arange(RATE) / RATE
    soundfile.write(tmp_path / "sounds/en/welcome.wav", 0.3 * np.sin(2 * np.pi * 600 * at), RATE)
    soundfile.write(tmp_path / "sounds/sea.wav", 0.1 * np.random.default_rng(1).standard_normal(2 * RATE), RATE)

    async def test(server: Server) -> None:
        result = await call(server, "sounds", says(400), downstream=downstream)
        record = await ended(tmp_path, "sounds")
        greeting = ("agent", "sound:welcome Hello there.")
        assert turns(record) == [greeting, ("caller", "opening hours"), ("agent", ANSWER)]
        assert heard_seconds(result) == pytest.approx(1 + 2 / 4 + 8 / 4, abs=0.1)
        assert "no sound 'missing'" in caplog.text, "told, and the conversation goes on"
        pcm = bytes(result.agent)
        levels = [dbov(pcm[start : start + 320]) for start in range(0, len(pcm) - 320, 320)]
        between = [level for level in levels if -80 < level < -50]
        assert len(between) > 50, "in the pauses"
        assert np.median(between) == pytest.approx(-60, abs=1.5)

    whole(tmp_path, test)


def test_a_prompt_is_made_once(tmp_path: Path) -> None:
    async def test(server: Server) -> None:
        voice = next(member.engine for member in server.in_use.agent_set.agents["file"].tts.members)  # type: ignore[union-attr]
        for _ in range(2):
            result = await call(server, "file")
            assert heard_seconds(result) == pytest.approx(6 / 4, abs=0.05)
        assert voice.texts == [GREETING]
        assert len(list((tmp_path / "spool/prompts").iterdir())) == 1

    whole(tmp_path, test)


def test_a_file_may_last_longer_than_any_part_of_it_and_a_filler_would_come_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(synthesis, "STILL_SECONDS", 0.2)

    async def test(server: Server) -> None:
        result = await call(server, "patient", says(400))
        record = await ended(tmp_path, "patient")
        assert turns(record) == [("agent", GREETING), ("caller", "opening hours"), ("agent", ANSWER)]
        assert heard_seconds(result) == pytest.approx((6 + 8) / 4, abs=0.1), "and no filler"

    whole(tmp_path, test)


class Told(Caller):
    """What the dialplan tells of each reply, instead of playing it; None: it never comes back."""

    def __init__(self, played: str | None) -> None:
        super().__init__([], linger=1.2, patience=5.0)
        self.played = played
        self.plays = asyncio.Event()

    async def listen_to(self, file: Path, offset_ms: int) -> str:
        assert await asyncio.to_thread(file.exists)
        self.plays.set()
        if self.played is None:
            await asyncio.sleep(3600)
        return str(self.played)


def test_a_file_that_asterisk_cannot_play_leads_to_the_fallback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(server: Server) -> None:
        caller = Told("ERROR--")
        result = await simulate(caller, host="127.0.0.1", fastagi_port=server.fastagi_port, agent="file")
        assert result.next == "fallback"
        assert (await ended(tmp_path, "file")).outcome == "fallback"
        assert "asterisk-ai check" in caplog.text

    whole(tmp_path, test)


def test_a_dialplan_that_does_not_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asterisk itself is gone, for one."""
    monkeypatch.setattr(switched, "AWAY_SECONDS", 0.3)

    async def test(server: Server) -> None:
        caller = Told(None)
        calling = asyncio.create_task(
            simulate(caller, host="127.0.0.1", fastagi_port=server.fastagi_port, agent="file")
        )
        record = await ended(tmp_path, "file")
        assert (record.outcome, record.history[0].text) == ("lost", GREETING)
        calling.cancel()

    whole(tmp_path, test)


def test_a_server_that_stops_does_not_wait_for_files_to_end(tmp_path: Path) -> None:
    async def test(server: Server) -> None:
        caller = Told(None)
        calling = asyncio.create_task(
            simulate(caller, host="127.0.0.1", fastagi_port=server.fastagi_port, agent="file")
        )
        await caller.plays.wait()
        async with asyncio.timeout(20):  # the dialplan would be waited for longer
            server.stop(at_once=True)
            while server.store.talking:
                await asyncio.sleep(0.02)
        calling.cancel()

    whole(tmp_path, test)
