"""An ended call is gone at once: nothing of it waits for the collector, which would stop everybody's audio."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from pathlib import Path

import numpy as np
import uvloop

from asterisk_ai.call import Call
from asterisk_ai.cli.simulator import Caller, Line, simulate
from asterisk_ai.config import load
from asterisk_ai.server import Server
from asterisk_ai.speaking import Speaker, _Reply
from asterisk_ai.transport.audiosocket import AudioSocketConnection
from asterisk_ai.utterance import Utterance

CONFIG = """
default_agent: desk
pipeline: delay
pipelines:
  delay:
    stt: "asterisk_ai.providers.delay:DelaySpeechToText"
    llm: "asterisk_ai.providers.delay:DelayLanguageModel"
    tts: "asterisk_ai.providers.delay:DelayTextToSpeech"
providers:
  "asterisk_ai.providers.delay:DelaySpeechToText": {seconds: 0.05}
  "asterisk_ai.providers.delay:DelayLanguageModel": {seconds: 0.05}
  "asterisk_ai.providers.delay:DelayTextToSpeech": {seconds: 0.05, speaking: 1}
audiosocket: {port: 0}
fastagi: {port: 0}
http: null
store: {backend: memory}
agents: {desk: {greeting: "Hi.", turn: {endpoint_ms: 200, barge_in_ms: 120, no_input_seconds: 60}}}
"""
TONE = (8000 * np.sin(2 * np.pi * 300 * np.arange(4000) / 8000)).astype("<i2").tobytes()
KINDS = (Call, Speaker, _Reply, Utterance, AudioSocketConnection)


async def several(port: int) -> None:
    said, interrupting = Line("said", pcm=TONE), Line("over", pcm=TONE, barge_in=0.4)
    callers = [
        Caller([said, said], linger=0.5),
        Caller([said, interrupting], linger=0.5),
        Caller([said], linger=0.0),  # hangs up before it is answered, ...
        Caller([said], linger=0.3),  # ... and in the middle of the answer
        Caller([Line("digits", digits="12")], linger=0.2),
    ]
    async with asyncio.TaskGroup() as group:
        for caller in callers:
            group.create_task(simulate(caller, host="127.0.0.1", fastagi_port=port))


def left() -> Counter[str]:
    return Counter(type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, KINDS))


def test_nothing_of_an_ended_call_waits_for_the_collector(tmp_path: Path) -> None:
    file = tmp_path / "asterisk_ai.yaml"
    file.write_text(CONFIG)

    async def work() -> None:
        server = Server(load(str(file)))
        begun = asyncio.Event()
        serving = asyncio.create_task(server.run(lambda _: begun.set()))
        await begun.wait()
        gc.collect()
        gc.disable()
        try:
            await several(server.fastagi_port)
            until = time.monotonic() + 5
            while server.store.count:
                assert time.monotonic() < until
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.1)
            assert left() == Counter()
        finally:
            gc.enable()
            server.stop()
            await serving

    # asyncio's own loop keeps a cancelled timer, and its context, until it would have fired.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work())
