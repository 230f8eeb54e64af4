"""A PIN that was typed is in no byte that is written, and what was said meanwhile is neither."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sound import tone
from whole_calls import call, records, serving

from asterisk_ai.dialog.dialplan import DialplanAction
from asterisk_ai.dialog.secret import SecretDigits
from asterisk_ai.session.model import CallSession, Outcome
from asterisk_ai.session.report import report
from asterisk_ai.simulator.asterisk import Line

PIN = "739164"
CONFIG = """
audiosocket: {{port: 0}}
fastagi: {{port: 0}}
http: false
store: {{path: {folder}/sessions.db}}
log: {{level: debug, transcripts: true}}
server: {{max_lateness_ms: 0}}
vad: {{engine: energy}}
pipelines: {{light: {{stt: "engines:ScriptedSpeechToText", llm: rules, tts: espeak}}}}
pipeline: light
agents:
  a:
    greeting: Hello.
    record: true
    rules:
      slots:
        pin: {{digits: 6, secret: true, ask: "Dial your PIN.", again: "Not six digits."}}
        order: {{digits: {{min: 2, max: 8}}, pause_seconds: 1, ask: "Dial your order."}}
      intents:
        check: {{answer: "I have {{pin:count}} digits.", ask: [pin, order], do: {{transfer: "{{pin}}@pin"}}}}
        other: {{say: [anything], answer: "Yes."}}
      dtmf: {{"1": check}}
"""


def holding(folder: Path) -> list[Path]:
    """The files that have the PIN in them."""
    return [file for file in folder.rglob("*") if file.is_file() and PIN.encode() in file.read_bytes()]


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    return caplog


def test_a_pin_is_in_no_byte_that_is_written(tmp_path: Path, told: pytest.LogCaptureFixture) -> None:
    async def body() -> tuple[dict[str, str], bytes]:
        async with serving(CONFIG.format(folder=tmp_path)) as server:
            lines = [Line("menu", digits="1"), Line("said", pcm=tone(440)), Line("wrong", digits="12*" + PIN)]
            result = await call(server, "a", *lines, Line("order", digits="4711"), linger=2.0, patience=2.0)
            assert not holding(tmp_path), "while the server runs"
            return result.variables, bytes(result.caller)

    variables, spoke = asyncio.run(body())
    assert variables["AI_EXTEN"] == PIN, "who asked for it has it"
    assert np.frombuffer(spoke, np.int16).any(), "the caller spoke while it was asked for"
    assert not holding(tmp_path)
    assert not [entry for entry in told.records if PIN in str(vars(entry)) + entry.getMessage()]
    assert any("4711" in str(vars(entry)) for entry in told.records), "what is no secret is told"
    record = records(tmp_path)["a"]
    assert [turn.text for turn in record.history if turn.role == "caller"] == ["1", "****", "4711"]
    assert record.outcome is Outcome.TRANSFER
    assert PIN not in str(report(record))
    (file,) = (tmp_path / "recordings").iterdir()
    left = soundfile.read(file, dtype="int16")[0].T[0]
    assert not left.any(), "nothing of what the caller said then is in the recording"


def test_what_is_secret_is_not_kept_with_the_call() -> None:
    secret = SecretDigits(PIN)
    memory = {"slots": {"pin": secret, "order": "4711"}, "list": [secret, {"x": secret}]}
    session = CallSession("id", "a", memory=memory)
    session.pending = DialplanAction("transfer", {"exten": secret, "context": "pin"})
    session.started_at = time.time()
    assert PIN not in session.to_json() + str(report(session)) + repr(session)
    again = CallSession.from_json(session.to_json())
    assert again.memory == {"slots": {"order": "4711"}, "list": [{}]}
    assert again.pending is None, "it is asked for again"
    assert session.pending.variables()["AI_EXTEN"] == PIN
