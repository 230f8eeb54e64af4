"""An ended call is gone at once: nothing of it waits for the collector, which would stop everybody's audio."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import uvloop
import yaml
from uncollected import left, uncollected
from whole_calls import serving

from asterisk_ai.call.call import Call
from asterisk_ai.call.staged.conversation import StagedConversation
from asterisk_ai.call.staged.recognition import CallerUtterance
from asterisk_ai.call.staged.speaker import ReplySpeaker, _Reply
from asterisk_ai.server.server import Server
from asterisk_ai.simulator.asterisk import Caller, Line, simulate
from asterisk_ai.transport.audiosocket.connection import AudioSocketConnection
from asterisk_ai.transport.file_player import FilePlayer
from asterisk_ai.transport.switched import SwitchedConnection
from asterisk_ai.vad.energy import EnergyVad

CONFIG = """
default_agent: desk
pipeline: delay
pipelines:
  delay:
    stt: "asterisk_ai.providers.engines.delay:DelaySpeechToText"
    llm: "asterisk_ai.providers.engines.delay:DelayLanguageModel"
    tts: "asterisk_ai.providers.engines.delay:DelayTextToSpeech"
providers:
  "asterisk_ai.providers.engines.delay:DelaySpeechToText": {seconds: 0.05}
  "asterisk_ai.providers.engines.delay:DelayLanguageModel": {seconds: 0.05}
  "asterisk_ai.providers.engines.delay:DelayTextToSpeech": {seconds: 0.05, speaking: 1}
audiosocket: {port: 0}
vad: {engine: VAD}
fastagi: {port: 0}
http: null
store: {backend: memory}
server: {max_lateness_ms: 0}
agents: {desk: {greeting: "Hi.", turn: {endpoint_ms: 200, barge_in_ms: 120, no_input_seconds: 60}}}
"""
DATA = Path(__file__).parents[1] / "data"
TONE = (8000 * np.sin(2 * np.pi * 300 * np.arange(4000) / 8000)).astype("<i2").tobytes()
# Ends in the middle of a word, as the whistle does: who hangs up then has a recognition under way.
SPEECH = soundfile.read(DATA / "speech" / "i_would_like_to_speak_to_an_operator.wav", dtype="int16")[0]
WORDS = SPEECH[: 3 * 8000 // 2].tobytes()
KINDS = (Call, StagedConversation, ReplySpeaker, _Reply, CallerUtterance, AudioSocketConnection, EnergyVad)


async def several(port: int, pcm: bytes) -> None:
    said, interrupting = Line("said", pcm=pcm), Line("over", pcm=pcm, barge_in=0.4)
    callers = [
        Caller([said, said], linger=0.5),
        Caller([said, interrupting], linger=0.5),
        Caller([said], patience=0.0),  # hangs up while it speaks, ...
        Caller([said], linger=0.0),  # ... as it is answered ...
        Caller([said], linger=0.3),  # ... and in the middle of the answer
        Caller([Line("digits", digits="12")], linger=0.2),
    ]
    async with asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(simulate(caller, host="127.0.0.1", fastagi_port=port))


async def ended(server: Server) -> None:
    until = time.monotonic() + 5
    while server.store.count:
        assert time.monotonic() < until
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.1)


def run(work: Coroutine[Any, Any, None]) -> None:
    # asyncio's own loop keeps a cancelled timer, and its context, until it would have fired.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


DETECTORS = pytest.mark.parametrize(("vad", "pcm"), [("energy", TONE), ("silero", WORDS)], ids=["energy", "silero"])


@DETECTORS
def test_nothing_of_an_ended_call_waits_for_the_collector(vad: str, pcm: bytes) -> None:
    async def work() -> None:
        async with serving(CONFIG.replace("VAD", vad)) as server:
            with uncollected():
                await several(server.fastagi_port, pcm)
                await ended(server)
                assert left(KINDS) == Counter()

    run(work())


@pytest.mark.parametrize("mode", ["file", "auto"])
def test_nothing_of_a_call_whose_replies_can_be_files_waits_for_the_collector(mode: str, tmp_path: Path) -> None:
    async def work() -> None:
        config = yaml.safe_load(CONFIG.replace("VAD", "energy"))
        config["agents"]["desk"]["downstream_mode"] = mode
        config["playback"] = {"spool": str(tmp_path)}
        async with serving(str(yaml.safe_dump(config))) as server:
            with uncollected():
                await several(server.fastagi_port, TONE)
                await ended(server)
                assert left((*KINDS, SwitchedConnection, FilePlayer)) == Counter()
        assert not list(tmp_path.glob("*.wav"))

    run(work())


FAULTS = {
    "stt": ("open-unavailable", "open-hang", "end-rejected", "end-raise", "feed-raise"),
    "llm": ("open-unavailable", "first-hang", "first-raise", "middle-unavailable", "empty"),
    "tts": ("open-unavailable", "first-hang", "middle-raise", "middle-unavailable", "empty"),
}
FAULTY = {"stt": "FaultySpeechToText", "llm": "FaultyLanguageModel", "tts": "FaultyTextToSpeech"}


def faulty(vad: str) -> str:
    """An agent for each fault, with a sound engine behind it and with none."""
    config = yaml.safe_load(CONFIG.replace("VAD", vad))
    sound = config["pipelines"]["delay"]
    for stage, faults in FAULTS.items():
        for fault in faults:
            name = f"{stage}-{fault}"
            config["providers"][name] = {"engine": f"faulty:{FAULTY[stage]}", "fault": fault}
            for pipeline, engines in ((name, [name, sound[stage]]), (f"{name}-alone", name)):
                config["pipelines"][pipeline] = {**sound, stage: engines, f"{stage}_seconds": 0.5}
                config["agents"][pipeline] = {**config["agents"]["desk"], "pipeline": pipeline}
    return str(yaml.safe_dump(config))


@DETECTORS
def test_nothing_of_a_call_whose_engines_failed_waits_for_the_collector(vad: str, pcm: bytes) -> None:
    async def work() -> None:
        config = faulty(vad)
        async with serving(config) as server:
            with uncollected():
                async with asyncio.TaskGroup() as group:
                    for agent in yaml.safe_load(config)["agents"]:
                        caller = Caller([Line("said", pcm=pcm)], patience=3.0, linger=0.3)
                        port = server.fastagi_port
                        group.create_task(simulate(caller, host="127.0.0.1", fastagi_port=port, agent=agent))
                await ended(server)
                assert left(KINDS) == Counter()

    run(work())
