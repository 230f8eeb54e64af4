"""Recordings of whole calls: what the caller said on the left, what the caller heard on the right."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sound import tone
from whole_calls import call, records, serving

from asterisk_ai.cli.main import main
from asterisk_ai.recording import folder
from asterisk_ai.session.model import Recorded
from asterisk_ai.simulator.asterisk import Line

CONFIG = """
audiosocket: {{port: 0}}
fastagi: {{port: 0}}
http: false
store: {{path: {folder}/sessions.db}}
vad: {{engine: energy}}
pipelines:
  slow:
    stt: "asterisk_ai.providers.engines.delay:DelaySpeechToText"
    llm: "asterisk_ai.providers.engines.delay:DelayLanguageModel"
    tts: espeak
pipeline: slow
default_agent: kept
agents:
  kept: {{greeting: Hello., record: true, record_announcement: This call is recorded., record_decline: "9"}}
  unkept: {{greeting: Hello.}}
"""


def test_calls_are_recorded_where_the_agent_says_so_and_the_caller_agrees(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def body() -> tuple[bytes, bytes]:
        async with serving(CONFIG.format(folder=tmp_path)) as server:
            said = await call(server, "kept", Line("hum", pcm=tone(440)), linger=1.0)
            heard, spoke = bytes(said.agent), bytes(said.caller)
            await call(server, "unkept", linger=0.5)
            kept = records(tmp_path)["kept"]
            assert (kept.recorded, kept.history[0].text) == (Recorded.YES, "This call is recorded. Hello.")
            await call(server, "kept", Line("no", digits="9"), Line("hum", pcm=tone(440)), linger=0.5)
            return heard, spoke

    heard, spoke = asyncio.run(body())
    (file,) = (tmp_path / "recordings").iterdir()
    sound, rate = soundfile.read(file, dtype="int16")
    left, right = sound.T
    assert rate == 8000
    pieces = []
    for side, other in ((left, spoke), (right, heard)):
        (recorded, where), (sent, there) = sounds(side), sounds(np.frombuffer(other, np.int16))
        assert recorded == sent, "sample for sample what went over the line"
        pieces.append((where[0], there[0]))
    (caller, called), (agent, answered) = pieces
    assert abs((caller - agent) - (called - answered)) < rate, "both sides are on one clock"

    settings = tmp_path / "asterisk_ai.yaml"
    settings.write_text(CONFIG.format(folder=tmp_path))
    first, *_ = [record for record in records(tmp_path).values() if record.recorded is Recorded.DECLINED]
    assert not folder.find(tmp_path / "recordings", first.call_id)
    assert main(["calls", "play", "--config", str(settings), first.call_id]) == 1
    assert "declined" in capsys.readouterr().out
    wav = tmp_path / "out.wav"
    assert main(["calls", "play", file.stem, "--output", str(wav), "--config", str(settings)]) == 0
    assert np.array_equal(soundfile.read(wav, dtype="int16")[0], sound)
    assert main(["calls", "purge", file.stem, "--yes", "--config", str(settings)]) == 0
    assert "1 recordings are removed" in capsys.readouterr().out
    assert list((tmp_path / "recordings").iterdir()) == []


def sounds(side: np.ndarray) -> tuple[list[bytes], list[int]]:
    """What is between silences of 50 ms, and where each of it begins."""
    loud = np.flatnonzero(side)
    ends = np.flatnonzero(np.diff(loud) > 400)
    begins = [int(at) for at in (loud[0], *loud[ends + 1])]
    return [side[a : b + 1].tobytes() for a, b in zip(begins, (*loud[ends], loud[-1]), strict=True)], begins
