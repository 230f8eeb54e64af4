"""The call's edge: whatever fails in a frame's way is that call's failure, and no exception of the connection."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from in_process import CONFIG
from unconnected import unconnected_call

from asterisk_ai.audio.echo import EchoCanceller
from asterisk_ai.call.call import Call
from asterisk_ai.call.own_voice import OwnVoice
from asterisk_ai.config import parse
from asterisk_ai.dialog.dialplan import FALL_BACK
from asterisk_ai.recording.writer import CallRecording
from asterisk_ai.server.server import Server
from asterisk_ai.session.model import CallSession, new_call_id

LOUD = b"\x00\x20" * 160


def fails(*arguments: object) -> None:
    raise ArithmeticError("singular")


def test_a_frame_that_cannot_be_worked_on_sends_its_caller_to_the_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        server = Server(parse(CONFIG.replace("a: {}", "a: {record: true}"), environ={}))
        call = unconnected_call(server, CallSession(new_call_id(), "a"))
        assert isinstance(call, Call)
        running = asyncio.create_task(call.run())
        await asyncio.sleep(0)
        call.on_begin(8000)
        monkeypatch.setattr(CallRecording, "heard", fails)
        call.on_audio(bytes(320))
        assert call.session.pending == FALL_BACK
        call.on_closed("hangup")
        await running
        server.vad.close()

    asyncio.run(main())


def test_a_canceller_that_fails_is_left_out_and_the_caller_heard_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(EchoCanceller, "cancel", fails)
    own_voice = OwnVoice(8000, lambda: 1.0, cancels=True)
    for now in (1.0, 1.02):
        own_voice.played(LOUD)
        assert own_voice.without(LOUD, now)[0] == LOUD
    assert [record.getMessage() for record in caplog.records] == [
        "the agent's echo cannot be taken away and is heard for the rest of the call"
    ]


@pytest.mark.parametrize("cancels", [True, False])
def test_the_agents_voice_is_taken_out_where_that_is_wanted(cancels: bool) -> None:
    own_voice, rng = OwnVoice(8000, lambda: played_at, cancels=cancels), np.random.default_rng(1)
    frames = [rng.normal(0, 3000, 160).astype("<i2").tobytes() for _ in range(40)]
    heard = []
    for number, frame in enumerate(frames):
        played_at = number * 0.02
        own_voice.played(frame)
        heard.append(own_voice.without(frames[max(0, number - 5)], played_at))
    assert (heard[-1][1] < -40) == cancels
    assert (heard[-1][0] == frames[-6]) != cancels
