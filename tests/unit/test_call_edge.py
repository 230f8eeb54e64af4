"""The call's edge: whatever fails in a frame's way is that call's failure, and no exception of the connection."""

from __future__ import annotations

import asyncio

import pytest
from in_process import CONFIG
from unconnected import unconnected_call

from asterisk_ai.audio.echo import EchoCanceller
from asterisk_ai.call.call import Call
from asterisk_ai.config import parse
from asterisk_ai.dialog.dialplan import FALL_BACK
from asterisk_ai.recording.writer import CallRecording
from asterisk_ai.server.server import Server
from asterisk_ai.session.model import CallSession, new_call_id


@pytest.mark.parametrize(("kind", "name"), [(EchoCanceller, "cancel"), (CallRecording, "heard")])
def test_a_frame_that_cannot_be_worked_on_sends_its_caller_to_the_fallback(
    kind: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object) -> None:
        raise ArithmeticError("singular")

    async def main() -> None:
        server = Server(parse(CONFIG.replace("a: {}", "a: {record: true}"), environ={}))
        call = unconnected_call(server, CallSession(new_call_id(), "a"))
        assert isinstance(call, Call)
        running = asyncio.create_task(call.run())
        await asyncio.sleep(0)
        call.on_begin(8000)
        monkeypatch.setattr(kind, name, fails)
        call.on_audio(bytes(320))
        assert call.session.pending == FALL_BACK
        call.on_closed("hangup")
        await running
        server.vad.close()

    asyncio.run(main())
